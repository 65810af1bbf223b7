"""Where a nightly run of a schedule or of the UI fails, a sensor releases what it made."""

from __future__ import annotations

import dagster as dg
import pytest

from batch_predictions.operations.records import OWNER_TAG
from batch_predictions.orchestration.jobs import NIGHTLY, RELEASE
from batch_predictions.orchestration.sensors import release_after_failure
from batch_predictions.settings import Settings
from batch_predictions.tables import CHURN_SCORES
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.home import PARTITIONS

DAY = "2024-03-03"
JOBS = {job.name: job.definition(PARTITIONS) for job in (NIGHTLY, RELEASE)}
NIGHT = {"dagster/partition": DAY}


@dg.op
def fail() -> None:
    raise ValueError("a fault")


@dg.job
def nightly() -> None:
    fail()


def answer(
    settings: Settings, instance: dg.DagsterInstance, tags: dict[str, str]
) -> dg.RunRequest | dg.SkipReason:
    """What the sensor does about a failed run."""
    result = nightly.execute_in_process(instance=instance, raise_on_error=False, tags=tags)
    with dg.build_run_status_sensor_context(
        sensor_name="release_after_failure",
        dagster_event=result.get_run_failure_event(),
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        resources={"warehouse": Warehouse.of(settings)},
    ).for_run_failure() as context:
        given = release_after_failure(JOBS)(context)
    assert isinstance(given, dg.RunRequest | dg.SkipReason)
    return given


def test_what_was_made_is_released(
    settings: Settings, warehouse: Warehouse, instance: dg.DagsterInstance
) -> None:
    nothing = answer(settings, instance, NIGHT)
    assert isinstance(nothing, dg.SkipReason) and "was made" in str(nothing.skip_message)
    warehouse.replace_partition(
        CHURN_SCORES,
        DAY,
        "select 'u1' as user_id, 0.5 as churn_probability, 3 as days_inactive, "
        "'m' as model_version",
    )
    request = answer(settings, instance, NIGHT)
    assert isinstance(request, dg.RunRequest) and request.partition_key == DAY


@pytest.mark.parametrize(
    ("tags", "why"), [(NIGHT | {OWNER_TAG: "host:1"}, "command"), ({}, "days")]
)
def test_commands_and_backfills_are_left_alone(
    settings: Settings, instance: dg.DagsterInstance, tags: dict[str, str], why: str
) -> None:
    skipped = answer(settings, instance, tags)
    assert isinstance(skipped, dg.SkipReason) and why in str(skipped.skip_message)

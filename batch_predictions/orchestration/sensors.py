"""The sensors: new users, dead runs, costs of runs, and releases where a nightly run failed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import dagster as dg

from batch_predictions.core.home import read_state
from batch_predictions.operations.costs.collect import collect_costs
from batch_predictions.operations.records import AUTOMATION_TAG, OWNER_TAG
from batch_predictions.orchestration.dead_runs import fail_dead_runs
from batch_predictions.orchestration.job_runner import PARTITION
from batch_predictions.orchestration.jobs import NIGHTLY, RELEASE
from batch_predictions.orchestration.planner import is_any_prediction_made
from batch_predictions.orchestration.run_history import last_partition
from batch_predictions.serving.release.sign_ups import add_sign_ups
from batch_predictions.serving.store.pointer import read_pointer
from batch_predictions.serving.store.store import Store
from batch_predictions.settings import Settings
from batch_predictions.sources import source_registry
from batch_predictions.sources.new_users import new_sign_ups
from batch_predictions.warehouse import Warehouse


@dg.sensor(
    name="new_sign_ups",
    description="Adds new users with their demographics to the release that is served, so that a "
    "lookup by their id returns the list of their demographic segment.",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def sign_ups(
    context: dg.SensorEvaluationContext,
    warehouse: Warehouse,
    settings: dg.ResourceParam[Settings],
) -> dg.SensorResult:
    """Polls the source's users.

    The cursor is the source's fingerprint, so that an unchanged source is not read.
    """
    with Store.of(settings) as store:
        with store.read() as db:
            served = read_pointer(db)
        if served is None:
            return dg.SensorResult(skip_reason="no release is served yet", cursor=context.cursor)
        source = source_registry.source_of(settings, read_state(settings.home))
        # A release keeps earlier sign-ups; those that it does not know are added.
        users, cursor = new_sign_ups(warehouse, source, context.cursor)
        added = add_sign_ups(store, users.to_pylist())
    note = f"{added} sign-ups added to release {served.release_id}" if added else "no new sign-ups"
    context.log.info(note)
    return dg.SensorResult(skip_reason=note, cursor=cursor)


@dg.sensor(
    name="dead_runs",
    description="Marks runs as failed whose process was killed, so that they hold no slot of a "
    "pool and nobody waits for them.",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def dead_runs(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.SkipReason:
    """Looks at the processes of unfinished runs."""
    failed = fail_dead_runs(context.instance, settings.home)
    if failed:
        context.log.warning(f"marked as failed, since their process died: {', '.join(failed)}")
        return dg.SkipReason(f"{len(failed)} runs of dead processes were marked as failed")
    return dg.SkipReason("no run of a dead process")


@dg.sensor(
    name="run_costs",
    description="Writes what runs of the UI and of schedules have used into evaluation.costs, when "
    "they have ended. Commands do so by themselves.",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def run_costs(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.SkipReason:
    """Collects the records of runs that have ended."""
    rows = collect_costs(settings, partition_of=partial(last_partition, context.instance))
    return dg.SkipReason(f"{rows} rows written" if rows else "no run has ended")


def release_after_failure(jobs: Mapping[str, Any]) -> dg.SensorDefinition:
    """The sensor that releases what a failed nightly run could make.

    Dagster leaves the release out where one of the predictions fails. Commands release by
    themselves, and so does the sensor `next_job` for nights.

    Args:
        jobs: Dagster's jobs by name.
    """

    @dg.run_failure_sensor(
        name="release_after_failure",
        description="Where a nightly run fails, releases the tables that it made, with the newest "
        "earlier day of those that it could not make.",
        monitored_jobs=[jobs[NIGHTLY.name]],
        request_job=jobs[RELEASE.name],
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
    )
    def sensor(
        context: dg.RunFailureSensorContext,
        warehouse: Warehouse,
    ) -> dg.RunRequest | dg.SkipReason:
        run = context.dagster_run
        day = run.tags.get(PARTITION)
        # The UI copies the tag to runs that it starts again.
        if OWNER_TAG in run.tags and run.parent_run_id is None:
            return dg.SkipReason("the command that ran it releases by itself")
        if AUTOMATION_TAG in run.tags:
            return dg.SkipReason("the sensor next_job releases what a night has made")
        if day is None:
            return dg.SkipReason("a run of several days is a backfill: run it again")
        if not is_any_prediction_made(warehouse, day):
            return dg.SkipReason(f"no prediction of {day} was made: the release before serves")
        return dg.RunRequest(run_key=run.run_id, partition_key=day)

    return sensor

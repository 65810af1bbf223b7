"""Runs whose process was killed: they are ended, and the slots of their pool are freed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from batch_predictions.automation.instance import OWNER_TAG, fail_dead_runs, slot_holders
from batch_predictions.automation.job_runner import POOL, JobRunner, RunError
from batch_predictions.automation.progress import show_progress


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    pools = {"concurrency": {"pools": {"default_limit": 1}}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=pools) as instance:
        yield instance


def start_run(instance: dg.DagsterInstance, tags: dict[str, str]) -> str:
    """A run that has started and claims the pool's slot, as its killed process left it."""
    run = instance.create_run_for_job(job, tags=tags)
    instance.report_engine_event("started", run)
    instance.handle_new_event(
        dg.EventLogEntry(
            error_info=None,
            level=10,
            user_message="",
            run_id=run.run_id,
            timestamp=0.0,
            dagster_event=dg.DagsterEvent(
                event_type_value="PIPELINE_START", job_name=job.name, message=""
            ),
        )
    )
    storage = instance.event_log_storage
    storage.initialize_concurrency_limit_to_default(POOL)
    storage.claim_concurrency_slot(POOL, run.run_id, "recommendations__score")
    return run.run_id


@dg.job
def job() -> None:
    pass


@pytest.mark.parametrize("owner", ["another-host:1", "this-host:1", "pod-7:4711"])
def test_a_run_of_the_command_line_is_ended_whatever_its_host_and_number(
    instance: dg.DagsterInstance, owner: str
) -> None:
    run_id = start_run(instance, {OWNER_TAG: owner})
    assert slot_holders(instance, POOL) == [f"run {run_id} (recommendations__score)"]
    assert fail_dead_runs(instance) == [run_id]
    run = instance.get_run_by_id(run_id)
    assert run is not None and run.status == dg.DagsterRunStatus.FAILURE
    assert slot_holders(instance, POOL) == []


def test_a_run_of_the_ui_is_ended_only_if_asked(instance: dg.DagsterInstance) -> None:
    run_id = start_run(instance, {})
    assert fail_dead_runs(instance) == [] and slot_holders(instance, POOL) != []
    assert fail_dead_runs(instance, of_ui=True) == [run_id]
    assert slot_holders(instance, POOL) == []


def test_waiting_for_the_pool_ends_with_a_remedy(instance: dg.DagsterInstance) -> None:
    run_id = start_run(instance, {})
    runner = JobRunner(instance, dg.Definitions(), [], pool_wait_minutes=0)
    with (
        show_progress(1.0) as progress,
        pytest.raises(RunError, match=rf"run {run_id} .* --end-stuck-runs"),
    ):
        runner.wait_for_pool(progress)


def test_the_slot_of_a_run_that_has_ended_is_freed(instance: dg.DagsterInstance) -> None:
    run_id = start_run(instance, {})
    run = instance.get_run_by_id(run_id)
    assert run is not None
    instance.report_run_failed(run, "its process was killed")
    assert slot_holders(instance, POOL) == []
    claims = instance.event_log_storage.get_concurrency_info(POOL).claimed_slots
    assert claims == []

"""Runs whose process was killed: they are ended, and the slots of their pool are freed."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from batch_predictions.core import process_records
from batch_predictions.core.home_lock import processes_folder
from batch_predictions.operations.records import OWNER_TAG
from batch_predictions.orchestration.dead_runs import fail_dead_runs
from batch_predictions.orchestration.instance import slot_holders
from batch_predictions.orchestration.job_runner import POOL
from batch_predictions.orchestration.sensors import dead_runs
from batch_predictions.settings import Settings
from batch_predictions_tests.worlds.started_runs import start_run


@pytest.mark.parametrize("owner", ["another-host:1", "this-host:1", "pod-7:4711"])
def test_a_run_of_the_command_line_is_ended_whatever_its_host_and_number(
    instance: dg.DagsterInstance, tmp_path: Path, owner: str
) -> None:
    run_id = start_run(instance, {OWNER_TAG: owner})
    assert slot_holders(instance, POOL) == [f"run {run_id} (recommendations__score)"]
    assert fail_dead_runs(instance, tmp_path) == []
    assert fail_dead_runs(instance, tmp_path, is_alone=True) == [run_id]
    run = instance.get_run_by_id(run_id)
    assert run is not None and run.status == dg.DagsterRunStatus.FAILURE
    assert slot_holders(instance, POOL) == []


def test_a_run_of_the_ui_without_a_record_is_ended_only_if_asked(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run_id = start_run(instance, {})
    assert fail_dead_runs(instance, tmp_path, is_alone=True) == []
    assert slot_holders(instance, POOL) != []
    assert fail_dead_runs(instance, tmp_path, is_alone=True, untracked=True) == [run_id]
    assert slot_holders(instance, POOL) == []


def test_a_run_whose_process_lives_is_never_ended(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run_id = start_run(instance, {OWNER_TAG: "this-host:1"})
    process_records.register(processes_folder(tmp_path), run_id, "nightly")
    assert fail_dead_runs(instance, tmp_path, is_alone=True, untracked=True) == []
    process_records.unregister(processes_folder(tmp_path), run_id)
    assert fail_dead_runs(instance, tmp_path, is_alone=True) == [run_id]


def test_the_sensor_ends_runs_whose_record_is_not_locked(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run_id = start_run(instance, {})
    record = processes_folder(tmp_path) / f"{run_id}.json"
    record.parent.mkdir()
    record.write_text("{}", encoding="utf-8")
    context = dg.build_sensor_context(
        instance=instance, resources={"settings": Settings(home=tmp_path)}
    )
    reason = dead_runs(context)
    assert isinstance(reason, dg.SkipReason) and "1 runs" in str(reason.skip_message)
    assert slot_holders(instance, POOL) == [] and not record.exists()
    reason = dead_runs(context)
    assert isinstance(reason, dg.SkipReason) and "no run" in str(reason.skip_message)

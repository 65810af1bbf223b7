"""Runs of the UI share the home's lock: they wait for commands, and commands say whom they met."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import dagster as dg
import pytest

from batch_predictions.core import process_records
from batch_predictions.core.home_lock import HomeBusyError, home_lock, processes_folder
from batch_predictions.orchestration.dagster_internals import locked_executor
from batch_predictions.orchestration.dagster_internals.locked_executor import locked
from batch_predictions.orchestration.dead_runs import fail_dead_runs
from batch_predictions.settings import Settings
from batch_predictions_tests.worlds.lock_holder import lock_holder
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.programs import run_python

KILLED = (
    "import dagster as dg\n"
    "from batch_predictions_tests.orchestration.dagster_internals import (\n"
    "    test_locked_executor as module,\n"
    ")\n"
    "import sys\n"
    "with dg.DagsterInstance.get() as instance:\n"
    "    module.execute(instance, sys.argv[1], work='kill')"
)


def job(home: str, executor: str, work: str, wait_minutes: float) -> dg.JobDefinition:
    """A job of one op; its executor has a share of the lock of a home."""

    @dg.op
    def look(context) -> None:  # type: ignore[no-untyped-def]  # Dagster reads annotations.
        assert process_records.is_running(processes_folder(Path(home)), context.run_id)
        with pytest.raises(HomeBusyError, match=context.run_id), home_lock(Path(home), "mine"):
            raise AssertionError("a command holds the lock beside a run of the UI")

    @dg.op
    def nothing() -> None:
        pass

    @dg.op
    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @dg.op
    def fail() -> None:
        (Path(home) / "failed").touch()
        raise RuntimeError("Query interrupted")

    op = {"look": look, "nothing": nothing, "kill": kill, "fail": fail}[work]
    steps = {"in_process": dg.in_process_executor, "multiprocess": dg.multiprocess_executor}
    settings = Settings(home=Path(home), execution={"pool_wait_minutes": wait_minutes})
    more = [dg.op(name=f"later_{n}")(lambda: None) for n in range(2)]
    graph = dg.GraphDefinition("graph", node_defs=[op, *more] if work == "fail" else [op])
    return graph.to_job(executor_def=locked(steps[executor], settings))


def execute(
    instance: dg.DagsterInstance,
    home: Path | str,
    executor: str = "in_process",
    work: str = "look",
    wait_minutes: float = 0.0,
) -> tuple[bool, str]:
    """Whether a job succeeded, and the messages of its events."""
    kwargs = {"home": str(home), "executor": executor, "work": work, "wait_minutes": wait_minutes}
    reconstructable = dg.build_reconstructable_job(__name__, "job", reconstructable_kwargs=kwargs)
    with dg.execute_job(reconstructable, instance=instance, raise_on_error=False) as result:
        process_records.unregister(processes_folder(Path(home)), result.run_id)
        log = "\n".join(
            f"{entry.user_message} {getattr(entry.dagster_event, 'event_specific_data', '')}"
            for entry in instance.all_logs(result.run_id)
        )
        return result.success, log


@pytest.mark.parametrize(
    "executor", ["in_process", pytest.param("multiprocess", marks=pytest.mark.slow)]
)
def test_a_run_has_a_record_and_a_share_of_the_lock(
    tmp_path: Path, instance: dg.DagsterInstance, executor: str
) -> None:
    is_success, log = execute(instance, tmp_path, executor)
    assert is_success, log
    with home_lock(tmp_path, "a command afterwards"):
        pass


def test_a_run_that_waits_too_long_says_for_whom(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    with lock_holder(tmp_path) as holder:
        is_success, log = execute(instance, tmp_path)
    assert not is_success
    assert f"process {holder.pid}" in log and "pool_wait_minutes" in log


def test_a_run_goes_on_when_the_command_has_ended(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lock_holder(tmp_path) as holder:

        def end_command(_seconds: float) -> None:
            holder.kill()
            holder.wait()

        monkeypatch.setattr(locked_executor, "sleep", end_command)
        is_success, log = execute(instance, tmp_path, wait_minutes=60)
    assert is_success and f"waiting for process {holder.pid}" in log


def test_a_run_of_the_process_that_holds_the_lock_alone_executes(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    with home_lock(tmp_path, "batch-predictions run"):
        is_success, log = execute(instance, tmp_path, work="nothing")
    assert is_success, log


def test_a_run_is_canceled_by_a_signal_of_which_a_library_made_an_error(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_stopped = (tmp_path / "failed").exists
    monkeypatch.setattr(
        locked_executor, "stop_signal", lambda: signal.SIGINT if is_stopped() else None
    )
    is_success, _ = execute(instance, tmp_path, work="fail")
    (run,) = instance.get_runs()
    assert not is_success and run.status == dg.DagsterRunStatus.CANCELED
    finished = {event.step_key for event in instance.all_logs(run.run_id) if event.step_key}
    assert finished == {"fail", "later_0"}, "later_1 was executed"


@pytest.mark.slow
def test_a_run_whose_process_was_killed_is_found_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, dagster_home = tmp_path / "home", tmp_path / "dagster"
    dagster_home.mkdir()
    (dagster_home / "dagster.yaml").touch()
    monkeypatch.setenv("DAGSTER_HOME", str(dagster_home))
    process = run_python("-c", KILLED, str(home), cwd=ROOT, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        assert run.status == dg.DagsterRunStatus.STARTED
        assert fail_dead_runs(instance, home) == [run.run_id]
        (run,) = instance.get_runs()
        assert run.status == dg.DagsterRunStatus.FAILURE

"""The engine with threads and processes: every row is scored once, even when workers die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pytest

from batch_predictions.inference.pools import pool_factory as kinds
from batch_predictions.inference.pools.engine import ScoringError, score
from batch_predictions.inference.results import StagingManifest
from batch_predictions.settings import InferenceSettings
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.pool_fixtures import (
    FailingScorer,
    GeneratorScorer,
    PartlyPythonScorer,
    ProcessScorer,
    count_results,
    doubles,
    read_results,
    stage_users,
)

SCORERS = [FailingScorer, pytest.param(ProcessScorer, marks=pytest.mark.slow)]


def pool_settings(workers: int = 2) -> InferenceSettings:
    return InferenceSettings(workers=workers, device="cpu")


def test_every_row_is_scored_and_a_second_run_scores_nothing(warehouse: Warehouse) -> None:
    path = stage_users(warehouse)
    progress: list[tuple[int, int]] = []
    summary = score(path, pool_settings(), lambda scored, total: progress.append((scored, total)))
    assert (summary.scored_rows, summary.reused_rows, summary.instances) == (40, 0, 2)
    assert progress == [(scored, 40) for scored in range(5, 41, 5)]
    assert read_results(path)["twice"].to_pylist() == doubles(40)
    second = score(path, pool_settings())
    assert (second.scored_rows, second.reused_rows) == (0, 40)


def test_results_do_not_depend_on_workers_or_pool(warehouse: Warehouse) -> None:
    tables = []
    for workers, scorer in ((1, FailingScorer), (3, FailingScorer), (2, ProcessScorer)):
        path = stage_users(warehouse, scorer=scorer, run=workers)
        score(path, pool_settings(workers))
        tables.append(read_results(path))
    assert tables[0].equals(tables[1]) and tables[0].equals(tables[2])


def test_a_shard_that_fails_twice_is_scored_at_the_third_attempt(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    (counter := tmp_path / "counter").mkdir()
    path = stage_users(warehouse, fail_at=10, fail_times=2, counter_folder=str(counter))
    summary = score(path, pool_settings())
    assert summary.retries == 2
    assert read_results(path)["twice"].to_pylist() == doubles(40)


@pytest.mark.usefixtures("identifiers_shown")
@pytest.mark.parametrize("scorer", SCORERS)
def test_a_shard_that_fails_three_times_is_named_and_the_others_are_kept(
    warehouse: Warehouse, scorer: type[FailingScorer], tmp_path: Path
) -> None:
    (counter := tmp_path / "counter").mkdir()
    path = stage_users(
        warehouse, scorer=scorer, fail_at=10, fail_times=3, counter_folder=str(counter)
    )
    with pytest.raises(ScoringError, match=r"u0000010 to u0000014.*cannot score 10") as error:
        score(path, pool_settings())
    assert "3 attempts" in str(error.value)
    assert count_results(path) == 7
    second = score(path, pool_settings())
    assert (second.scored_rows, second.reused_rows) == (5, 35)
    assert read_results(path)["twice"].to_pylist() == doubles(40)


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_shard_scored_again(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    (counter := tmp_path / "counter").mkdir()
    path = stage_users(
        warehouse, scorer=ProcessScorer, die_at=10, die_times=1, counter_folder=str(counter)
    )
    summary = score(path, pool_settings())
    assert summary.retries == 1
    assert read_results(path)["twice"].to_pylist() == doubles(40)


@pytest.mark.slow
def test_a_worker_killed_while_it_writes_leaves_no_result(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    (counter := tmp_path / "counter").mkdir()
    path = stage_users(
        warehouse,
        scorer=ProcessScorer,
        die_writing_at=10,
        die_writing_times=1,
        counter_folder=str(counter),
    )
    summary = score(path, pool_settings())
    assert summary.retries == 1
    # The draft stays, under a name that is never read.
    (draft,) = (path.parent.parent / "results").glob(".*")
    assert draft.read_bytes() == b"PAR1 and no more"
    assert read_results(path)["twice"].to_pylist() == doubles(40)


def test_two_simultaneous_runs_of_a_partition_give_the_results_of_one(warehouse: Warehouse) -> None:
    path = stage_users(warehouse, users=100)
    # All threads of both runs begin together.
    together, begun = threading.Barrier(4, timeout=600), threading.local()

    def wait_at_the_first_shard(first: int) -> None:
        if not hasattr(begun, "shard"):
            begun.shard = first
            together.wait()

    FailingScorer.hooks.append(wait_at_the_first_shard)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(score, path, pool_settings()) for _ in range(2)]
        assert all(run.result().retries == 0 for run in runs)
    assert read_results(path)["twice"].to_pylist() == doubles(100)
    assert len(list((path.parent.parent / "results").iterdir())) == 2 * 20
    assert score(path, pool_settings()).scored_rows == 0


@pytest.mark.slow
def test_a_shard_that_kills_every_worker_fails_the_step(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    (counter := tmp_path / "counter").mkdir()
    path = stage_users(
        warehouse, scorer=ProcessScorer, die_at=10, die_times=9, counter_folder=str(counter)
    )
    with pytest.raises(ScoringError, match=r"with 5 rows could not be.*exit code -9"):
        score(path, pool_settings())
    assert count_results(path) == 7


def test_as_many_shards_are_scored_at_once_as_there_are_instances(warehouse: Warehouse) -> None:
    path = stage_users(warehouse, users=45)
    # Nine shards pass in threes: fewer at once would wait for ever.
    threes = threading.Barrier(3, timeout=600)
    FailingScorer.hooks.append(lambda first: threes.wait())
    score(path, pool_settings(3))
    assert FailingScorer.max_active == 3


BLOCK_AT_SHARD_20 = """
import os, sys, threading
from pathlib import Path
from batch_predictions.inference.pools.engine import score
from batch_predictions.settings import InferenceSettings
from batch_predictions_tests.worlds.pool_fixtures import FailingScorer

def block(first):
    if first >= 100:
        os.write(1, b"blocked\\n")  # At once: two threads print into each other's lines.
        threading.Event().wait()

FailingScorer.hooks.append(block)
score(Path(sys.argv[1]), InferenceSettings(workers=2, device="cpu"))
"""


@pytest.mark.slow
def test_a_run_after_a_killed_one_scores_the_missing_shards(warehouse: Warehouse) -> None:
    """Stored results are used again, and the rows equal those of an undisturbed run."""
    path = stage_users(warehouse, users=200)
    process = subprocess.Popen(
        [sys.executable, "-c", BLOCK_AT_SHARD_20, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "blocked\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    result_count = count_results(path)
    # The other thread may have been at work on a shard before.
    assert result_count in (19, 20)
    summary = score(path, pool_settings())
    assert summary.reused_rows == result_count * 5
    assert read_results(path)["twice"].to_pylist() == doubles(200)


STOPPABLE = """
import sys
from pathlib import Path
from batch_predictions.inference.pools.engine import score
from batch_predictions.core.interruption import Stopped, handle_signals
from batch_predictions.settings import InferenceSettings

handle_signals()
try:
    score(Path(sys.argv[1]), InferenceSettings(workers=2, device="cpu"))
except Stopped as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("sends", [os.kill, os.killpg])
def test_no_worker_process_outlives_a_signal(
    warehouse: Warehouse,
    tmp_path: Path,
    number: signal.Signals,
    sends: Callable[[int, int], None],
) -> None:
    """To the process alone, as a supervisor sends it, or to its group, as a terminal does."""
    workers = tmp_path / "workers"
    workers.mkdir()
    path = stage_users(
        warehouse, 40, scorer=ProcessScorer, seconds=600, gpu_folder=str(workers), gpu_instances=2
    )
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPABLE, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(list(workers.iterdir())) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    sends(process.pid, number)
    stdout, _ = process.communicate()
    assert stdout == f"{number.name}\n"
    for worker in workers.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(worker.name), 0)


@pytest.mark.slow
def test_worker_processes_load_the_plugins_of_the_manifest(warehouse: Warehouse) -> None:
    """Worker processes are spawned, so that they start without the plugins of this process."""
    plugin = "batch_predictions_tests.worlds.plugin_generator"
    path = stage_users(warehouse, scorer=GeneratorScorer, plugins=(plugin,), generator="plugin_als")
    assert score(path, pool_settings()).retries == 0
    assert read_results(path)["twice"].to_pylist() == doubles(40)


def test_a_plugin_that_a_worker_process_cannot_import_is_named(warehouse: Warehouse) -> None:
    path = stage_users(warehouse, scorer=ProcessScorer, plugins=("no_such_plugin",))
    with pytest.raises(ScoringError, match="plugins names no_such_plugin, which cannot be imp"):
        score(path, pool_settings())


def test_wide_rows_make_shards_of_fewer_rows(warehouse: Warehouse) -> None:
    narrow = StagingManifest.read(stage_users(warehouse, users=200_000, shard_rows=150_000))
    wide = StagingManifest.read(
        stage_users(warehouse, users=200_000, shard_rows=150_000, shard_mb=1)
    )
    assert [shard.rows for shard in narrow.shards] == [150_000, 50_000]
    assert len(wide.shards) > 3 and wide.rows == 200_000


UNGUARDED_SCRIPT = """
import sys
from pathlib import Path
from batch_predictions.inference.pools.engine import score
from batch_predictions.settings import InferenceSettings

print("begun", flush=True)
score(Path(sys.argv[1]), InferenceSettings(workers=2, device="cpu", worker_kind="processes"))
"""


@pytest.mark.slow
def test_worker_processes_do_not_run_the_script_that_scores(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    """Which `multiprocessing` would do, and fail where the script does not guard against it."""
    script = tmp_path / "materialize.py"
    script.write_text(UNGUARDED_SCRIPT)
    path = stage_users(warehouse)
    process = subprocess.run(
        [sys.executable, str(script), str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (process.stdout, process.stderr, process.returncode) == ("begun\n", "", 0)
    assert read_results(path)["twice"].to_pylist() == doubles(40)


@pytest.mark.parametrize(
    ("setting", "users", "kind"),
    [
        pytest.param("auto", 40, "processes", marks=pytest.mark.slow),
        ("auto", 39, "threads"),
        ("threads", 40, "threads"),
        pytest.param("processes", 10, "processes", marks=pytest.mark.slow),
    ],
)
def test_instances_are_processes_where_their_rows_repay_it(
    warehouse: Warehouse,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: Literal["auto"],
    users: int,
    kind: str,
) -> None:
    monkeypatch.setattr(kinds, "free_mib", lambda: float("inf"))
    (folder := tmp_path / "instances").mkdir()
    path = stage_users(warehouse, users, scorer=PartlyPythonScorer, gpu_folder=str(folder))
    score(path, InferenceSettings(workers=2, device="cpu", worker_kind=setting))
    assert read_results(path)["twice"].to_pylist() == doubles(users)
    processes = {int(file.name) for file in folder.iterdir()}
    assert ("threads" if processes == {os.getpid()} else "processes") == kind


def test_an_empty_partition_scores_nothing(warehouse: Warehouse) -> None:
    path = stage_users(warehouse, users=0)
    assert score(path, pool_settings()).scored_rows == 0


@pytest.mark.parametrize("scorer", SCORERS)
def test_timings_are_given_by_stage(warehouse: Warehouse, scorer: type[FailingScorer]) -> None:
    path = stage_users(warehouse, users=20, scorer=scorer, seconds=0.05)
    started = time.perf_counter()
    timings = score(path, pool_settings()).timings
    # No instance can have been busy for longer than the call took.
    assert 4 * 0.05 <= timings.scoring < sum(timings) < 2 * (time.perf_counter() - started)
    assert min(timings) > 0
    assert sum(timings.shares().values()) == pytest.approx(1)

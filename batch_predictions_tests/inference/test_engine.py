"""The engine's promises, for threads and processes: all rows, once, whatever fails or dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import batch_predictions
from batch_predictions.inference.engine import ScoringError, score
from batch_predictions.inference.scorer import workers_of
from batch_predictions.inference.staging import StagingManifest
from batch_predictions.settings import InferenceSettings
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.pool_fixtures import (
    Doubler,
    ProcessDoubler,
    results,
    scored_shards,
    staged,
)

CREWS = [Doubler, ProcessDoubler]


def inference(workers: int = 2) -> InferenceSettings:
    return InferenceSettings(workers=workers, device="cpu")


def twice(rows: int) -> list[int]:
    return [2 * row for row in range(rows)]


def test_every_row_is_scored_and_a_second_run_scores_nothing(warehouse: Warehouse):
    path = staged(warehouse)
    seen: list[tuple[int, int]] = []
    done = score(path, inference(), lambda now, total: seen.append((now, total)))
    assert (done.scored, done.kept, done.instances) == (40, 0, 2)
    assert [now for now, _ in seen] == list(range(5, 41, 5)) and seen[-1] == (40, 40)
    assert results(path)["twice"].to_pylist() == twice(40)
    again = score(path, inference())
    assert (again.scored, again.kept) == (0, 40)


def test_results_do_not_depend_on_workers_or_crew(warehouse: Warehouse):
    tables = []
    for workers, scorer in ((1, Doubler), (3, Doubler), (2, ProcessDoubler)):
        path = staged(warehouse, scorer=scorer, run=workers)
        score(path, inference(workers))
        tables.append(results(path))
    assert tables[0].equals(tables[1]) and tables[0].equals(tables[2])


def test_a_shard_that_fails_twice_is_scored_at_the_third_attempt(
    warehouse: Warehouse, tmp_path: Path
):
    (marks := tmp_path / "marks").mkdir()
    path = staged(warehouse, fail_at=10, fail_times=2, marks=str(marks))
    done = score(path, inference())
    assert done.retried == 2
    assert results(path)["twice"].to_pylist() == twice(40)


@pytest.mark.parametrize("scorer", CREWS)
def test_a_shard_that_fails_three_times_is_named_and_the_others_are_kept(
    warehouse: Warehouse, scorer: type[Doubler], tmp_path: Path
):
    (marks := tmp_path / "marks").mkdir()
    path = staged(warehouse, scorer=scorer, fail_at=10, fail_times=3, marks=str(marks))
    with pytest.raises(ScoringError, match=r"u0000010 to u0000014.*cannot score 10") as error:
        score(path, inference())
    assert "3 attempts" in str(error.value)
    assert scored_shards(path) == 7
    again = score(path, inference())
    assert (again.scored, again.kept) == (5, 35)
    assert results(path)["twice"].to_pylist() == twice(40)


def test_a_worker_that_is_killed_is_replaced_and_its_shard_scored_again(
    warehouse: Warehouse, tmp_path: Path
):
    (marks := tmp_path / "marks").mkdir()
    path = staged(warehouse, scorer=ProcessDoubler, die_at=10, die_times=1, marks=str(marks))
    done = score(path, inference())
    assert done.retried == 1
    assert results(path)["twice"].to_pylist() == twice(40)


def test_a_worker_that_is_killed_while_it_writes_leaves_no_result(
    warehouse: Warehouse, tmp_path: Path
):
    (marks := tmp_path / "marks").mkdir()
    trouble = {"die_writing_at": 10, "die_writing_times": 1, "marks": str(marks)}
    path = staged(warehouse, scorer=ProcessDoubler, **trouble)
    done = score(path, inference())
    assert done.retried == 1
    # The draft is left, under a name that nobody reads.
    (draft,) = (path.parent.parent / "results").glob(".*")
    assert draft.read_bytes() == b"PAR1 and no more"
    assert results(path)["twice"].to_pylist() == twice(40)


def test_two_runs_of_one_partition_at_once_give_what_one_gives(warehouse: Warehouse):
    path = staged(warehouse, rows=100, scorer=Doubler, seconds=0.01)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(score, path, inference()) for _ in range(2)]
        assert all(each.result().retried == 0 for each in both)
    assert results(path)["twice"].to_pylist() == twice(100)
    assert len(list((path.parent.parent / "results").iterdir())) == 20
    assert score(path, inference()).scored == 0


def test_a_shard_that_kills_every_worker_fails_the_step(warehouse: Warehouse, tmp_path: Path):
    (marks := tmp_path / "marks").mkdir()
    path = staged(warehouse, scorer=ProcessDoubler, die_at=10, die_times=9, marks=str(marks))
    with pytest.raises(ScoringError, match=r"u0000010 to u0000014.*exit code -9"):
        score(path, inference())
    assert scored_shards(path) == 7


def test_no_more_shards_are_under_way_than_instances(warehouse: Warehouse):
    Doubler.most_open = 0
    path = staged(warehouse, seconds=0.01)
    score(path, inference(3))
    assert Doubler.most_open == 3


def test_a_run_killed_half_way_goes_on_with_the_shards_that_were_under_way(
    warehouse: Warehouse,
):
    """Kept results are not scored again, and the table equals that of a run nobody killed."""
    path = staged(warehouse, rows=200, scorer=Doubler, seconds=0.05)
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); "
        "from batch_predictions.inference.engine import score; "
        "from batch_predictions.settings import InferenceSettings; "
        "score(Path(sys.argv[1]), InferenceSettings(workers=2, device='cpu'))"
    )
    root = str(ROOT)
    process = subprocess.Popen([sys.executable, "-c", code, str(path), root], env=environment())
    deadline = time.monotonic() + 30
    while scored_shards(path) < 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = scored_shards(path)
    assert 20 <= before < 40
    done = score(path, inference())
    assert done.kept == before * 5
    assert results(path)["twice"].to_pylist() == twice(200)


def environment() -> dict[str, str]:
    root = str(Path(batch_predictions.__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


def test_wide_rows_make_shards_of_fewer_rows(warehouse: Warehouse):
    narrow = StagingManifest.read(staged(warehouse, rows=200_000, shard_rows=150_000))
    wide = StagingManifest.read(staged(warehouse, rows=200_000, shard_rows=150_000, shard_mb=1))
    assert [shard.rows for shard in narrow.shards] == [150_000, 50_000]
    assert len(wide.shards) > 3 and wide.rows == 200_000


def test_a_misspelt_kind_of_worker_is_refused():
    class Odd(Doubler):
        workers = "fibres"

    with pytest.raises(ValueError, match="threads or processes"):
        workers_of(Odd)


def test_an_empty_partition_scores_nothing(warehouse: Warehouse):
    path = staged(warehouse, rows=0)
    assert score(path, inference()).scored == 0


@pytest.mark.parametrize("scorer", CREWS)
def test_where_the_time_went_is_told(warehouse: Warehouse, scorer: type[Doubler]):
    path = staged(warehouse, rows=20, scorer=scorer, seconds=0.05)
    took = score(path, inference()).timings
    assert 4 * 0.05 <= took.scoring < 4 * 0.05 + 1
    assert min(took) > 0
    assert sum(took.shares().values()) == pytest.approx(1)

"""The local engine: what was scored is kept, what fails is named, instances keep to themselves."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pytest

from batch_predictions.inference.declaration import BatchPrediction
from batch_predictions.inference.engine import ScoringError, score
from batch_predictions.inference.scorer import EXCLUDED, name_of
from batch_predictions.inference.shards import scorer_class
from batch_predictions.inference.staging import StagingManifest, result_path
from batch_predictions.predictions.fallback import demographic_recommendations
from batch_predictions.predictions.recommendations import recommendations
from batch_predictions.settings import InferenceSettings
from batch_predictions_tests.worlds.engine import Answering, Doubler, Staging, rows_of, values

ONE = InferenceSettings(workers=1, device="cpu")


def names(path: Path) -> list[str]:
    return sorted(each.name for each in (path.parent.parent / "results").iterdir())


def asked() -> list[str]:
    return sorted(each for batch in Doubler.asked for each in batch)


# --- scoring and resuming -----------------------------------------------------------------------


def test_every_row_is_scored_once(stage: Staging) -> None:
    path = stage(10)
    done = score(path, ONE)
    assert values(path) == {str(n): 2 * n for n in range(10)}
    assert asked() == sorted(map(str, range(10)))
    assert (done.scored, done.kept, done.instances, done.device) == (10, 0, 1, "cpu")


def test_results_that_are_there_are_not_scored_again(stage: Staging) -> None:
    path = stage(10)
    score(path, ONE)
    Doubler.asked.clear()
    Doubler.opened.clear()
    done = score(path, ONE)
    assert Doubler.asked == [] and Doubler.opened == []
    assert (done.scored, done.kept, done.instances) == (0, 10, 0)


def test_only_what_is_missing_is_scored(stage: Staging) -> None:
    path = stage(10)
    score(path, ONE)
    whole = values(path)
    result_path(path, StagingManifest.read(path).shards[1]).unlink()
    Doubler.asked.clear()
    done = score(path, ONE)
    assert asked() == ["4", "5", "6", "7"]
    assert (done.scored, done.kept) == (4, 6)
    assert values(path) == whole


def test_another_model_version_is_scored_beside_the_old_results(stage: Staging) -> None:
    first, second = stage(10), stage(10, model_version="rules-2")
    score(first, ONE)
    score(second, ONE)
    assert len(Doubler.asked) == 6
    assert len(names(first)) == 6 and values(first) == values(second)


def test_nothing_to_score_is_not_an_error(stage: Staging) -> None:
    done = score(stage(0), ONE)
    assert (done.scored, done.kept, done.instances) == (0, 0, 0)
    assert Doubler.opened == []


def test_a_scorer_without_exclusions_need_not_speak_of_them(stage: Staging) -> None:
    path = stage(3)
    score(path, ONE)
    rows = rows_of(result_path(path, StagingManifest.read(path).shards[0]))
    assert [row[EXCLUDED] for row in rows] == [None, None, None]


# --- failures -----------------------------------------------------------------------------------


def failing_at(key: str) -> None:
    def before(ids: list[str]) -> None:
        if key in ids:
            raise ValueError("a broken row")

    Doubler.before.append(before)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_shard_that_fails_names_its_rows_and_what_was_scored_is_kept(
    stage: Staging, workers: int
) -> None:
    path = stage(10, shard_rows=2)
    failing_at("5")
    with pytest.raises(ScoringError) as caught:
        score(path, InferenceSettings(workers=workers, device="cpu"))
    message = str(caught.value)
    assert "predictions.doubles 2024-03-03: shard-00002.parquet" in message
    assert (
        "the 2 rows from key 4 to 5 could not be scored in 3 attempts: ValueError: a broken row"
        in message
    )
    kept = len(names(path))
    assert 2 <= kept <= 4 if workers == 1 else kept <= 4
    assert not [name for name in names(path) if name.startswith(".")]

    Doubler.before.clear()
    before = asked()
    Doubler.asked.clear()
    done = score(path, ONE)
    assert (done.kept, done.scored) == (2 * kept, 10 - 2 * kept)
    assert not set(asked()) & set(before)
    assert values(path) == {str(n): 2 * n for n in range(10)}


def test_a_scorer_that_cannot_be_opened_names_the_rows_too(stage: Staging) -> None:
    path = stage(3, scorer="batch_predictions_tests.worlds.engine:Doubler.nowhere")
    with pytest.raises(ScoringError, match=r"shard-00000.*nowhere"):
        score(path, ONE)


def test_a_result_that_cannot_be_written_leaves_no_draft(
    stage: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stage(3)

    def full(table: pa.Table, where: BinaryIO, **how: object) -> None:
        where.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("batch_predictions.inference.results.pq.write_table", full)
    with pytest.raises(ScoringError, match="disk full"):
        score(path, ONE)
    assert names(path) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_what_fails_everywhere_ends_the_step_early(stage: Staging, workers: int) -> None:
    """A disk that is full, a model that cannot be read: 50 shards need not find out."""
    Doubler.before.append(lambda ids: _refuse())
    with pytest.raises(ScoringError) as caught:
        score(stage(200), InferenceSettings(workers=workers, device="cpu"))
    message = str(caught.value)
    least = max(8, 4 * workers)
    assert least <= len(Doubler.opened) <= least + 2 * workers
    assert "could not be scored in 1 attempt: OSError: disk full" in message
    assert f"aborted after {len(Doubler.opened)} failed attempts in a row" in message
    assert message.count("shard-") <= 5


def _refuse() -> None:
    raise OSError("disk full")


def test_failures_with_successes_between_them_are_not_taken_for_a_broken_machine(
    stage: Staging,
) -> None:
    path = stage(40, shard_rows=1)
    failed: set[str] = set()

    def each_once(ids: list[str]) -> None:
        if int(ids[0]) % 2 and ids[0] not in failed:
            failed.add(ids[0])
            raise ValueError("not now")

    Doubler.before.append(each_once)
    assert score(path, ONE).retried == 20
    assert len(values(path)) == 40


# --- instances ----------------------------------------------------------------------------------


def test_several_instances_work_at_once_and_each_thread_opens_its_own(stage: Staging) -> None:
    path = stage(18, shard_rows=3)
    # Nobody goes on before three are at work together.
    together = threading.Barrier(3, timeout=60)
    Doubler.before.append(lambda ids: together.wait())
    done = score(path, InferenceSettings(workers=3, device="cpu"))
    threads = [thread for thread, _ in Doubler.opened]
    assert len(threads) == len(set(threads)) == 3
    assert done.instances == 3 and len(Doubler.asked) == 6
    assert values(path) == {str(n): 2 * n for n in range(18)}


def test_no_more_instances_are_opened_than_there_are_shards(stage: Staging) -> None:
    done = score(stage(4), InferenceSettings(workers=8, device="cpu"))
    assert done.instances == len(Doubler.opened) == 1


def test_instances_side_by_side_take_one_torch_thread_each(stage: Staging) -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    seen: list[int] = []
    Doubler.before.append(lambda ids: seen.append(torch.get_num_threads()))
    try:
        score(stage(8), InferenceSettings(workers=2, device="cpu"))
        assert torch.get_num_threads() == 2
        score(stage(9), InferenceSettings(workers=1, device="cpu"))
    finally:
        torch.set_num_threads(before)
    assert seen[:2] == [1, 1] and set(seen[2:]) == {2}


def test_an_instance_is_opened_with_all_that_it_needs(stage: Staging, tmp_path: Path) -> None:
    path = stage(
        2,
        model="m",
        model_folder=tmp_path,
        parameters={"k": 3},
        side={"prices": "select 2 as price"},
    )
    score(path, InferenceSettings(workers=1, device="cpu", block_mb=9))
    ((_, opening),) = Doubler.opened
    assert opening.model == tmp_path and opening.parameters == {"k": 3}
    assert (opening.device, opening.block_mb) == ("cpu", 9)
    assert opening.lookup_table("prices").to_pylist() == [{"price": 2}]


def test_progress_counts_the_rows_still_to_score(stage: Staging) -> None:
    path = stage(10)
    said: list[tuple[int, int]] = []
    score(path, ONE, lambda done, total: said.append((done, total)))
    # Shards that end together are told of in any order.
    assert [total for _, total in said] == [10, 10, 10]
    assert [done for done, _ in said] == sorted(done for done, _ in said)
    assert said[-1] == (10, 10)
    result_path(path, StagingManifest.read(path).shards[0]).unlink()
    said.clear()
    score(path, ONE, lambda done, total: said.append((done, total)))
    assert said == [(4, 4)]


# --- the contract of scorers --------------------------------------------------------------------


class Outer:
    """A scorer may stand within another class."""

    class Inner(Doubler):
        """Found by its qualified name."""


@pytest.mark.parametrize("scorer", [Doubler, Answering, Outer.Inner])
def test_a_worker_finds_a_scorer_by_its_name(stage: Staging, scorer: type[Doubler]) -> None:
    manifest = stage.manifest(2, scorer=name_of(scorer))
    assert scorer_class(manifest) is scorer


def test_the_same_rows_give_the_same_results_whatever_batch_they_come_in(stage: Staging) -> None:
    paths = [stage(50, shard_rows=rows) for rows in (1, 7, 50)]
    for path in paths:
        score(path, ONE)
    assert values(paths[0]) == values(paths[1]) == values(paths[2])


@pytest.mark.parametrize(
    "declared", [recommendations, demographic_recommendations], ids=lambda each: each.name
)
def test_declared_predictions_keep_the_contract(declared: BatchPrediction) -> None:
    module, _, name = name_of(declared.scorer).partition(":")
    assert getattr(importlib.import_module(module), name) is declared.scorer
    assert isinstance(declared.scorer.version, str) and declared.scorer.version
    types = {column.name: column.type for column in declared.table.columns}
    assert types["model_version"] == "VARCHAR" and declared.table.partition in types
    # A key gets any number of rows, so that it begins the table's key.
    assert set(declared.key) <= set(declared.table.key)
    assert len({check.name for check in declared.all_checks}) == len(declared.all_checks)
    assert all(check.description.endswith(".") for check in declared.all_checks)

"""The local engine: results are reused, failures are named, instances are independent."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pytest

from batch_predictions.inference.pools.engine import ScoringError, score
from batch_predictions.inference.results import StagingManifest, result_path
from batch_predictions.inference.scorer import EXCLUDED
from batch_predictions.settings import InferenceSettings
from batch_predictions_tests.worlds.engine import DoublingScorer, Staging, read_rows, read_values


def result_names(path: Path) -> list[str]:
    """Names of the results in their folder; each has its hash."""
    names = sorted(file.name for file in (path.parent.parent / "results").iterdir())
    results = [name for name in names if name.endswith(".parquet")]
    assert names == sorted([*results, *(f"{Path(name).stem}.sha256" for name in results)])
    return results


def scored_ids() -> list[str]:
    """Ids of all rows that were scored."""
    return sorted(id_ for batch in DoublingScorer.batches for id_ in batch)


# --- scoring and resuming -----------------------------------------------------------------------


def test_every_row_is_scored_once(stage: Staging, one_worker: InferenceSettings) -> None:
    path = stage(10)
    summary = score(path, one_worker)
    assert read_values(path) == {str(n): 2 * n for n in range(10)}
    assert scored_ids() == sorted(map(str, range(10)))
    assert (summary.scored_rows, summary.reused_rows) == (10, 0)
    assert (summary.instances, summary.device) == (1, "cpu")


def test_shards_with_results_are_not_scored_again(
    stage: Staging, one_worker: InferenceSettings
) -> None:
    path = stage(10)
    score(path, one_worker)
    DoublingScorer.batches.clear()
    DoublingScorer.opened.clear()
    summary = score(path, one_worker)
    assert DoublingScorer.batches == [] and DoublingScorer.opened == []
    assert (summary.scored_rows, summary.reused_rows, summary.instances) == (0, 10, 0)


def test_only_missing_results_are_scored(stage: Staging, one_worker: InferenceSettings) -> None:
    path = stage(10)
    score(path, one_worker)
    all_values = read_values(path)
    result_path(path, StagingManifest.read(path).shards[1]).unlink()
    DoublingScorer.batches.clear()
    summary = score(path, one_worker)
    assert scored_ids() == ["4", "5", "6", "7"]
    assert (summary.scored_rows, summary.reused_rows) == (4, 6)
    assert read_values(path) == all_values


def test_results_of_two_model_versions_are_stored_side_by_side(
    stage: Staging, one_worker: InferenceSettings
) -> None:
    first, second = stage(10), stage(10, model_version="rules-2")
    score(first, one_worker)
    score(second, one_worker)
    assert len(DoublingScorer.batches) == 6
    assert len(result_names(first)) == 6 and read_values(first) == read_values(second)


def test_an_empty_partition_opens_no_instance(
    stage: Staging, one_worker: InferenceSettings
) -> None:
    summary = score(stage(0), one_worker)
    assert (summary.scored_rows, summary.reused_rows, summary.instances) == (0, 0, 0)
    assert DoublingScorer.opened == []


def test_a_scorer_without_exclusions_may_omit_the_column(
    stage: Staging, one_worker: InferenceSettings
) -> None:
    path = stage(3)
    score(path, one_worker)
    rows = read_rows(result_path(path, StagingManifest.read(path).shards[0]))
    assert [row[EXCLUDED] for row in rows] == [None, None, None]


def test_the_error_of_a_shard_has_no_key_by_default(
    stage: Staging, one_worker: InferenceSettings
) -> None:
    def fail(ids: list[str]) -> None:
        raise ValueError("broken")

    DoublingScorer.hooks.append(fail)
    with pytest.raises(ScoringError, match=r"with 2 rows could not be scored in 3 attempts"):
        score(stage(2, shard_rows=2), one_worker)
    DoublingScorer.hooks.clear()


# --- failures -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("identifiers_shown")
@pytest.mark.parametrize("workers", [1, 3])
def test_a_failing_shard_is_named_and_the_other_results_are_kept(
    stage: Staging, one_worker: InferenceSettings, workers: int
) -> None:
    path = stage(10, shard_rows=2)

    def fail_at_5(ids: list[str]) -> None:
        if "5" in ids:
            raise ValueError("a broken row")

    DoublingScorer.hooks.append(fail_at_5)
    with pytest.raises(ScoringError) as error:
        score(path, InferenceSettings(workers=workers, device="cpu"))
    message = str(error.value)
    assert "predictions.doubles 2024-03-03: shard-00002.parquet" in message
    assert (
        "with 2 rows from key 4 to 5 could not be scored in 3 attempts: ValueError: a broken row"
        in message
    )
    result_count = len(result_names(path))
    assert 2 <= result_count <= 4 if workers == 1 else result_count <= 4
    assert not [name for name in result_names(path) if name.startswith(".")]

    DoublingScorer.hooks.clear()
    first_ids = scored_ids()
    DoublingScorer.batches.clear()
    summary = score(path, one_worker)
    assert summary.reused_rows == 2 * result_count
    assert summary.scored_rows == 10 - 2 * result_count
    assert not set(scored_ids()) & set(first_ids)
    assert read_values(path) == {str(n): 2 * n for n in range(10)}


class UnopenableScorer(DoublingScorer):
    """Its model cannot be read."""

    @classmethod
    def open(cls, context: object) -> UnopenableScorer:
        raise OSError("no such model")


def test_a_scorer_that_cannot_be_opened_names_the_rows(
    stage: Staging, one_worker: InferenceSettings
) -> None:
    with pytest.raises(ScoringError, match=r"shard-00000.*no such model"):
        score(stage(3, scorer=UnopenableScorer), one_worker)


def test_a_scorer_that_cannot_be_imported_names_the_rows(
    stage: Staging, one_worker: InferenceSettings
) -> None:
    class LocalScorer(DoublingScorer):
        """Workers cannot import it: it is defined in a function."""

    with pytest.raises(ScoringError, match=r"shard-00000.*AttributeError"):
        score(stage(3, scorer=LocalScorer), one_worker)


def test_a_result_that_cannot_be_written_leaves_no_draft(
    stage: Staging, one_worker: InferenceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stage(3)

    def fail_half_way(table: pa.Table, file: BinaryIO, **options: object) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("batch_predictions.inference.results.pq.write_table", fail_half_way)
    with pytest.raises(ScoringError, match="disk full"):
        score(path, one_worker)
    assert result_names(path) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_many_failures_in_a_row_abort_the_step(stage: Staging, workers: int) -> None:
    """A full disk or an unreadable model need not fail 50 shards three times."""

    def fail(ids: list[str]) -> None:
        raise OSError("disk full")

    DoublingScorer.hooks.append(fail)
    with pytest.raises(ScoringError) as error:
        score(stage(200), InferenceSettings(workers=workers, device="cpu"))
    message = str(error.value)
    limit = max(8, 4 * workers)
    assert limit <= len(DoublingScorer.opened) <= limit + 2 * workers
    assert "could not be scored in 1 attempt: OSError: disk full" in message
    assert f"aborted after {len(DoublingScorer.opened)} failed attempts in a row" in message
    assert message.count("shard-") <= 5


def test_failures_between_successes_do_not_abort_the_step(
    stage: Staging, one_worker: InferenceSettings
) -> None:
    path = stage(40, shard_rows=1)
    failed: set[str] = set()

    def fail_odd_ids_once(ids: list[str]) -> None:
        if int(ids[0]) % 2 and ids[0] not in failed:
            failed.add(ids[0])
            raise ValueError("not now")

    DoublingScorer.hooks.append(fail_odd_ids_once)
    assert score(path, one_worker).retries == 20
    assert len(read_values(path)) == 40


# --- instances ----------------------------------------------------------------------------------


def test_instances_score_in_parallel_and_every_thread_opens_one(stage: Staging) -> None:
    path = stage(18, shard_rows=3)
    # Passes only when three instances score at the same time.
    barrier = threading.Barrier(3, timeout=600)
    DoublingScorer.hooks.append(lambda ids: barrier.wait())
    summary = score(path, InferenceSettings(workers=3, device="cpu"))
    threads = [thread for thread, _ in DoublingScorer.opened]
    assert len(threads) == len(set(threads)) == 3
    assert summary.instances == 3 and len(DoublingScorer.batches) == 6
    assert read_values(path) == {str(n): 2 * n for n in range(18)}


def test_there_are_no_more_instances_than_shards(stage: Staging) -> None:
    summary = score(stage(4), InferenceSettings(workers=8, device="cpu"))
    assert summary.instances == len(DoublingScorer.opened) == 1


def test_parallel_instances_use_one_torch_thread_each(
    stage: Staging, one_worker: InferenceSettings
) -> None:
    import torch

    initial_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    threads: list[int] = []
    DoublingScorer.hooks.append(lambda ids: threads.append(torch.get_num_threads()))
    try:
        score(stage(8), InferenceSettings(workers=2, device="cpu"))
        assert torch.get_num_threads() == 2
        score(stage(9), one_worker)
    finally:
        torch.set_num_threads(initial_threads)
    assert threads[:2] == [1, 1] and set(threads[2:]) == {2}


def test_an_instance_is_opened_with_its_context(stage: Staging, tmp_path: Path) -> None:
    path = stage(
        2,
        model="m",
        model_folder=tmp_path,
        parameters={"k": 3},
        lookup_tables={"prices": "select 2 as price"},
    )
    score(path, InferenceSettings(workers=1, device="cpu", block_mb=9))
    ((_, context),) = DoublingScorer.opened
    assert context.model == tmp_path and context.parameters == {"k": 3}
    assert (context.device, context.block_mb) == ("cpu", 9)
    assert context.lookup_table("prices").to_pylist() == [{"price": 2}]


def test_progress_counts_the_rows_still_to_score(
    stage: Staging, one_worker: InferenceSettings
) -> None:
    path = stage(10)
    progress: list[tuple[int, int]] = []
    score(path, one_worker, lambda scored, total: progress.append((scored, total)))
    assert [total for _, total in progress] == [10, 10, 10]
    # The order of shards that finish together is not defined.
    assert [scored for scored, _ in progress] == sorted(scored for scored, _ in progress)
    assert progress[-1] == (10, 10)
    result_path(path, StagingManifest.read(path).shards[0]).unlink()
    progress.clear()
    score(path, one_worker, lambda scored, total: progress.append((scored, total)))
    assert progress == [(4, 4)]


def test_results_do_not_depend_on_the_size_of_shards(
    stage: Staging, one_worker: InferenceSettings
) -> None:
    paths = [stage(50, shard_rows=rows) for rows in (1, 7, 50)]
    for path in paths:
        score(path, one_worker)
    assert read_values(paths[0]) == read_values(paths[1]) == read_values(paths[2])

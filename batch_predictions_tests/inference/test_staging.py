"""The rows to score, as shards, named by everything that their results depend on."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st

from batch_predictions.inference.cleanup import sweep
from batch_predictions.inference.engine import score
from batch_predictions.inference.staging import StagingError, StagingManifest, result_path
from batch_predictions.settings import InferenceSettings
from batch_predictions_tests.worlds.engine import DAY, Staging, rows_of


def results(manifest: StagingManifest) -> list[str]:
    return [shard.result for shard in manifest.shards]


@budget(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=st.integers(0, 5000), shard_rows=st.integers(1, 3000))
def test_shards_have_exactly_the_rows_asked_for_in_the_order_of_the_key(
    stage: Staging, n: int, shard_rows: int
) -> None:
    # DuckDB hands out 2,048 rows at a time, which the shards must not care about.
    shard_rows = max(shard_rows, n // 40)
    rows = "select lpad(i::VARCHAR, 5, '0') as id, i as n from range($n::BIGINT) as r(i) "
    path = stage(n, rows=rows + "order by hash(i)", shard_rows=shard_rows)
    manifest = StagingManifest.read(path)
    full, rest = divmod(n, shard_rows)
    assert [s.rows for s in manifest.shards] == [shard_rows] * full + ([rest] if rest else [])
    assert manifest.rows == n
    staged = [row["id"] for shard in manifest.shards for row in rows_of(path.parent / shard.name)]
    assert staged == [f"{number:05}" for number in range(n)]
    for shard in manifest.shards:
        ids = [row["id"] for row in rows_of(path.parent / shard.name)]
        assert (shard.first_key, shard.last_key) == (ids[0], ids[-1])


def test_no_rows_give_a_manifest_without_shards(stage: Staging) -> None:
    manifest = stage.manifest(0)
    assert manifest.rows == 0 and manifest.shards == ()


TWICE = "select * from (values {}) as v(id, n)"


@pytest.mark.parametrize(
    ("keys", "shard_rows", "named"),
    [
        (["a", "b", "b", "c"], 10, "'id': 'b'"),
        (["a", "b", "b", "c"], 2, "'id': 'b'"),
        (["a", "b", "b", "c"], 1, "'id': 'b'"),
        (["c", "a", "b", "c"], 3, "'id': 'c'"),
        ([None, "a", None], 10, "'id': None"),
        ([None, "a", None], 2, "'id': None"),
    ],
)
def test_a_key_that_stands_twice_is_refused_and_named_wherever_shards_end(
    stage: Staging, keys: list[str | None], shard_rows: int, named: str
) -> None:
    values = ", ".join(f"({'null' if key is None else repr(key)}, 1)" for key in keys)
    with pytest.raises(StagingError, match=f"{named}.* stands twice"):
        stage(rows=TWICE.format(values), shard_rows=shard_rows)
    assert not list(stage.folder.rglob("*.parquet"))


@pytest.mark.parametrize("shard_rows", [1, 2, 3, 10])
def test_keys_of_several_columns_may_be_null_in_part(stage: Staging, shard_rows: int) -> None:
    key = ("level", "age", "place")
    rows = """select * from (values ('a', '1', null), ('a', null, '1'), ('a', null, null),
        ('b', null, null), ('b', '1', null), ('b', '1', '1')) as v(level, age, place)"""
    assert stage.manifest(rows=rows, key=key, shard_rows=shard_rows).rows == 6
    with pytest.raises(StagingError, match=r"'b', 'age': '1', 'place': None.* stands twice"):
        stage(rows=f"{rows} union all values ('b', '1', null)", key=key, shard_rows=shard_rows)


def test_a_key_column_that_the_rows_lack_is_named(stage: Staging) -> None:
    with pytest.raises(Exception, match="who"):
        stage(key=("who",))


def test_equal_rows_give_the_stage_that_is_there_already(stage: Staging) -> None:
    first = stage()
    inode = first.stat().st_ino
    backwards = "select i::VARCHAR as id, i as n from range($n::BIGINT) as r(i) order by i desc"
    assert stage(rows=backwards) == first
    assert first.stat().st_ino == inode
    assert [path.name for path in first.parent.parent.iterdir()] == [first.parent.name]


OTHERS: dict[str, dict[str, Any]] = {
    "model version": {"model_version": "rules-2"},
    "scorer": {"scorer": "batch_predictions_tests.worlds.engine:Answering"},
    "scorer's version": {"scorer_version": "2"},
    "parameters": {"parameters": {"k": 3}},
    "side table": {"side": {"prices": "select 2 as price"}},
    "a column more": {"rows": "select i::VARCHAR as id, i as n, 1 as x from range($n) as r(i)"},
}


@pytest.mark.parametrize("other", list(OTHERS))
def test_results_are_named_by_everything_that_they_depend_on(stage: Staging, other: str) -> None:
    before, after = stage.manifest(), stage.manifest(**OTHERS[other])
    assert not set(results(before)) & set(results(after))


def test_a_side_table_counts_by_its_rows_and_is_kept_beside_the_shards(stage: Staging) -> None:
    def priced(price: int) -> Path:
        return stage(
            side={"prices": "select $price as price"}, sql_parameters={"n": 9, "price": price}
        )

    one, again, two = priced(1), priced(1), priced(2)
    assert one == again != two
    manifest = StagingManifest.read(two)
    assert rows_of(two.parent / manifest.lookup_tables["prices"]) == [{"price": 2}]
    assert not set(results(StagingManifest.read(one))) & set(results(manifest))


def test_only_the_shards_whose_rows_changed_are_named_anew(stage: Staging) -> None:
    changed = "select i::VARCHAR as id, if(i = 5, 99, i) as n from range($n::BIGINT) as r(i)"
    before, after = results(stage.manifest(12)), results(stage.manifest(12, rows=changed))
    # The order is that of the text: 0 1 10 11 | 2 3 4 5 | 6 7 8 9.
    assert [x == y for x, y in zip(before, after, strict=True)] == [True, False, True]


def test_what_a_worker_needs_is_in_the_manifest(stage: Staging, tmp_path: Path) -> None:
    path = stage(
        model="recommender",
        model_version="r-1",
        model_folder=tmp_path,
        parameters={"k": 3, "names": ["a"]},
    )
    manifest = StagingManifest.read(path)
    assert (manifest.table, manifest.partition) == ("predictions.doubles", DAY)
    assert (manifest.model_version, manifest.model_folder) == ("r-1", str(tmp_path))
    assert manifest.parameters == {"k": 3, "names": ["a"]}
    assert manifest.scorer == "batch_predictions_tests.worlds.engine:Doubler"
    kept = {result_path(path, shard).parent for shard in manifest.shards}
    assert kept == {path.parent.parent / "results"}


def test_two_that_stage_the_same_at_once_both_succeed(stage: Staging) -> None:
    for n in range(1, 6):
        together = threading.Barrier(3)
        got: list[Path] = []

        def work(n: int = n, together: threading.Barrier = together, got: list[Path] = got) -> None:
            together.wait()
            got.append(stage(n))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 3 and len(set(got)) == 1
        assert StagingManifest.read(got[0]).rows == n


@pytest.mark.parametrize("how", ["cut short", "gone", "of a home that moved"])
def test_a_stage_that_is_there_and_not_whole_is_made_again(
    stage: Staging, tmp_path: Path, how: str
) -> None:
    folder = stage(10, model="m", model_folder=tmp_path / "new").parent
    whole = {file.name: file.read_bytes() for file in folder.iterdir()}
    shard, manifest = folder / "shard-00001.parquet", folder / "manifest.json"
    if how == "cut short":
        shard.write_bytes(b"")
    elif how == "gone":
        shard.unlink()
    else:  # Its hash names the model's version and not where it lies.
        manifest.write_bytes(manifest.read_bytes().replace(b"/new", b"/old"))
    assert stage(10, model="m", model_folder=tmp_path / "new").parent == folder
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == whole


def test_a_query_that_fails_leaves_no_draft(stage: Staging) -> None:
    with pytest.raises(Exception, match="gone"):
        stage(rows="select error('gone')::VARCHAR as id")
    assert list((stage.folder / "doubles" / DAY).iterdir()) == []


# --- sweeping -----------------------------------------------------------------------------------


def test_what_was_not_touched_for_the_days_to_keep_is_removed(stage: Staging) -> None:
    old, new = stage(partition="2024-03-01"), stage(partition="2024-03-02")
    now = time.time()
    for path in [old.parent.parent, *old.parent.parent.rglob("*")]:
        os.utime(path, (now - 8 * 86_400, now - 8 * 86_400))
    assert sweep(stage.folder, 8, now - 1) == 0
    assert sweep(stage.folder, 7, now) == 1
    assert not old.exists() and new.exists()


def test_beyond_a_number_of_partitions_those_touched_longest_ago_go(stage: Staging) -> None:
    paths = [stage(partition=f"2024-03-0{day}") for day in range(1, 7)]
    for path in paths[:-1]:  # The last one waits to be scored.
        score(path, InferenceSettings(workers=1, device="cpu"))
    now = time.time()
    ages = (0.5, 2, 5, 3, 0.1, 6)  # Days since the partition was touched.
    for path, age in zip(paths, ages, strict=True):
        for each in [path.parent.parent, *path.parent.parent.rglob("*")]:
            os.utime(each, (now - age * 86_400, now - age * 86_400))
    (handles := stage.folder / ".handles" / "a-run").mkdir(parents=True)
    os.utime(handles, (now - 4 * 86_400, now - 4 * 86_400))
    assert sweep(stage.folder, 7, now, keep_partitions=6) == 0
    assert sweep(stage.folder, 7, now, keep_partitions=3) == 2
    assert [path.exists() for path in paths] == [True, True, False, False, True, True]
    # What was touched within a day stays, however many they are, and so does what is not scored.
    assert sweep(stage.folder, 7, now, keep_partitions=1) == 1
    assert [path.exists() for path in paths] == [True, False, False, False, True, True]
    assert handles.exists()


def test_a_result_that_was_written_lately_keeps_its_stage(stage: Staging) -> None:
    path = stage()
    now = time.time()
    results_ = path.parent.parent / "results"
    results_.mkdir()
    for each in [path.parent.parent, *path.parent.parent.rglob("*")]:
        os.utime(each, (now - 8 * 86_400, now - 8 * 86_400))
    (results_ / "late.parquet").write_bytes(b"x")
    assert sweep(stage.folder, 7, now) == 0
    assert path.exists()


def test_a_file_that_another_process_removes_meanwhile_does_not_matter(stage: Staging) -> None:
    path = stage()
    # Like a draft that is listed and then renamed away: to look at it fails.
    (path.parent / ".draft").symlink_to(path.parent / "nowhere")
    assert sweep(stage.folder, 7) == 0
    assert sweep(stage.folder / "missing", 7) == 0


def test_a_stage_always_outlives_the_run_that_made_it() -> None:
    """Kept for no day at all, the next prediction's sweep would take it before it is scored."""
    with pytest.raises(ValueError, match="keep_days"):
        InferenceSettings(keep_days=0)


def test_shards_are_readable_by_anybody(stage: Staging) -> None:
    path = stage(3)
    shard = path.parent / StagingManifest.read(path).shards[0].name
    assert pq.read_schema(shard).names == ["id", "n"]

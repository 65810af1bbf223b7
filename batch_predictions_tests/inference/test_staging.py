"""Staging: shards in the order of the key, and results named by all that they depend on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from batch_predictions.inference.results import StagingManifest, result_path
from batch_predictions.inference.staged_keys import StagingError
from batch_predictions_tests.worlds.at_once import call_at_once
from batch_predictions_tests.worlds.engine import (
    DAY,
    DoublingScorer,
    FixedScorer,
    Staging,
    read_rows,
)
from batch_predictions_tests.worlds.properties import ONE_FIXTURE_FOR_ALL


def result_names(manifest: StagingManifest) -> list[str]:
    return [shard.result for shard in manifest.shards]


@hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=ONE_FIXTURE_FOR_ALL)
@given(n=st.integers(0, 5000), shard_rows=st.integers(1, 3000))
def test_shards_have_the_requested_size_and_the_order_of_the_key(
    stage: Staging, n: int, shard_rows: int
) -> None:
    # DuckDB streams 2,048 rows at a time.
    shard_rows = max(shard_rows, n // 40)
    rows = "select lpad(i::VARCHAR, 5, '0') as id, i as n from range($n::BIGINT) as r(i) "
    path = stage(n, rows=rows + "order by hash(i)", shard_rows=shard_rows)
    manifest = StagingManifest.read(path)
    full_shards, last_rows = divmod(n, shard_rows)
    assert [s.rows for s in manifest.shards] == [shard_rows] * full_shards + (
        [last_rows] if last_rows else []
    )
    assert manifest.rows == n
    staged_ids = [
        row["id"] for shard in manifest.shards for row in read_rows(path.parent / shard.name)
    ]
    assert staged_ids == [f"{number:05}" for number in range(n)]
    for shard in manifest.shards:
        ids = [row["id"] for row in read_rows(path.parent / shard.name)]
        assert (shard.first_key, shard.last_key) == (ids[0], ids[-1])


@pytest.mark.parametrize(
    ("n", "sizes"),
    [
        (70, [20, 20, 20, 10]),
        (780, [20] * 39),
        (799, [100] * 7 + [99]),
        (800, [100] * 8),
        (950, [100] * 9 + [50]),
    ],
)
def test_a_small_partition_has_small_shards(stage: Staging, n: int, sizes: list[int]) -> None:
    rows = "select lpad(i::VARCHAR, 5, '0') as id, i as n from range($n::BIGINT) as r(i)"
    path = stage(n, rows=rows, shard_rows=100, small_shard_rows=20)
    manifest = StagingManifest.read(path)
    assert [shard.rows for shard in manifest.shards] == sizes
    ids = [row["id"] for s in manifest.shards for row in read_rows(path.parent / s.name)]
    assert ids == [f"{number:05}" for number in range(n)]


def test_no_rows_give_a_manifest_without_shards(stage: Staging) -> None:
    manifest = stage.manifest(0)
    assert manifest.rows == 0 and manifest.shards == ()


KEYS = "select * from (values {}) as v(id, n)"


@pytest.mark.usefixtures("identifiers_shown")
@pytest.mark.parametrize(
    ("keys", "shard_rows", "duplicate"),
    [
        (["a", "b", "b", "c"], 10, r"\('b',\)"),
        (["a", "b", "b", "c"], 2, r"\('b',\)"),
        (["a", "b", "b", "c"], 1, r"\('b',\)"),
        (["c", "a", "b", "c"], 3, r"\('c',\)"),
        ([None, "a", None], 10, r"\(None,\)"),
        ([None, "a", None], 2, r"\(None,\)"),
    ],
)
def test_a_duplicate_key_is_refused_and_named_wherever_shards_end(
    stage: Staging, keys: list[str | None], shard_rows: int, duplicate: str
) -> None:
    values = ", ".join(f"({'null' if key is None else repr(key)}, 1)" for key in keys)
    with pytest.raises(StagingError, match=f"more than once: {duplicate}"):
        stage(rows=KEYS.format(values), shard_rows=shard_rows)
    assert not list(stage.folder.rglob("*.parquet"))


@pytest.mark.usefixtures("identifiers_shown")
@pytest.mark.parametrize("shard_rows", [1, 2, 3, 10])
def test_some_columns_of_a_key_may_be_null(stage: Staging, shard_rows: int) -> None:
    key = ("level", "age", "place")
    rows = """select * from (values ('a', '1', null), ('a', null, '1'), ('a', null, null),
        ('b', null, null), ('b', '1', null), ('b', '1', '1')) as v(level, age, place)"""
    assert stage.manifest(rows=rows, key=key, shard_rows=shard_rows).rows == 6
    with pytest.raises(StagingError, match=r"\(level, age, place\) more .* \('b', '1', None\)"):
        stage(rows=f"{rows} union all values ('b', '1', null)", key=key, shard_rows=shard_rows)


def test_a_missing_key_column_is_named(stage: Staging) -> None:
    with pytest.raises(Exception, match="who"):
        stage(key=("who",))


def test_an_equal_stage_is_used_again(stage: Staging) -> None:
    first = stage()
    inode = first.stat().st_ino
    reversed_rows = "select i::VARCHAR as id, i as n from range($n::BIGINT) as r(i) order by i desc"
    assert stage(rows=reversed_rows) == first
    assert first.stat().st_ino == inode
    assert [path.name for path in first.parent.parent.iterdir()] == [first.parent.name]


class SecondVersion(DoublingScorer):
    """The same scorer, raised to another version."""

    version = "2"


SecondVersion.__module__, SecondVersion.__qualname__ = (
    DoublingScorer.__module__,
    DoublingScorer.__qualname__,
)

CHANGES: dict[str, dict[str, Any]] = {
    "model version": {"model_version": "rules-2"},
    "scorer": {"scorer": FixedScorer},
    "scorer's version": {"scorer": SecondVersion},
    "parameters": {"parameters": {"k": 3}},
    "lookup table": {"lookup_tables": {"prices": "select 2 as price"}},
    "additional column": {"rows": "select i::VARCHAR as id, i as n, 1 as x from range($n) as r(i)"},
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_results_are_named_by_all_that_they_depend_on(stage: Staging, change: str) -> None:
    old, new = stage.manifest(), stage.manifest(**CHANGES[change])
    assert not set(result_names(old)) & set(result_names(new))


def test_results_depend_on_the_rows_of_lookup_tables(stage: Staging) -> None:
    def stage_with_price(price: int) -> Path:
        return stage(
            lookup_tables={"prices": "select $price as price"},
            sql_parameters={"n": 9, "price": price},
        )

    first, repeated, changed = stage_with_price(1), stage_with_price(1), stage_with_price(2)
    assert first == repeated != changed
    manifest = StagingManifest.read(changed)
    assert read_rows(changed.parent / manifest.lookup_tables["prices"]) == [{"price": 2}]
    assert not set(result_names(StagingManifest.read(first))) & set(result_names(manifest))


def test_only_shards_with_changed_rows_get_new_names(stage: Staging) -> None:
    changed = "select i::VARCHAR as id, if(i = 5, 99, i) as n from range($n::BIGINT) as r(i)"
    old, new = result_names(stage.manifest(12)), result_names(stage.manifest(12, rows=changed))
    # Sorted as text: 0 1 10 11 | 2 3 4 5 | 6 7 8 9.
    assert [x == y for x, y in zip(old, new, strict=True)] == [True, False, True]


def test_the_manifest_has_all_that_a_worker_needs(stage: Staging, tmp_path: Path) -> None:
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
    assert manifest.scorer == "batch_predictions_tests.worlds.engine:DoublingScorer"
    folders = {result_path(path, shard).parent for shard in manifest.shards}
    assert folders == {path.parent.parent / "results"}


def test_simultaneous_equal_stages_all_succeed(stage: Staging) -> None:
    for n in range(1, 6):
        paths = call_at_once(stage, [n] * 3)
        assert len(set(paths)) == 1
        assert StagingManifest.read(paths[0]).rows == n


@pytest.mark.parametrize("damage", ["truncated", "missing", "home moved"])
def test_a_damaged_stage_is_written_again(stage: Staging, tmp_path: Path, damage: str) -> None:
    folder = stage(10, model="m", model_folder=tmp_path / "new").parent
    contents = {file.name: file.read_bytes() for file in folder.iterdir()}
    shard, manifest = folder / "shard-00001.parquet", folder / "manifest.json"
    if damage == "truncated":
        shard.write_bytes(b"")
    elif damage == "missing":
        shard.unlink()
    else:  # The hash has the model's version, not its folder.
        manifest.write_bytes(manifest.read_bytes().replace(b"/new", b"/old"))
    assert stage(10, model="m", model_folder=tmp_path / "new").parent == folder
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == contents


def test_a_query_that_fails_leaves_no_draft(stage: Staging) -> None:
    with pytest.raises(Exception, match="gone"):
        stage(rows="select error('gone')::VARCHAR as id")
    assert list((stage.folder / "doubles" / DAY).iterdir()) == []


def test_shards_are_plain_parquet_files(stage: Staging) -> None:
    path = stage(3)
    shard = path.parent / StagingManifest.read(path).shards[0].name
    assert pq.read_schema(shard).names == ["id", "n"]

"""Child tables: written from lists in the scorer's rows, or refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.partition_loading import load_partition
from batch_predictions.inference.results import StagingManifest, result_path
from batch_predictions.inference.scorer import EXCLUDED
from batch_predictions.inference.validation import (
    CHILD_ROWS_BELONG,
    KEYS_ACCOUNTED,
    Check,
    ValidationResult,
    validate,
)
from batch_predictions.tables import Table, columns
from batch_predictions.warehouse import Rows, Warehouse, WriteResult
from batch_predictions.warehouse.schema_sql import WarehouseError
from batch_predictions_tests.worlds.engine import (
    DAY,
    DOUBLES,
    DoublingScorer,
    Staging,
    read_rows,
    write_parquet_result,
)

NEAR = Table(
    "features",
    "near",
    "The nearest numbers of every number, for these tests.",
    columns("""
        date DATE: as of the end of this day
        id VARCHAR: which number
        other VARCHAR: a number near it
        distance DOUBLE: how far it is
        model_version VARCHAR: model that scored it
    """),
    key=("id", "other"),
)
CHILD_TABLES = {"near": NEAR}
ENTRY = pa.struct({"other": pa.string(), "distance": pa.float64()})

ScoredRow = tuple[str, int | None, str | None, Any]
"""id, rank, excluded and the list."""


def neighbours(*ids: str) -> list[dict[str, Any]]:
    """A list of child rows, with distances 0, 1 and so on."""
    return [{"other": id_, "distance": float(rank)} for rank, id_ in enumerate(ids)]


VALID_ROWS: list[ScoredRow] = [
    ("0", 1, None, neighbours("9", "8")),
    ("0", 2, None, None),
    ("1", 1, None, neighbours("8")),
    ("2", None, "too even", neighbours("7")),
    ("3", 1, None, []),
    ("4", 1, None, None),
]
CHILD_ROWS = [("0", "8", 1.0), ("0", "9", 0.0), ("1", "8", 0.0)]


def stage_with_results(
    stage: Staging,
    rows: Sequence[ScoredRow] = VALID_ROWS,
    list_type: pa.DataType | None = None,
    columns: Mapping[int, pa.Array | None] | None = None,
    n: int = 5,
    **overrides: Any,
) -> Path:
    """Stages n numbers in shards of two, and writes these rows as results.

    Args:
        stage: the staging function.
        rows: the scorer's rows; ids that are not staged, "x…", are written to the first shard.
        list_type: type of the column of lists.
        columns: other columns of lists, by number of the shard; None: no such column.
        n: number of staged ids.
        overrides: fields of the staging specification.
    """
    path = stage(
        n, shard_rows=2, child_tables=CHILD_TABLES, parameters={"rows": str(rows)}, **overrides
    )
    for number, shard in enumerate(StagingManifest.read(path).shards):
        first = 2 * number
        ids = {str(first), str(first + 1)}
        shard_rows = [r for r in rows if r[0] in ids or (number == 0 and r[0][0] == "x")]
        table = {
            "id": [row[0] for row in shard_rows],
            "rank": pa.array([row[1] for row in shard_rows], pa.int64()),
            "value": pa.array([None if row[2] else 7 for row in shard_rows], pa.int64()),
            EXCLUDED: pa.array([row[2] for row in shard_rows], pa.string()),
            "near": pa.array([row[3] for row in shard_rows], list_type or pa.list_(ENTRY)),
        }
        if columns and number in columns:
            table["near"] = columns[number]
            if columns[number] is None:
                del table["near"]
        target = result_path(path, shard)
        target.parent.mkdir(exist_ok=True)
        write_parquet_result(pa.table(table), target)
    return path


def run_validation(stage: Staging, path: Path, *checks: Check) -> ValidationResult:
    return validate(stage.warehouse, DOUBLES, path, checks, {}, CHILD_TABLES)


def stored_child_rows(warehouse: Warehouse) -> list[tuple[str, str, float]]:
    rows = read_rows(warehouse.path(NEAR, DAY))
    return [(row["id"], row["other"], row["distance"]) for row in rows]


def test_lists_become_rows_with_the_key_and_the_model_version(stage: Staging) -> None:
    path = stage_with_results(stage, model_version="rules-'7")
    assert run_validation(stage, path).violations == {
        KEYS_ACCOUNTED.name: 0,
        CHILD_ROWS_BELONG.name: 0,
    }
    loaded = load_partition(stage.warehouse, DOUBLES, path, CHILD_TABLES)
    assert stored_child_rows(stage.warehouse) == CHILD_ROWS
    assert {row["model_version"] for row in read_rows(stage.warehouse.path(NEAR, DAY))} == {
        "rules-'7"
    }
    assert loaded.child_tables["features.near"].rows == 3 and loaded.main.rows == 5
    assert [row["id"] for row in read_rows(loaded.main.path)] == ["0", "0", "1", "3", "4"]


def test_lists_do_not_count_in_the_accounting_of_keys(stage: Staging) -> None:
    result = run_validation(stage, stage_with_results(stage))
    assert (result.staged, result.scored, result.excluded, result.rows) == (5, 4, 1, 5)


@pytest.mark.parametrize("n", [0, 5])
@pytest.mark.parametrize("type_", [pa.list_(ENTRY), pa.large_list(ENTRY), pa.null()])
def test_no_lists_give_an_empty_file(stage: Staging, n: int, type_: pa.DataType) -> None:
    rows: list[ScoredRow] = [(str(number), 1, None, None) for number in range(n)]
    path = stage_with_results(stage, rows, type_, n=n)
    assert run_validation(stage, path).passed
    assert (
        load_partition(stage.warehouse, DOUBLES, path, CHILD_TABLES)
        .child_tables["features.near"]
        .rows
        == 0
    )
    assert stage.warehouse.partitions(NEAR) == [DAY]
    assert pq.read_schema(stage.warehouse.path(NEAR, DAY)).names == [c.name for c in NEAR.columns]


def test_a_shard_without_a_list_may_have_a_column_of_nulls(stage: Staging) -> None:
    path = stage_with_results(stage, columns={0: pa.nulls(3)})
    assert run_validation(stage, path).passed
    load_partition(stage.warehouse, DOUBLES, path, CHILD_TABLES)
    assert stored_child_rows(stage.warehouse) == []


def test_narrower_numbers_fit(stage: Staging) -> None:
    narrow = pa.list_(pa.struct({"distance": pa.float32(), "other": pa.string()}))
    path = stage_with_results(stage, list_type=narrow)
    assert run_validation(stage, path).passed
    load_partition(stage.warehouse, DOUBLES, path, CHILD_TABLES)
    assert stored_child_rows(stage.warehouse) == CHILD_ROWS


INVALID_LISTS = {
    "no struct": (pa.array([[1.0], None, None]), "it is list<.*double>"),
    "no list": (pa.array(["a", None, None]), "it is string"),
    "lacks": (
        pa.array([[{"other": "1"}], None, None], pa.list_(pa.struct({"other": pa.string()}))),
        "it lacks distance",
    ),
    "has the key": (
        pa.array([[{"id": "0", "other": "1", "distance": 0.0}], None, None]),
        "it also has id",
    ),
    "text": (
        pa.array([[{"other": "1", "distance": "far"}], None, None]),
        "distance is VARCHAR, declared DOUBLE",
    ),
    "number as id": (
        pa.array([[{"other": 1, "distance": 0.0}], None, None]),
        "other is BIGINT, declared VARCHAR",
    ),
    "missing": (None, "there is no such column"),
}


@pytest.mark.parametrize("in_all", [True, False], ids=["in every shard", "in one shard"])
@pytest.mark.parametrize(("lists", "problem"), INVALID_LISTS.values(), ids=list(INVALID_LISTS))
def test_a_column_that_does_not_fit_is_refused_and_named(
    stage: Staging, lists: pa.Array | None, problem: str, in_all: bool
) -> None:
    columns: dict[int, Any] = {0: lists}
    if in_all:
        sizes = {1: 2, 2: 1}
        columns |= {n: lists if lists is None else lists.take([1] * sizes[n]) for n in sizes}
    elif "declared" in problem:
        problem = "it is list<.*> or list<.*>"
    path = stage_with_results(stage, columns=columns)
    with pytest.raises(WarehouseError, match=rf"(?s)features\.near.*column near.*{problem}"):
        run_validation(stage, path)
    assert stage.warehouse.partitions(NEAR) == []


@pytest.mark.usefixtures("identifiers_shown")
@pytest.mark.parametrize(
    ("rows", "violations", "message"),
    [
        (
            [*VALID_ROWS, ("1", 2, None, neighbours("7"))],
            1,
            "1 keys of features.near have more than one list",
        ),
        (
            [*VALID_ROWS, ("x1", 1, None, neighbours("7"))],
            1,
            "1 keys of features.near were not scored.*x1",
        ),
        ([*VALID_ROWS, ("1", None, "no", None)], 1, "1 keys of features.near were not scored.*1"),
        ([*VALID_ROWS[:5], ("4", 1, None, [None])], 1, "have entries without other, such as .*4"),
        (
            [*VALID_ROWS[:5], ("4", 1, None, [{"other": None, "distance": 1.0}])],
            1,
            "have entries without other",
        ),
        (
            [*VALID_ROWS[:5], ("4", 1, None, neighbours("7", "7"))],
            1,
            "have the same other twice.*4",
        ),
    ],
    ids=["two lists", "invented", "also excluded", "null entry", "null key", "twice"],
)
def test_lists_that_do_not_belong_to_scored_keys_are_named(
    stage: Staging, rows: list[ScoredRow], violations: int, message: str
) -> None:
    result = run_validation(stage, stage_with_results(stage, rows))
    assert result.violations[CHILD_ROWS_BELONG.name] == violations and not result.passed
    assert re.search(message, result.examples[CHILD_ROWS_BELONG.name])


def test_a_check_reads_the_new_rows_of_a_child_table(stage: Staging) -> None:
    check = Check("far", "Far.", "select count(*) from new_near where distance > 0 and id = '0'")
    assert run_validation(stage, stage_with_results(stage), check).violations["far"] == 1


def test_after_a_crash_the_child_table_is_new_and_the_main_table_is_old(
    stage: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_partition(stage.warehouse, DOUBLES, stage_with_results(stage), CHILD_TABLES)
    main = stage.warehouse.path(DOUBLES, DAY)
    old = main.read_bytes()
    replace_partition = Warehouse.replace_partition

    def interrupt(
        self: Warehouse, table: Table, partition: str, rows: Rows, *args: Any, **kwargs: Any
    ) -> WriteResult:
        if table is DOUBLES:
            raise KeyboardInterrupt
        return replace_partition(self, table, partition, rows, *args, **kwargs)

    rows: list[ScoredRow] = [(str(n), 3, None, neighbours("6")) for n in range(5)]
    path = stage_with_results(stage, rows)
    with monkeypatch.context() as patch:
        patch.setattr(Warehouse, "replace_partition", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load_partition(stage.warehouse, DOUBLES, path, CHILD_TABLES)
    assert main.read_bytes() == old
    assert stored_child_rows(stage.warehouse) == [(str(n), "6", 0.0) for n in range(5)]
    load_partition(stage.warehouse, DOUBLES, path, CHILD_TABLES)
    assert {row["rank"] for row in read_rows(main)} == {3}


def test_child_rows_with_a_duplicate_key_replace_no_table(stage: Staging) -> None:
    load_partition(stage.warehouse, DOUBLES, stage_with_results(stage), CHILD_TABLES)
    old = stage.warehouse.path(DOUBLES, DAY).read_bytes(), stored_child_rows(stage.warehouse)
    rows: list[ScoredRow] = [(str(n), 3, None, neighbours("6", "6")) for n in range(5)]
    with pytest.raises(WarehouseError, match=r"features.near: key \(id, other\) is not unique"):
        load_partition(stage.warehouse, DOUBLES, stage_with_results(stage, rows), CHILD_TABLES)
    assert (
        stage.warehouse.path(DOUBLES, DAY).read_bytes(),
        stored_child_rows(stage.warehouse),
    ) == old


def test_results_from_before_a_child_table_are_not_used(stage: Staging) -> None:
    def names(**overrides: Any) -> list[str]:
        return [shard.result for shard in stage.manifest(**overrides).shards]

    wider = Table("features", "near", "Near.", (*NEAR.columns, *columns("x BIGINT: x")), NEAR.key)
    assert names() == names(child_tables={})
    assert (
        len({*names(), *names(child_tables=CHILD_TABLES), *names(child_tables={"near": wider})})
        == 9
    )


@pytest.mark.parametrize(
    ("column", "overrides", "problem"),
    [
        ("near", {"columns": NEAR.columns[:1] + NEAR.columns[2:]}, "lacks the key's id"),
        ("near", {"columns": NEAR.columns[:2] + NEAR.columns[4:]}, "no column besides the key"),
        ("near", {"partition": "week"}, "partitioned by date alone"),
        ("near", {"parts": ("other",)}, "partitioned by date alone"),
        ("value", {}, "value is another column of the scorer's rows"),
        (EXCLUDED, {}, "excluded is another column"),
    ],
)
def test_a_table_that_cannot_be_a_child_table_is_refused(
    column: str, overrides: dict[str, Any], problem: str
) -> None:
    child = Table(**{**vars(NEAR), **overrides})
    with pytest.raises(
        ValueError, match=f"features.near cannot be .* predictions.doubles: .*{problem}"
    ):
        BatchPrediction(
            table=DOUBLES,
            rows="select 1",
            key=("id",),
            scorer=DoublingScorer,
            child_tables={column: child},
        )

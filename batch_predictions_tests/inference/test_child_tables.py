"""Companion tables: written beside the main one from lists in the scorer's rows, or refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_predictions.inference.declaration import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED
from batch_predictions.inference.staging import StagingManifest, result_path
from batch_predictions.inference.validation import (
    ACCOUNTED,
    BELONG,
    Check,
    ValidationResult,
    load,
    validate,
)
from batch_predictions.tables import Table, columns
from batch_predictions.warehouse import Rows, Warehouse, WriteResult
from batch_predictions.warehouse.schema_sql import WarehouseError
from batch_predictions_tests.worlds.engine import DAY, DOUBLES, Doubler, Staging, rows_of

NEAR = Table(
    "features",
    "near",
    "Numbers near to every number, for these tests.",
    columns("""
        date DATE: as of the end of this day
        id VARCHAR: which number
        other VARCHAR: a number near to it
        distance DOUBLE: how far it is
        model_version VARCHAR: model that found it
    """),
    key=("id", "other"),
)
KEPT = {"near": NEAR}
ENTRY = pa.struct({"other": pa.string(), "distance": pa.float64()})

Row = tuple[str, int | None, str | None, Any]
"""A row of the scorer: id, rank, excluded and the list."""


def near(*others: str) -> list[dict[str, Any]]:
    return [{"other": each, "distance": float(place)} for place, each in enumerate(others)]


RIGHT: list[Row] = [
    ("0", 1, None, near("9", "8")),
    ("0", 2, None, None),
    ("1", 1, None, near("8")),
    ("2", None, "too even", near("7")),
    ("3", 1, None, []),
    ("4", 1, None, None),
]
RIGHT_ROWS = [("0", "8", 1.0), ("0", "9", 0.0), ("1", "8", 0.0)]


def answered(
    stage: Staging,
    rows: Sequence[Row] = RIGHT,
    type_: pa.DataType | None = None,
    odd: Mapping[int, pa.Array | None] | None = None,
    n: int = 5,
    **other: Any,
) -> Path:
    """A stage of n numbers in shards of two, with these rows as results.

    `odd` puts another column of lists, or none, into the result of the shard of that number.
    """
    path = stage(n, shard_rows=2, companions=KEPT, parameters={"rows": str(rows)}, **other)
    for number, shard in enumerate(StagingManifest.read(path).shards):
        first = 2 * number
        # What is not among the numbers staged comes with the first of them.
        mine = [
            row
            for row in rows
            if row[0] in {str(first), str(first + 1)} or (number == 0 and row[0][0] == "x")
        ]
        table = {
            "id": [row[0] for row in mine],
            "rank": pa.array([row[1] for row in mine], pa.int64()),
            "value": pa.array([None if row[2] else 7 for row in mine], pa.int64()),
            EXCLUDED: pa.array([row[2] for row in mine], pa.string()),
            "near": pa.array([row[3] for row in mine], type_ or pa.list_(ENTRY)),
        }
        if odd and number in odd:
            table["near"] = odd[number]
            if odd[number] is None:
                del table["near"]
        target = result_path(path, shard)
        target.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(table), target)
    return path


def judged(stage: Staging, path: Path, *checks: Check) -> ValidationResult:
    return validate(stage.warehouse, DOUBLES, path, checks, {}, KEPT)


def kept(warehouse: Warehouse) -> list[tuple[str, str, float]]:
    rows = rows_of(warehouse.path(NEAR, DAY))
    return [(row["id"], row["other"], row["distance"]) for row in rows]


def test_lists_become_rows_with_the_key_and_the_model_version(stage: Staging) -> None:
    path = answered(stage, model_version="rules-'7")
    assert judged(stage, path).broken == {ACCOUNTED.name: 0, BELONG.name: 0}
    loaded = load(stage.warehouse, DOUBLES, path, KEPT)
    assert kept(stage.warehouse) == RIGHT_ROWS
    assert {row["model_version"] for row in rows_of(stage.warehouse.path(NEAR, DAY))} == {
        "rules-'7"
    }
    assert loaded.child_tables["features.near"].rows == 3 and loaded.main.rows == 5
    assert [row["id"] for row in rows_of(loaded.main.path)] == ["0", "0", "1", "3", "4"]


def test_the_main_tables_accounting_knows_nothing_of_lists(stage: Staging) -> None:
    found = judged(stage, answered(stage))
    assert (found.staged, found.scored, found.excluded, found.rows) == (5, 4, 1, 5)


@pytest.mark.parametrize("n", [0, 5])
@pytest.mark.parametrize("type_", [pa.list_(ENTRY), pa.large_list(ENTRY), pa.null()])
def test_no_lists_give_an_empty_file(stage: Staging, n: int, type_: pa.DataType) -> None:
    rows: list[Row] = [(str(number), 1, None, None) for number in range(n)]
    path = answered(stage, rows, type_, n=n)
    assert judged(stage, path).passed
    assert load(stage.warehouse, DOUBLES, path, KEPT).child_tables["features.near"].rows == 0
    assert stage.warehouse.partitions(NEAR) == [DAY]
    assert pq.read_schema(stage.warehouse.path(NEAR, DAY)).names == [c.name for c in NEAR.columns]


def test_a_shard_without_a_list_may_have_a_column_of_nulls(stage: Staging) -> None:
    path = answered(stage, odd={0: pa.nulls(3)})
    assert judged(stage, path).passed
    load(stage.warehouse, DOUBLES, path, KEPT)
    assert kept(stage.warehouse) == []


def test_narrower_numbers_fit(stage: Staging) -> None:
    narrow = pa.list_(pa.struct({"distance": pa.float32(), "other": pa.string()}))
    path = answered(stage, type_=narrow)
    assert judged(stage, path).passed
    load(stage.warehouse, DOUBLES, path, KEPT)
    assert kept(stage.warehouse) == RIGHT_ROWS


LISTS_OF = {
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


@pytest.mark.parametrize("every", [True, False], ids=["in every shard", "in one shard"])
@pytest.mark.parametrize(("lists", "why"), LISTS_OF.values(), ids=list(LISTS_OF))
def test_a_column_that_does_not_fit_is_refused_by_name_before_anything_is_replaced(
    stage: Staging, lists: pa.Array | None, why: str, every: bool
) -> None:
    odd: dict[int, Any] = {0: lists}
    if every:
        size = {1: 2, 2: 1}
        odd |= {n: lists if lists is None else lists.take([1] * size[n]) for n in size}
    if not every and "declared" in why:
        why = "it is list<.*> or list<.*>"
    path = answered(stage, odd=odd)
    with pytest.raises(WarehouseError, match=rf"(?s)features\.near.*column near.*{why}"):
        judged(stage, path)
    assert stage.warehouse.partitions(NEAR) == []


@pytest.mark.parametrize(
    ("rows", "number", "named"),
    [
        ([*RIGHT, ("1", 2, None, near("7"))], 1, "1 keys of features.near have more than one list"),
        ([*RIGHT, ("x1", 1, None, near("7"))], 1, "1 keys of features.near were not scored.*x1"),
        ([*RIGHT, ("1", None, "no", None)], 1, "1 keys of features.near were not scored.*1"),
        ([*RIGHT[:5], ("4", 1, None, [None])], 1, "have entries without other, such as .*4"),
        (
            [*RIGHT[:5], ("4", 1, None, [{"other": None, "distance": 1.0}])],
            1,
            "have entries without other",
        ),
        ([*RIGHT[:5], ("4", 1, None, near("7", "7"))], 1, "have the same other twice.*4"),
    ],
    ids=["two lists", "invented", "also excluded", "null entry", "null key", "twice"],
)
def test_lists_that_do_not_belong_are_found_and_named(
    stage: Staging, rows: list[Row], number: int, named: str
) -> None:
    found = judged(stage, answered(stage, rows))
    assert found.broken[BELONG.name] == number and not found.passed
    assert re.search(named, found.examples[BELONG.name])


def test_a_declared_check_sees_the_new_rows_of_a_companion(stage: Staging) -> None:
    check = Check("far", "Far.", "select count(*) from new_near where distance > 0 and id = '0'")
    assert judged(stage, answered(stage), check).broken["far"] == 1


def test_after_a_crash_in_between_the_companion_is_new_and_the_main_table_is_old(
    stage: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(stage.warehouse, DOUBLES, answered(stage), KEPT)
    main = stage.warehouse.path(DOUBLES, DAY)
    before = main.read_bytes()
    plain = Warehouse.replace_partition

    def dies(
        self: Warehouse, table: Table, part: str, rows: Rows, *rest: Any, **o: Any
    ) -> WriteResult:
        if table is DOUBLES:
            raise KeyboardInterrupt
        return plain(self, table, part, rows, *rest, **o)

    other: list[Row] = [(str(n), 3, None, near("6")) for n in range(5)]
    path = answered(stage, other)
    with monkeypatch.context() as patch:
        patch.setattr(Warehouse, "replace_partition", dies)
        with pytest.raises(KeyboardInterrupt):
            load(stage.warehouse, DOUBLES, path, KEPT)
    assert main.read_bytes() == before
    assert kept(stage.warehouse) == [(str(n), "6", 0.0) for n in range(5)]
    load(stage.warehouse, DOUBLES, path, KEPT)
    assert {row["rank"] for row in rows_of(main)} == {3}


def test_rows_that_the_companions_table_refuses_leave_the_main_table(stage: Staging) -> None:
    load(stage.warehouse, DOUBLES, answered(stage), KEPT)
    before = stage.warehouse.path(DOUBLES, DAY).read_bytes(), kept(stage.warehouse)
    twice: list[Row] = [(str(n), 3, None, near("6", "6")) for n in range(5)]
    with pytest.raises(WarehouseError, match=r"features.near: key \(id, other\) is not unique"):
        load(stage.warehouse, DOUBLES, answered(stage, twice), KEPT)
    assert (stage.warehouse.path(DOUBLES, DAY).read_bytes(), kept(stage.warehouse)) == before


def test_results_kept_from_before_a_companion_are_scored_again(stage: Staging) -> None:
    def names(**other: Any) -> list[str]:
        return [shard.result for shard in stage.manifest(**other).shards]

    wider = Table("features", "near", "Near.", (*NEAR.columns, *columns("x BIGINT: x")), NEAR.key)
    assert names() == names(companions={})
    assert len({*names(), *names(companions=KEPT), *names(companions={"near": wider})}) == 9


@pytest.mark.parametrize(
    ("column", "other", "why"),
    [
        ("near", {"columns": NEAR.columns[:1] + NEAR.columns[2:]}, "lacks the key's id"),
        ("near", {"columns": NEAR.columns[:2] + NEAR.columns[4:]}, "no column beside the key"),
        ("near", {"partition": "week"}, "divided by date alone"),
        ("near", {"parts": ("other",)}, "divided by date alone"),
        ("value", {}, "value is another column of the scorer's rows"),
        (EXCLUDED, {}, "excluded is another column"),
    ],
)
def test_a_table_that_cannot_be_a_companion_is_refused_when_it_is_declared(
    column: str, other: dict[str, Any], why: str
) -> None:
    companion = Table(**{**vars(NEAR), **other})
    with pytest.raises(
        ValueError, match=f"features.near cannot be .* predictions.doubles: .*{why}"
    ):
        BatchPrediction(
            table=DOUBLES,
            rows="select 1",
            key=("id",),
            scorer=Doubler,
            child_tables={column: companion},
        )

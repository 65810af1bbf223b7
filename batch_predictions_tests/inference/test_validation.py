"""Accounting: a key is scored or excluded with a reason, once; else nothing is replaced."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_predictions.inference.engine import score
from batch_predictions.inference.scorer import EXCLUDED, name_of
from batch_predictions.inference.staging import StagingManifest, result_path
from batch_predictions.inference.validation import (
    ACCOUNTED,
    Check,
    ValidationResult,
    load,
    validate,
)
from batch_predictions.settings import InferenceSettings
from batch_predictions.tables import EXCLUSIONS, INTERACTIONS
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.schema_sql import WarehouseError
from batch_predictions_tests.worlds.engine import DAY, DOUBLES, Answering, Staging, rows_of

Answer = tuple[str, int | None, int | None, str | None]
RIGHT: list[Answer] = [("0", 1, 0, None), ("0", 2, 7, None), ("1", 1, 2, None)]
RIGHT += [("2", None, None, "too even"), ("3", 1, 6, None), ("4", None, None, "too even")]


def answered(stage: Staging, rows: list[Answer], n: int = 5, **other: Any) -> Path:
    """A stage of n numbers in shards of two, to which the scorer answered with these rows."""
    Answering.rows = list(rows)
    given = {"scorer": name_of(Answering), "shard_rows": 2, "parameters": {"rows": str(rows)}}
    path = stage(n, **{**given, **other})
    score(path, InferenceSettings(workers=1, device="cpu"))
    return path


def judged(stage: Staging, path: Path, *checks: Check, **parameters: Any) -> ValidationResult:
    return validate(stage.warehouse, DOUBLES, path, checks, parameters)


def table(warehouse: Warehouse) -> list[dict[str, Any]]:
    return rows_of(warehouse.path(DOUBLES, DAY))


def exclusions(warehouse: Warehouse) -> list[dict[str, Any]]:
    return warehouse.query(
        "select key, reason from predictions.exclusions where table_name = 'doubles' order by key"
    ).to_pylist()


def test_keys_scored_and_excluded_add_up_to_those_staged(stage: Staging) -> None:
    found = judged(stage, answered(stage, RIGHT))
    assert (found.partition, found.staged, found.scored, found.excluded) == (DAY, 5, 3, 2)
    assert found.rows == 4
    assert found.broken == {ACCOUNTED.name: 0} and found.passed and found.examples == {}


@pytest.mark.parametrize(
    ("rows", "broken", "named"),
    [
        ([row for row in RIGHT if row[0] != "3"], 1, "1 keys lost, such as .*3"),
        ([*RIGHT, ("x1", 1, 1, None)], 1, "1 keys invented, such as .*x1"),
        ([*RIGHT, ("x1", None, None, "why")], 1, "1 keys invented, such as .*x1"),
        ([*RIGHT, ("1", None, None, "why")], 1, "1 keys both scored and excluded, such as .*1"),
        ([*RIGHT, ("2", None, None, "again")], 1, "1 keys excluded twice, such as .*2"),
        (
            [row for row in RIGHT if row[0] not in "34"] + [("x1", 1, 1, None)],
            3,
            "2 keys lost, .*; 1 keys invented",
        ),
    ],
    ids=["lost", "invented", "invented and excluded", "both", "twice", "lost and invented"],
)
def test_every_key_that_is_not_accounted_for_is_found_and_named(
    stage: Staging, rows: list[Answer], broken: int, named: str
) -> None:
    found = judged(stage, answered(stage, rows))
    assert found.broken == {ACCOUNTED.name: broken} and not found.passed
    assert re.search(named, found.examples["accounted"])


def test_keys_with_null_parts_are_accounted_for(stage: Staging, tmp_path: Path) -> None:
    rows = """select id, null::VARCHAR as place, 1 as n from range(3) as r(i),
        (select i::VARCHAR as id) union all values ('0', 'here', 1)"""
    path = stage(rows=rows, key=("id", "place"))
    manifest = StagingManifest.read(path)
    (shard,) = manifest.shards
    result = {
        "id": ["0", "0", "1", "2"],
        "place": pa.array([None, "here", None, None], pa.string()),
        "rank": [1, 1, 1, None],
        "value": [1, 1, 1, None],
        EXCLUDED: pa.array([None, None, None, "why"], pa.string()),
    }
    target = result_path(path, shard)
    target.parent.mkdir()
    pq.write_table(pa.table(result), target)
    found = judged(stage, path)
    assert (found.staged, found.scored, found.excluded, found.passed) == (4, 3, 1, True)


def test_a_declared_check_sees_new_rows_staged_rows_tables_and_parameters(stage: Staging) -> None:
    stage.warehouse.replace_partition(
        INTERACTIONS,
        DAY,
        "select 'e' as event_id, '1' as user_id, 'i' as item_id, 'x' as event_type, "
        "1.0 as quantity, 1.0 as amount, null as location, null as occurred_at",
    )
    check = Check(
        "small",
        "Small.",
        """select count(*) from new_rows join staged using (id)
        where value > $least and id in (select user_id from raw.interactions)""",
    )
    path = answered(stage, RIGHT)
    assert judged(stage, path, check, least=1).broken == {"accounted": 0, "small": 1}
    assert judged(stage, path, check, least=2).passed


def test_a_check_is_bound_the_parameters_that_it_names_and_no_others(stage: Staging) -> None:
    check = Check("few", "Few.", "select count(*) - $keys_allowed from new_rows")
    # `$k` begins `$keys_allowed`, and DuckDB refuses parameters that a query does not name.
    found = judged(stage, answered(stage, RIGHT), check, k=20, keys=1, keys_allowed=3)
    assert found.broken["few"] == 1


def test_a_check_that_counts_nothing_passes(stage: Staging) -> None:
    check = Check("none", "None.", "select sum(value) from new_rows where value > 1000")
    assert judged(stage, answered(stage, RIGHT), check).passed


def test_judging_writes_nothing(stage: Staging) -> None:
    judged(stage, answered(stage, RIGHT[1:]))
    assert stage.warehouse.partitions(DOUBLES) == []
    assert stage.warehouse.partitions(EXCLUSIONS) == []


def test_rows_and_exclusions_are_written_with_the_model_version(stage: Staging) -> None:
    path = answered(stage, RIGHT, model_version="rules-7")
    written = load(stage.warehouse, DOUBLES, path).main
    assert written.rows == 4 and written.path == stage.warehouse.path(DOUBLES, DAY)
    assert [(row["id"], row["rank"], row["value"]) for row in table(stage.warehouse)] == [
        ("0", 1, 0),
        ("0", 2, 7),
        ("1", 1, 2),
        ("3", 1, 6),
    ]
    assert {row["model_version"] for row in table(stage.warehouse)} == {"rules-7"}
    assert exclusions(stage.warehouse) == [
        {"key": "2", "reason": "too even"},
        {"key": "4", "reason": "too even"},
    ]


def test_exclusions_of_an_earlier_run_are_gone_with_their_rows(stage: Staging) -> None:
    load(stage.warehouse, DOUBLES, answered(stage, RIGHT))
    everybody: list[Answer] = [(str(n), 1, 2 * n, None) for n in range(5)]
    load(stage.warehouse, DOUBLES, answered(stage, everybody))
    assert exclusions(stage.warehouse) == []
    assert len(table(stage.warehouse)) == 5


def test_nobody_to_score_gives_an_empty_partition_and_no_exclusions(stage: Staging) -> None:
    path = answered(stage, [], n=0)
    found = judged(stage, path, Check("few", "Few.", "select count(*) from new_rows, staged"))
    assert (found.staged, found.scored, found.excluded, found.passed) == (0, 0, 0, True)
    assert load(stage.warehouse, DOUBLES, path).main.rows == 0
    assert stage.warehouse.partitions(DOUBLES) == [DAY] == stage.warehouse.partitions(EXCLUSIONS)


def test_everybody_excluded_gives_an_empty_partition(stage: Staging) -> None:
    path = answered(stage, [(str(n), None, None, "closed") for n in range(5)])
    assert judged(stage, path).passed
    assert load(stage.warehouse, DOUBLES, path).main.rows == 0
    assert len(exclusions(stage.warehouse)) == 5


def test_rows_that_do_not_fit_the_table_replace_neither_rows_nor_exclusions(
    stage: Staging,
) -> None:
    load(stage.warehouse, DOUBLES, answered(stage, RIGHT))
    before = table(stage.warehouse), exclusions(stage.warehouse)
    twice: list[Answer] = [(str(n), 1, 0, None) for n in range(5)]
    with pytest.raises(WarehouseError, match=r"key \(id, rank\) is not unique"):
        load(stage.warehouse, DOUBLES, answered(stage, [*twice, ("3", 1, 1, None)]))
    assert (table(stage.warehouse), exclusions(stage.warehouse)) == before


@pytest.mark.parametrize("type_", [pa.null(), pa.string()])
def test_a_scorer_may_exclude_nobody_by_any_column_of_nulls(
    stage: Staging, type_: pa.DataType
) -> None:
    path = stage(2)
    (shard,) = StagingManifest.read(path).shards
    rows = {"id": ["0", "1"], "rank": [1, 1], "value": [0, 2], EXCLUDED: pa.nulls(2, type_)}
    target = result_path(path, shard)
    target.parent.mkdir()
    pq.write_table(pa.table(rows), target)
    assert judged(stage, path).passed
    assert load(stage.warehouse, DOUBLES, path).main.rows == 2
    assert exclusions(stage.warehouse) == []

"""Validation and loading: a key is scored or excluded with a reason, exactly once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from batch_predictions.inference.partition_loading import load_partition
from batch_predictions.inference.pools.engine import score
from batch_predictions.inference.results import StagingManifest, result_path
from batch_predictions.inference.scorer import EXCLUDED
from batch_predictions.inference.validation import KEYS_ACCOUNTED, Check, ValidationResult, validate
from batch_predictions.settings import InferenceSettings
from batch_predictions.tables import EXCLUSIONS
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.schema_sql import WarehouseError
from batch_predictions_tests.worlds.engine import (
    DAY,
    DOUBLES,
    FixedScorer,
    Staging,
    read_rows,
    write_parquet_result,
)
from batch_predictions_tests.worlds.table_rows import write_events

ScoredRow = tuple[str, int | None, int | None, str | None]
"""id, rank, value, excluded."""

VALID_ROWS: list[ScoredRow] = [("0", 1, 0, None), ("0", 2, 7, None), ("1", 1, 2, None)]
VALID_ROWS += [("2", None, None, "too even"), ("3", 1, 6, None), ("4", None, None, "too even")]


def stage_and_score(
    stage: Staging, rows: list[ScoredRow], n: int = 5, model_version: str = "rules-1"
) -> Path:
    """Stages n numbers in shards of two; these rows are the results."""
    FixedScorer.rows = list(rows)
    path = stage(
        n,
        scorer=FixedScorer,
        shard_rows=2,
        parameters={"rows": str(rows)},
        model_version=model_version,
    )
    score(path, InferenceSettings(workers=1, device="cpu"))
    return path


def run_validation(
    stage: Staging, path: Path, *checks: Check, **parameters: Any
) -> ValidationResult:
    return validate(stage.warehouse, DOUBLES, path, checks, parameters)


def stored_rows(warehouse: Warehouse) -> list[dict[str, Any]]:
    return read_rows(warehouse.path(DOUBLES, DAY))


def stored_exclusions(warehouse: Warehouse) -> list[dict[str, Any]]:
    return warehouse.query(
        "select key, reason from predictions.exclusions where table_name = 'doubles' order by key"
    ).to_pylist()


def test_scored_and_excluded_keys_add_up_to_the_staged_ones(stage: Staging) -> None:
    result = run_validation(stage, stage_and_score(stage, VALID_ROWS))
    assert (result.partition, result.staged, result.scored, result.excluded) == (DAY, 5, 3, 2)
    assert result.rows == 4
    assert result.violations == {KEYS_ACCOUNTED.name: 0} and result.passed and result.examples == {}
    assert sum(result.reasons.values()) == 2 and all(result.reasons)


@pytest.mark.usefixtures("identifiers_shown")
@pytest.mark.parametrize(
    ("rows", "violations", "message"),
    [
        ([row for row in VALID_ROWS if row[0] != "3"], 1, "1 keys lost, such as .*3"),
        ([*VALID_ROWS, ("x1", 1, 1, None)], 1, "1 keys invented, such as .*x1"),
        ([*VALID_ROWS, ("x1", None, None, "why")], 1, "1 keys invented, such as .*x1"),
        (
            [*VALID_ROWS, ("1", None, None, "why")],
            1,
            "1 keys both scored and excluded, such as .*1",
        ),
        ([*VALID_ROWS, ("2", None, None, "again")], 1, "1 keys excluded twice, such as .*2"),
        (
            [row for row in VALID_ROWS if row[0] not in "34"] + [("x1", 1, 1, None)],
            3,
            "2 keys lost, .*; 1 keys invented",
        ),
    ],
    ids=["lost", "invented", "invented and excluded", "both", "twice", "lost and invented"],
)
def test_a_key_that_is_not_accounted_for_is_named(
    stage: Staging, rows: list[ScoredRow], violations: int, message: str
) -> None:
    result = run_validation(stage, stage_and_score(stage, rows))
    assert result.violations == {KEYS_ACCOUNTED.name: violations} and not result.passed
    assert re.search(message, result.examples["accounted"])


def test_keys_with_null_columns_are_accounted_for(stage: Staging) -> None:
    rows = """select id, null::VARCHAR as place, 1 as n from range(3) as r(i),
        (select i::VARCHAR as id) union all values ('0', 'here', 1)"""
    path = stage(rows=rows, key=("id", "place"))
    manifest = StagingManifest.read(path)
    (shard,) = manifest.shards
    columns = {
        "id": ["0", "0", "1", "2"],
        "place": pa.array([None, "here", None, None], pa.string()),
        "rank": [1, 1, 1, None],
        "value": [1, 1, 1, None],
        EXCLUDED: pa.array([None, None, None, "why"], pa.string()),
    }
    target = result_path(path, shard)
    target.parent.mkdir()
    write_parquet_result(pa.table(columns), target)
    result = run_validation(stage, path)
    assert (result.staged, result.scored, result.excluded, result.passed) == (4, 3, 1, True)


def test_a_check_reads_new_rows_staged_rows_tables_and_parameters(stage: Staging) -> None:
    write_events(stage.warehouse, "date user_id item_id", [(as_date(DAY), "1", "i")])
    check = Check(
        "small",
        "Small.",
        """select count(*) from new_rows join staged using (id)
        where value > $least and id in (select user_id from raw.interactions)""",
    )
    path = stage_and_score(stage, VALID_ROWS)
    assert run_validation(stage, path, check, least=1).violations == {"accounted": 0, "small": 1}
    assert run_validation(stage, path, check, least=2).passed


def test_a_check_binds_only_the_parameters_that_it_names(stage: Staging) -> None:
    check = Check("few", "Few.", "select count(*) - $keys_allowed from new_rows")
    # `$k` is a prefix of `$keys_allowed`, and DuckDB refuses parameters that a query lacks.
    result = run_validation(
        stage, stage_and_score(stage, VALID_ROWS), check, k=20, keys=1, keys_allowed=3
    )
    assert result.violations["few"] == 1


def test_a_check_that_returns_null_passes(stage: Staging) -> None:
    check = Check("none", "None.", "select sum(value) from new_rows where value > 1000")
    assert run_validation(stage, stage_and_score(stage, VALID_ROWS), check).passed


def test_validation_writes_nothing(stage: Staging) -> None:
    run_validation(stage, stage_and_score(stage, VALID_ROWS[1:]))
    assert stage.warehouse.partitions(DOUBLES) == []
    assert stage.warehouse.partitions(EXCLUSIONS) == []


def test_rows_and_exclusions_are_written_with_the_model_version(stage: Staging) -> None:
    path = stage_and_score(stage, VALID_ROWS, model_version="rules-7")
    write = load_partition(stage.warehouse, DOUBLES, path).main
    assert write.rows == 4 and write.path == stage.warehouse.path(DOUBLES, DAY)
    assert [(row["id"], row["rank"], row["value"]) for row in stored_rows(stage.warehouse)] == [
        ("0", 1, 0),
        ("0", 2, 7),
        ("1", 1, 2),
        ("3", 1, 6),
    ]
    assert {row["model_version"] for row in stored_rows(stage.warehouse)} == {"rules-7"}
    assert stored_exclusions(stage.warehouse) == [
        {"key": "2", "reason": "too even"},
        {"key": "4", "reason": "too even"},
    ]


def test_exclusions_of_an_earlier_run_are_replaced(stage: Staging) -> None:
    load_partition(stage.warehouse, DOUBLES, stage_and_score(stage, VALID_ROWS))
    all_scored: list[ScoredRow] = [(str(n), 1, 2 * n, None) for n in range(5)]
    load_partition(stage.warehouse, DOUBLES, stage_and_score(stage, all_scored))
    assert stored_exclusions(stage.warehouse) == []
    assert len(stored_rows(stage.warehouse)) == 5


def test_no_staged_rows_give_an_empty_partition_and_no_exclusions(stage: Staging) -> None:
    path = stage_and_score(stage, [], n=0)
    result = run_validation(
        stage, path, Check("few", "Few.", "select count(*) from new_rows, staged")
    )
    assert (result.staged, result.scored, result.excluded, result.passed) == (0, 0, 0, True)
    assert load_partition(stage.warehouse, DOUBLES, path).main.rows == 0
    assert stage.warehouse.partitions(DOUBLES) == [DAY] == stage.warehouse.partitions(EXCLUSIONS)


def test_excluding_all_keys_gives_an_empty_partition(stage: Staging) -> None:
    path = stage_and_score(stage, [(str(n), None, None, "closed") for n in range(5)])
    assert run_validation(stage, path).passed
    assert load_partition(stage.warehouse, DOUBLES, path).main.rows == 0
    assert len(stored_exclusions(stage.warehouse)) == 5


def test_rows_that_do_not_fit_the_table_replace_neither_rows_nor_exclusions(
    stage: Staging,
) -> None:
    load_partition(stage.warehouse, DOUBLES, stage_and_score(stage, VALID_ROWS))
    old = stored_rows(stage.warehouse), stored_exclusions(stage.warehouse)
    scored: list[ScoredRow] = [(str(n), 1, 0, None) for n in range(5)]
    with pytest.raises(WarehouseError, match=r"key \(id, rank\) is not unique"):
        load_partition(
            stage.warehouse, DOUBLES, stage_and_score(stage, [*scored, ("3", 1, 1, None)])
        )
    assert (stored_rows(stage.warehouse), stored_exclusions(stage.warehouse)) == old


@pytest.mark.parametrize("type_", [pa.null(), pa.string()])
def test_a_column_of_nulls_excludes_no_key(stage: Staging, type_: pa.DataType) -> None:
    path = stage(2)
    (shard,) = StagingManifest.read(path).shards
    rows = {"id": ["0", "1"], "rank": [1, 1], "value": [0, 2], EXCLUDED: pa.nulls(2, type_)}
    target = result_path(path, shard)
    target.parent.mkdir()
    write_parquet_result(pa.table(rows), target)
    assert run_validation(stage, path).passed
    assert load_partition(stage.warehouse, DOUBLES, path).main.rows == 2
    assert stored_exclusions(stage.warehouse) == []

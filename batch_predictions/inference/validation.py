"""Validates the results of a partition: every key is accounted for, and all checks count 0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from batch_predictions.core.redaction import shows_identifiers
from batch_predictions.inference.child_tables import (
    ChildTables,
    integrity_queries,
    lists_query,
    rows_query,
    validate_columns,
)
from batch_predictions.inference.results import (
    UNSTAGED_KEYS,
    StagingManifest,
    damaged_results,
    fetch_stage,
    result_files,
)
from batch_predictions.inference.scorer import EXCLUDED
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.path_sql import quote_files
from batch_predictions.warehouse.schema_sql import WarehouseError, used_parameters


def results_query(
    table: Table, manifest: StagingManifest, manifest_path: Path, child_tables: ChildTables
) -> str:
    """Builds a query for the scorer's rows of all shards, `excluded` included, without child lists.

    Args:
        table: main table of the prediction.
        manifest: of the staged partition.
        manifest_path: its file, beside which the results are found.
        child_tables: by the column of the results that holds their rows.
    """
    if manifest.shards:
        files = quote_files(result_files(manifest, manifest_path))
        options = "union_by_name=true, hive_partitioning=false"
        lists = ", ".join(f'"{column}"' for column in child_tables)
        columns = f"* exclude ({lists})" if lists else "*"
        return f"select {columns} from read_parquet({files}, {options})"
    added = {table.partition, "model_version"}
    nulls = [f"null::{c.type} as {c.name}" for c in table.columns if c.name not in added]
    return f"select {', '.join(nulls)}, null::VARCHAR as {EXCLUDED} where false"


def exclusions_query(
    table: Table, manifest: StagingManifest, manifest_path: Path, child_tables: ChildTables
) -> str:
    """Builds a query for the keys without a prediction and their reasons, `excluded`.

    Args:
        table: main table of the prediction.
        manifest: of the staged partition.
        manifest_path: its file, beside which the results are found.
        child_tables: by the column of the results that holds their rows.
    """
    columns = f"{', '.join(manifest.key)}, {EXCLUDED}"
    results = results_query(table, manifest, manifest_path, child_tables)
    query = f"select {columns} from ({results}) where {EXCLUDED} is not null"
    unstaged = _unstaged_query(manifest, manifest_path)
    return f"{query} union all select {columns} {unstaged}" if unstaged else query


def _unstaged_query(manifest: StagingManifest, manifest_path: Path) -> str:
    """A FROM clause of the eligible keys that are not staged; empty where there are none."""
    if not manifest.unstaged:
        return ""
    files = quote_files([manifest_path.with_name(UNSTAGED_KEYS)])
    return f"from read_parquet({files}, hive_partitioning=false)"


@contextmanager
def result_views(
    warehouse: Warehouse, table: Table, manifest_path: Path, child_tables: ChildTables
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens a connection with temporary views of the results.

    The views are `staged`, `eligible_keys`, `new_rows` and `excluded_rows`, and for every child
    table `lists_<column>` (the lists of scored keys) and `new_<column>` (its rows).

    Args:
        warehouse: to connect to.
        table: main table of the prediction.
        manifest_path: of the staged partition.
        child_tables: by the column of the results that holds their rows.

    Raises:
        WarehouseError: the column of a child table does not fit it.
    """
    manifest = StagingManifest.read(manifest_path)
    results = results_query(table, manifest, manifest_path, child_tables)
    files = result_files(manifest, manifest_path)
    shards = [manifest_path.parent / shard.name for shard in manifest.shards]
    with warehouse.connect() as db:
        validate_columns(db, child_tables, manifest, files)
        keys = ", ".join(manifest.key)
        unstaged = _unstaged_query(manifest, manifest_path)
        views = {
            "staged": f"from read_parquet({quote_files(shards)}, hive_partitioning=false)"
            if shards
            else f"select {keys} from ({results}) where false",
            "new_rows": f"select * exclude ({EXCLUDED}) from ({results}) where {EXCLUDED} is null",
            "excluded_rows": exclusions_query(table, manifest, manifest_path, child_tables),
            "eligible_keys": f"select {keys} from temp.staged"
            + (f" union all select {keys} {unstaged}" if unstaged else ""),
        }
        for column, child in child_tables.items():
            views[f"lists_{column}"] = lists_query(column, child, manifest, files)
            views[f"new_{column}"] = rows_query(column, child, manifest, files)
        for name, sql in views.items():
            db.execute(f"create temp view {name} as {sql}")
        yield db


@dataclass(frozen=True)
class Check:
    """A query that counts violations among the new rows of one partition.

    The query reads the new rows as `new_rows`, those of a child table as `new_<column>`, the staged
    rows as `staged`, and every table of the warehouse. It may bind the declaration's parameters.
    """

    name: str
    description: str
    sql: str


MAX_REASONS = 5
"""Reasons of exclusions that are shown."""
KEYS_ACCOUNTED = Check(
    "accounted",
    "Keys scored + keys excluded = keys eligible; no key is lost, invented or both.",
    "",
)
CHILD_ROWS_BELONG = Check(
    "child_rows_belong",
    "Rows of child tables belong to scored keys, each key's to one list.",
    "",
)


@dataclass(frozen=True)
class ValidationResult:
    """Counts of one partition's keys and rows, and the violations of every check.

    Attributes:
        partition: `YYYY-MM-DD`.
        eligible: number of keys that should be scored or have a reason.
        staged: number of keys to score; the other eligible ones are excluded.
        scored: number of keys with predictions.
        excluded: number of keys with a reason instead.
        rows: number of new rows.
        violations: count by name of the check.
        examples: what violates a check, by name of the check; with one key if
            `execution.show_identifiers` is set.
        reasons: the most frequent reasons of excluded keys, with their numbers.
    """

    partition: str
    eligible: int
    staged: int
    scored: int
    excluded: int
    rows: int
    violations: dict[str, int]
    examples: dict[str, str]
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether no check was violated, so that the partition may be replaced."""
        return not any(self.violations.values())


def validate(
    warehouse: Warehouse,
    table: Table,
    manifest_path: Path,
    checks: Sequence[Check],
    parameters: Mapping[str, object],
    child_tables: Mapping[str, Table] = {},
) -> ValidationResult:
    """Validates the results of a partition: counts keys and runs the checks; writes nothing.

    Args:
        warehouse: for the tables that checks read.
        table: main table of the prediction.
        manifest_path: of the staged partition.
        checks: queries that count violations.
        parameters: values that the checks may bind.
        child_tables: by the column of the results that holds their rows.

    Raises:
        WarehouseError: a result is missing or damaged, or the column of a child table does not fit
            it.
    """
    fetch_stage(manifest_path)
    manifest = StagingManifest.read(manifest_path)
    damaged = damaged_results(manifest, manifest_path)
    if damaged:
        raise WarehouseError(
            f"{damaged[0]} is missing or damaged (and {len(damaged) - 1} more results of "
            f"{manifest.table} {manifest.partition}): materialize the partition again, which "
            "scores their shards again"
        )
    with result_views(warehouse, table, manifest_path, child_tables) as db:
        keys = ", ".join(manifest.key)
        db.execute(
            f"""create temp table scored_keys as select distinct {keys} from temp.new_rows;
            create temp table excluded_keys as select {keys} from temp.excluded_rows"""
        )
        violations, examples = _run_key_checks(db, manifest, child_tables)
        for check in checks:
            bound = used_parameters(check.sql, parameters)
            violations[check.name] = int(_fetch_row(db, check.sql, bound)[0] or 0)
        return ValidationResult(
            partition=manifest.partition,
            eligible=manifest.rows + manifest.unstaged,
            staged=manifest.rows,
            scored=_fetch_row(db, "select count(*) from temp.scored_keys")[0],
            excluded=_fetch_row(db, "select count(*) from temp.excluded_keys")[0],
            rows=_fetch_row(db, "select count(*) from temp.new_rows")[0],
            violations=violations,
            examples=examples,
            reasons=dict(
                db.execute(
                    f"select {EXCLUDED}, count(*) from temp.excluded_rows "
                    f"group by 1 order by 2 desc, 1 limit {MAX_REASONS}"
                ).fetchall()
            ),
        )


def _run_key_checks(
    db: duckdb.DuckDBPyConnection, manifest: StagingManifest, child_tables: ChildTables
) -> tuple[dict[str, int], dict[str, str]]:
    """Violations and examples, by name of the check, of the checks that every prediction has."""
    queries = {KEYS_ACCOUNTED.name: _accounting_queries(manifest)}
    if child_tables:
        queries[CHILD_ROWS_BELONG.name] = {
            violation: sql
            for column, child in child_tables.items()
            for violation, sql in integrity_queries(
                child, manifest, f"from temp.lists_{column}"
            ).items()
        }
    violations, examples = {}, {}
    for name, check_queries in queries.items():
        violations[name], messages = 0, []
        for violation, sql in check_queries.items():
            count, example = _fetch_row(db, f"select count(*), any_value(a) from ({sql}) a")
            violations[name] += count
            if count:
                such_as = f", such as {example}" if shows_identifiers() else ""
                messages.append(f"{count} keys {violation}{such_as}")
        if messages:
            examples[name] = "; ".join(messages)
    return violations, examples


def _accounting_queries(manifest: StagingManifest) -> dict[str, str]:
    """Queries for the keys that are not scored or excluded exactly once, by violation."""
    keys = ", ".join(manifest.key)
    equal_keys = " and ".join(f"a.{k} is not distinct from b.{k}" for k in manifest.key)
    return {
        "lost": f"""select {keys} from temp.eligible_keys a where not exists
            (select 1 from temp.scored_keys b where {equal_keys}) and not exists
            (select 1 from temp.excluded_keys b where {equal_keys})""",
        "invented": f"""select {keys} from
            (from temp.scored_keys union from temp.excluded_keys) a
            where not exists (select 1 from temp.eligible_keys b where {equal_keys})""",
        "both scored and excluded": f"""select {keys} from temp.scored_keys a where exists
            (select 1 from temp.excluded_keys b where {equal_keys})""",
        "excluded twice": f"""select {keys} from temp.excluded_keys group by all
            having count(*) > 1""",
    }


def _fetch_row(
    db: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, object] | None = None
) -> tuple[Any, ...]:
    row = db.execute(sql, parameters).fetchone()
    assert row is not None
    return tuple(row)

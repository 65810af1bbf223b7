"""The last step of a prediction: count that nothing was lost, ask the checks, replace the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from batch_predictions.inference import child_tables as beside
from batch_predictions.inference.child_tables import ChildTables
from batch_predictions.inference.scorer import EXCLUDED
from batch_predictions.inference.staging import StagingManifest, result_path
from batch_predictions.tables import EXCLUSIONS, Table
from batch_predictions.warehouse import Warehouse, WriteResult
from batch_predictions.warehouse.schema_sql import used_parameters


@dataclass(frozen=True)
class Check:
    """A question about the new rows of one partition: a query that counts what is wrong.

    The query sees the new rows as `new_rows`, those of a companion as `new_<column>`, the staged
    ones as `staged`, every table of the warehouse, and the declaration's parameters.
    """

    name: str
    description: str
    sql: str


@dataclass(frozen=True)
class ValidationResult:
    """What one partition's results are: the accounting of keys, and how many break each check."""

    partition: str
    staged: int
    scored: int
    excluded: int
    rows: int
    broken: dict[str, int]
    examples: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether the partition may be replaced."""
        return not any(self.broken.values())


ACCOUNTED = Check(
    "accounted",
    "Keys scored + excluded with a reason = keys eligible; no key is lost, invented or both.",
    "",
)
BELONG = Check(
    "companions_belong",
    "Rows of companion tables are of keys that were scored, from one list each.",
    "",
)


@dataclass(frozen=True)
class LoadResult:
    """What was written of one partition; the companions by their qualified names."""

    main: WriteResult
    child_tables: dict[str, WriteResult] = field(default_factory=dict)


def validate(
    warehouse: Warehouse,
    table: Table,
    manifest_path: Path,
    checks: Sequence[Check],
    parameters: Mapping[str, Any],
    companions: Mapping[str, Table] = {},
) -> ValidationResult:
    """Counts keys and asks the checks, without writing anything.

    Raises:
        WarehouseError: a companion's column does not fit its table.
    """
    manifest = StagingManifest.read(manifest_path)
    with _results(warehouse, table, manifest_path, companions) as db:
        same = " and ".join(f"a.{k} is not distinct from b.{k}" for k in manifest.key)
        keys = ", ".join(manifest.key)
        db.execute(
            f"""create temp table scored_keys as select distinct {keys} from temp.new_rows;
            create temp table excluded_keys as select {keys} from temp.excluded_rows"""
        )
        counts = {
            "lost": f"""select {keys} from temp.staged a where not exists
                (select 1 from temp.scored_keys b where {same}) and not exists
                (select 1 from temp.excluded_keys b where {same})""",
            "invented": f"""select {keys} from
                (from temp.scored_keys union from temp.excluded_keys) a
                where not exists (select 1 from temp.staged b where {same})""",
            "both scored and excluded": f"""select {keys} from temp.scored_keys a where exists
                (select 1 from temp.excluded_keys b where {same})""",
            "excluded twice": f"""select {keys} from temp.excluded_keys group by all
                having count(*) > 1""",
        }
        questions = {ACCOUNTED.name: counts}
        if companions:
            questions[BELONG.name] = {
                what: sql
                for column, companion in companions.items()
                for what, sql in beside.integrity_queries(
                    companion, manifest, f"from temp.lists_{column}"
                ).items()
            }
        broken, examples = {}, {}
        for name, asked in questions.items():
            broken[name], wrong = 0, []
            for what, sql in asked.items():
                number, example = _one(db, f"select count(*), any_value(a) from ({sql}) a")
                broken[name] += number
                if number:
                    wrong.append(f"{number} keys {what}, such as {example}")
            if wrong:
                examples[name] = "; ".join(wrong)
        for check in checks:
            bound = used_parameters(check.sql, parameters)
            broken[check.name] = int(_one(db, check.sql, bound)[0] or 0)
        return ValidationResult(
            partition=manifest.partition,
            staged=manifest.rows,
            scored=_one(db, "select count(*) from temp.scored_keys")[0],
            excluded=_one(db, "select count(*) from temp.excluded_keys")[0],
            rows=_one(db, "select count(*) from temp.new_rows")[0],
            broken=broken,
            examples=examples,
        )


def load(
    warehouse: Warehouse, table: Table, manifest_path: Path, companions: Mapping[str, Table] = {}
) -> LoadResult:
    """Replaces the companions' partitions, the partition and its exclusions by the results."""
    manifest = StagingManifest.read(manifest_path)
    files = _files(manifest, manifest_path)
    # Companions first: whoever finds a partition of the main table finds theirs too. After a
    # crash in between, theirs are new and the main one is old, each of them whole.
    kept = {
        companion.qualified: warehouse.replace_partition(
            companion,
            manifest.partition,
            beside.rows(column, companion, manifest, files),
        )
        for column, companion in companions.items()
    }
    source = _source(table, manifest, manifest_path, companions)
    key = " || '|' || ".join(f"coalesce({name}::VARCHAR, '')" for name in manifest.key)
    written = warehouse.replace_partition(
        table,
        manifest.partition,
        f"select * exclude ({EXCLUDED}), $model_version::VARCHAR as model_version "
        f"from ({source}) where {EXCLUDED} is null",
        {"model_version": manifest.model_version},
    )
    warehouse.replace_partition(
        EXCLUSIONS,
        manifest.partition,
        f"select {key} as key, {EXCLUDED} as reason from ({source}) where {EXCLUDED} is not null",
        part={"table_name": table.name},
    )
    return LoadResult(written, kept)


@contextmanager
def _results(
    warehouse: Warehouse, table: Table, manifest_path: Path, companions: ChildTables
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the temporary views staged, new_rows and excluded_rows, and two for each
    companion: the scored keys' lists and their entries as rows."""
    manifest = StagingManifest.read(manifest_path)
    source = _source(table, manifest, manifest_path, companions)
    files = _files(manifest, manifest_path)
    shards = [manifest_path.parent / shard.name for shard in manifest.shards]
    keys = ", ".join(manifest.key)
    staged = (
        f"from read_parquet({_list(shards)})"
        if shards
        else f"select {keys} from ({source}) where false"
    )
    with warehouse.connect() as db:
        beside.check_columns(db, companions, manifest, files)
        db.execute(f"create temp view staged as {staged}")
        db.execute(
            f"create temp view new_rows as select * exclude ({EXCLUDED}) from ({source}) "
            f"where {EXCLUDED} is null"
        )
        db.execute(
            f"create temp view excluded_rows as select * from ({source}) "
            f"where {EXCLUDED} is not null"
        )
        for column, companion in companions.items():
            lists = beside.lists_of(column, companion, manifest, files)
            db.execute(f"create temp view lists_{column} as {lists}")
            entries = beside.rows(column, companion, manifest, files)
            db.execute(f"create temp view new_{column} as {entries}")
        yield db


def _files(manifest: StagingManifest, manifest_path: Path) -> list[Path]:
    """The results of all shards."""
    return [result_path(manifest_path, shard) for shard in manifest.shards]


def _source(
    table: Table, manifest: StagingManifest, manifest_path: Path, companions: ChildTables
) -> str:
    """A query for the results of all shards but companions' lists; typed where there are none."""
    if manifest.shards:
        files = _list(_files(manifest, manifest_path))
        lists = ", ".join(f'"{name}"' for name in companions)
        main = f"* exclude ({lists})" if lists else "*"
        return f"select {main} from read_parquet({files}, union_by_name=true)"
    outside = {table.partition, "model_version"}
    nulls = [f"null::{c.type} as {c.name}" for c in table.columns if c.name not in outside]
    return f"select {', '.join(nulls)}, null::VARCHAR as {EXCLUDED} where false"


def _list(paths: Sequence[Path]) -> str:
    quoted = ["'" + str(path).replace("'", "''") + "'" for path in paths]
    return f"[{', '.join(quoted)}]"


def _one(db: duckdb.DuckDBPyConnection, sql: str, parameters: Any = None) -> tuple[Any, ...]:
    row = db.execute(sql, parameters).fetchone()
    assert row is not None
    return tuple(row)

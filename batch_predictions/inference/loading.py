"""The last step of a prediction: count that nothing was lost, ask the checks, replace the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from batch_predictions.inference.scorer import EXCLUDED
from batch_predictions.inference.staging import Manifest, result_path
from batch_predictions.relations import named
from batch_predictions.tables import EXCLUSIONS, Table
from batch_predictions.warehouse import Warehouse, Written


@dataclass(frozen=True)
class Check:
    """A question about the new rows of one partition: a query that counts what is wrong.

    The query sees the new rows as `new_rows`, the staged ones as `staged`, every table of the
    warehouse, and the declaration's parameters.
    """

    name: str
    description: str
    sql: str


@dataclass(frozen=True)
class Judgement:
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


def judge(
    warehouse: Warehouse,
    table: Table,
    manifest_path: Path,
    checks: Sequence[Check],
    parameters: Mapping[str, Any],
) -> Judgement:
    """Counts keys and asks the checks, without writing anything."""
    manifest = Manifest.read(manifest_path)
    with _results(warehouse, table, manifest_path) as db:
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
        broken, examples, wrong = {ACCOUNTED.name: 0}, {}, []
        for what, sql in counts.items():
            number, example = _one(db, f"select count(*), any_value(a) from ({sql}) a")
            broken[ACCOUNTED.name] += number
            if number:
                wrong.append(f"{number} keys {what}, such as {example}")
        if wrong:
            examples[ACCOUNTED.name] = "; ".join(wrong)
        for check in checks:
            bound = named(check.sql, parameters)
            broken[check.name] = int(_one(db, check.sql, bound)[0] or 0)
        return Judgement(
            partition=manifest.partition,
            staged=manifest.rows,
            scored=_one(db, "select count(*) from temp.scored_keys")[0],
            excluded=_one(db, "select count(*) from temp.excluded_keys")[0],
            rows=_one(db, "select count(*) from temp.new_rows")[0],
            broken=broken,
            examples=examples,
        )


def load(warehouse: Warehouse, table: Table, manifest_path: Path) -> Written:
    """Replaces the partition and, after it, its exclusions by the results."""
    manifest = Manifest.read(manifest_path)
    source = _source(table, manifest, manifest_path)
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
    return written


@contextmanager
def _results(
    warehouse: Warehouse, table: Table, manifest_path: Path
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the temporary views staged, new_rows and excluded_rows."""
    manifest = Manifest.read(manifest_path)
    source = _source(table, manifest, manifest_path)
    shards = [manifest_path.parent / shard.name for shard in manifest.shards]
    keys = ", ".join(manifest.key)
    staged = (
        f"from read_parquet({_list(shards)})"
        if shards
        else f"select {keys} from ({source}) where false"
    )
    with warehouse.connect() as db:
        db.execute(f"create temp view staged as {staged}")
        db.execute(
            f"create temp view new_rows as select * exclude ({EXCLUDED}) from ({source}) "
            f"where {EXCLUDED} is null"
        )
        db.execute(
            f"create temp view excluded_rows as select * from ({source}) "
            f"where {EXCLUDED} is not null"
        )
        yield db


def _source(table: Table, manifest: Manifest, manifest_path: Path) -> str:
    """A query for the results of all shards; typed where there are none."""
    if manifest.shards:
        files = [result_path(manifest_path, shard) for shard in manifest.shards]
        return f"select * from read_parquet({_list(files)}, union_by_name=true)"
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

"""Partitions that were written, but that queries do not see: their day would look empty.

An empty day is a file without rows. A file that is missing, or that a view does not find, is an
error: what is computed from it would replace good rows by none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from batch_predictions.sources.rows.ingest_log import read_ingest_log
from batch_predictions.tables import TABLES, Table
from batch_predictions.tables.base import PartitionColumn
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.delta_tables import count_rows


def lost_partitions(
    warehouse: Warehouse, names: Iterable[str], unit: PartitionColumn, keys: Sequence[str]
) -> list[str]:
    """Describes ingested partitions whose file is missing, with the remedy, a text per table.

    Args:
        warehouse: where the files are.
        names: qualified names of the tables that a query reads.
        unit: what `keys` are; tables that are divided otherwise are not checked. Tables without
            partitions are.
        keys: the partitions that are computed.
    """
    problems = []
    for table in _checked_tables(names, unit):
        if table.schema != "raw":
            continue
        log = read_ingest_log(Path(warehouse.home), table)
        for key in keys if table.partition else [None]:
            entry = log.days.get(key or log.as_of or "")
            if entry and entry.accepted and not warehouse.path(table, key).exists():
                name = table.qualified.replace(".", "/")
                problems.append(
                    f"{entry.accepted:,} rows of {name} were ingested for {key or log.as_of}, but "
                    f"their file {warehouse.path(table, key)} is missing: materialize {name} for "
                    f"{key or log.as_of}"
                )
                break
    return problems


def unread_partitions(
    warehouse: Warehouse, names: Iterable[str], unit: PartitionColumn, key: str
) -> list[str]:
    """Describes files whose rows the views do not find, with the remedy, a text per table.

    The arguments are those of `lost_partitions`; `key` is the partition that is computed.
    """
    problems = []
    for table in _checked_tables(names, unit):
        path = warehouse.path(table, key if table.partition else None)
        rows = count_rows(path) if path.exists() else 0
        condition = f'where "{table.partition}" = $key::DATE' if table.partition else ""
        query = f"select exists (select 1 from {table.qualified} {condition})"
        if rows and not warehouse.value(query, {"key": key}):
            problems.append(
                f"{path} has {rows:,} rows, but the view {table.qualified} in "
                f"{Path(warehouse.home) / 'warehouse.duckdb'} finds none of them: remove "
                f"{Path(warehouse.home) / 'warehouse.views'}, so that the views are made anew"
            )
    return problems


def _checked_tables(names: Iterable[str], unit: PartitionColumn) -> list[Table]:
    tables = (TABLES[name] for name in sorted(names))
    return [table for table in tables if not table.parts and table.partition in (None, unit)]

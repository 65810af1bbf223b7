"""The tables of a release as Arrow, with the columns that sinks hold."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import sqlalchemy as sa

from batch_predictions.serving.release_files.export import require_rows, tables_of
from batch_predictions.serving.release_files.parquet_export import arrow_schema, arrow_tables
from batch_predictions.serving.store.pointer import ReleaseError
from batch_predictions.serving.store.snapshot import ServedRelease
from batch_predictions.tables import TABLES

RELEASE_ID = "release_id"


class SinkError(ReleaseError):
    """A sink could not be written; what it had before is what its readers see."""


@dataclass(frozen=True)
class SinkTable:
    """A table of a release, as sinks hold it.

    Attributes:
        name: of the table.
        schema: release_id, the partition column where there is one, and the table's columns. Lists
            are lists; maps and structs are JSON texts.
        partition: `date` or `week`; None for `items` and `users`, which every release replaces.
        day: value of the partition column in all rows; None without one.
        key: columns that are unique within a release, the one of lookups first.
        rows: number of rows; None: not recorded.
        db: a connection to the store, in the snapshot of the release.
        served: the release.
        table: the store's table.
    """

    name: str
    schema: pa.Schema
    partition: str | None
    day: dt.date | None
    key: Sequence[str]
    rows: int | None
    db: sa.Connection
    served: ServedRelease
    table: sa.Table

    def reader(self) -> pa.RecordBatchReader:
        """Streams the rows in key order.

        Raises:
            ReleaseFileError: at the end: the store has other numbers of rows than its record says.
        """
        return pa.RecordBatchReader.from_batches(self.schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        rows = 0
        for stored in arrow_tables(self.db, self.served, self.table, arrow_schema(self.table)):
            rows += stored.num_rows
            constants: dict[str, object] = {RELEASE_ID: self.served.release_id}
            if self.partition:
                constants[self.partition] = self.day
            columns = [
                pa.repeat(pa.scalar(constants[field.name], field.type), stored.num_rows)
                if field.name in constants
                else _as_type(stored[field.name], field.type)
                for field in self.schema
            ]
            yield from pa.table(columns, schema=self.schema).to_batches()
        if self.rows is not None:
            require_rows(self.served, self.name, rows)


def release_tables(
    db: sa.Connection, served: ServedRelease, names: Collection[str]
) -> list[SinkTable]:
    """Lists the tables of a release that a sink gets.

    Args:
        db: a connection to the store, in the snapshot of the release.
        served: the release.
        names: of tables; empty: all.

    Raises:
        SinkError: the release has no table of a name.
    """
    stored = {table.name: table for table in tables_of(served)}
    if unknown := sorted(set(names) - set(stored)):
        raise SinkError(
            f"the release has no {', '.join(unknown)}: sinks.tables names one or more of "
            f"{', '.join(sorted(stored))}"
        )
    return [
        _sink_table(db, served, table)
        for name, table in stored.items()
        if name in names or not names
    ]


def _sink_table(db: sa.Connection, served: ServedRelease, table: sa.Table) -> SinkTable:
    entry = served.tables.get(table.name)
    types = entry["columns"] if entry else {}
    declared = [t.partition for t in TABLES.values() if t.name == table.name and t.partition]
    partition = (declared or ["date"])[0] if entry else None
    fields = [pa.field(RELEASE_ID, pa.string(), nullable=False)]
    if partition:
        fields.append(pa.field(partition, pa.date32(), nullable=False))
    for field in arrow_schema(table):
        is_list = types.get(field.name) == "VARCHAR[]"
        fields.append(field.with_type(pa.list_(pa.string())) if is_list else field)
    return SinkTable(
        table.name,
        pa.schema(fields),
        partition,
        dt.date.fromisoformat(entry["partition"]) if entry else None,
        entry["key"] if entry else [c.name for c in table.primary_key if c.name != RELEASE_ID],
        entry["rows"] if entry else None,
        db,
        served,
        table,
    )


def _as_type(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    """The column, with JSON texts as lists where the type is one."""
    if not pa.types.is_list(type_):
        return column
    values = [None if text is None else json.loads(text) for text in column.to_pylist()]
    return pa.chunked_array([pa.array(values, type_)])

"""Declared tables: columns, types, descriptions, key and partition column."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

PartitionColumn = Literal["date", "week"]
_NUMBERS = ("DOUBLE", "FLOAT", "DECIMAL", "BIGINT", "INTEGER", "SMALLINT", "TINYINT")


def week_of(day: dt.date) -> dt.date:
    """The Monday of a day's week."""
    return day - dt.timedelta(days=day.weekday())


@dataclass(frozen=True)
class Column:
    """A column: its name, DuckDB type and meaning."""

    name: str
    type: str
    description: str

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers, none of them in a list."""
        return self.type.startswith(_NUMBERS) and not self.type.endswith("[]")


@dataclass(frozen=True)
class Table:
    """A declared table.

    Attributes:
        schema: raw, features, predictions or evaluation.
        name: unique within the schema.
        description: shown in the UI.
        columns: in order.
        key: columns that are unique within a partition.
        partition: the partition column; None: the table is one snapshot.
        parts: further folder levels, for tables that several writers fill (quarantine, exclusions,
            logs): each has its own files, and these columns are stored in folder names.
        order: columns by which a partition's rows are sorted; empty: the key.
        ahead: whether partitions are known before they begin, so that a day may read those of the
            following weeks.
    """

    schema: str
    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    partition: PartitionColumn | None = "date"
    parts: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    ahead: bool = False

    @property
    def qualified(self) -> str:
        """`schema.name`, as SQL names it."""
        return f"{self.schema}.{self.name}"

    @property
    def folders(self) -> tuple[str, ...]:
        """Columns that are stored in folder names: the partition's, then the parts'."""
        return ((self.partition,) if self.partition else ()) + self.parts

    @property
    def is_periodic(self) -> bool:
        """Whether it has one file for every day or week that is over.

        Neither snapshots, nor tables that are known ahead or that several writers fill.
        """
        return self.partition is not None and not self.parts and not self.ahead

    def partition_of(self, day: dt.date) -> dt.date:
        """The partition of a day: the day itself, or its week's Monday."""
        return week_of(day) if self.partition == "week" else day

    def type_of(self, column: str) -> str:
        """The declared type of a column.

        Raises:
            KeyError: there is no such column.
        """
        return {item.name: item.type for item in self.columns}[column]


def columns(text: str) -> tuple[Column, ...]:
    """Parses lines of `name TYPE: description`."""
    declared = []
    for line in text.strip().splitlines():
        head, description = line.strip().split(": ", 1)
        name, type_ = head.split(" ", 1)
        declared.append(Column(name, type_, description))
    return tuple(declared)


TABLES: dict[str, Table] = {}
"""Every declared table by its qualified name."""


def declare(table: Table) -> Table:
    """Adds a table to the platform: it gets a folder and a view, and SQL may name it.

    Raises:
        ValueError: another table has its name.
    """
    if TABLES.setdefault(table.qualified, table) != table:
        raise ValueError(f"table {table.qualified} is declared twice, differently")
    return table

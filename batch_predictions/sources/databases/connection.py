"""The contract of connections to a database: one read-only transaction that sees one snapshot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from batch_predictions.sources.databases.dialects import ColumnKind, SqlDialect

APPLICATION_NAME = "batch_predictions"


@dataclass(frozen=True)
class DatabaseColumn:
    """A column of a table or query.

    Attributes:
        kind: what its values are.
        select: SQL of its values as they are read, such as a cast to text.
    """

    kind: ColumnKind
    select: str


class DatabaseConnection(ABC):
    """An open connection. All its reads see the database as it was at the first of them."""

    def __init__(self, dialect: SqlDialect) -> None:
        self.dialect = dialect

    @abstractmethod
    def columns(self, relation: str) -> dict[str, DatabaseColumn]:
        """The columns of a relation, which is SQL that can follow `from`."""

    @abstractmethod
    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a query with a small result."""

    @abstractmethod
    def batches(self, sql: str, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """The rows of a query in bounded memory.

        Batches may differ in their schemas; a column without values may be missing in a batch.

        Args:
            sql: the query.
            limit: how many rows to read; None: all.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends the transaction and the connection."""

    def select_list(self, columns: Mapping[str, DatabaseColumn]) -> str:
        """SQL of columns as they are read, under their names."""
        return ", ".join(
            f"{column.select} as {self.dialect.column(name)}" for name, column in columns.items()
        )

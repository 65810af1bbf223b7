"""The contract of connections to a database: one read-only transaction that sees one snapshot.

Passwords in URLs of databases are in no message.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from batch_predictions.core.database_url import DatabaseUrlError, location_of, parse_database_url
from batch_predictions.core.redaction import redact, secrets_of_url
from batch_predictions.sources.base import SourceError
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


@dataclass(frozen=True)
class DatabaseUrl:
    """The URL of a database, in SQLAlchemy's format; `repr` and `location` hide its password."""

    url: sa.URL = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> DatabaseUrl:
        """Parses the setting `source.url`.

        Raises:
            SourceError: it is not a URL of a database.
        """
        try:
            return cls(parse_database_url(text, "source.url"))
        except DatabaseUrlError as error:
            raise SourceError(str(error)) from None

    @property
    def backend(self) -> str:
        """The kind of database, such as postgresql."""
        return self.url.get_backend_name()

    @property
    def location(self) -> str:
        """The database without user, password and options."""
        return location_of(self.url.set(drivername=self.backend))

    def hide_secrets(self, text: str) -> str:
        """A message of the database or its driver without the password and secret options."""
        return redact(text, secrets_of_url(self.url.render_as_string(hide_password=False)))

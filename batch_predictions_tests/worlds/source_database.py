"""A database as a source, SQLite or PostgreSQL, and a home to ingest it into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from batch_predictions.settings import SourceSettings
from batch_predictions.sources.due_partitions import days_to_ingest
from batch_predictions.tables import INTERACTIONS, Table
from batch_predictions.warehouse import as_date
from batch_predictions_tests.worlds.source_folders import FIRST_DAY, SourceHome

TABLES = {"interactions": "order_lines"}
DRIVERS = ["adbc", "sqlalchemy"]


class SourceDatabase(SourceHome):
    """A database, the settings of its source, and a home that began on FIRST_DAY."""

    def __init__(self, tmp_path: Path, url: str | None = None, **options: Any) -> None:
        self.url = url or f"sqlite:///{tmp_path / 'shop.sqlite'}"
        self.is_postgres = self.url.startswith("postgresql")
        if options.get("driver") != "sqlalchemy":
            pytest.importorskip(
                f"adbc_driver_{'postgresql' if self.is_postgres else 'sqlite'}",
                reason="ADBC is not installed: pip install -e '.[sql]'",
            )
        self.engine = sa.create_engine(self.url, poolclass=sa.pool.NullPool)
        super().__init__(tmp_path, **{"kind": "sql", "url": self.url, "tables": TABLES, **options})

    def change(self, **options: Any) -> SourceDatabase:
        """Replaces settings of the source; returns itself."""
        self.settings.source = SourceSettings(
            **{**self.settings.source.model_dump(exclude_unset=True), **options}
        )
        return self

    def execute(self, *statements: str) -> SourceDatabase:
        """Executes and commits statements; returns itself."""
        with self.engine.begin() as db:
            for statement in statements:
                db.exec_driver_sql(statement)
        return self

    def create(self, table_name: str = "order_lines", **columns: str) -> SourceDatabase:
        """Creates a table; of SQLite, its columns need no type."""
        declared = ", ".join(f"{column} {type_}" for column, type_ in columns.items())
        return self.execute(f"create table {table_name} ({declared})")

    def insert(
        self, rows: Sequence[Mapping[str, Any]], name: str = "order_lines"
    ) -> SourceDatabase:
        """Inserts rows; all have the keys of the first one."""
        columns = list(rows[0])
        table = sa.table(name, *(sa.column(column) for column in columns))
        with self.engine.begin() as db:
            db.execute(sa.insert(table), [dict(row) for row in rows])
        return self

    def due(self, last: str, table: Table = INTERACTIONS) -> list[str]:
        """Days to ingest from FIRST_DAY to the last one."""
        return days_to_ingest(self.warehouse, self.source, table, FIRST_DAY, as_date(last))

    def run(self, last: str, table: Table = INTERACTIONS) -> list[str]:
        """Ingests the days that are due; returns those that changed."""
        due = self.due(last, table)
        results = self.ingest(table, due) if due else {}
        return [day for day, result in results.items() if result.write_result.changed]

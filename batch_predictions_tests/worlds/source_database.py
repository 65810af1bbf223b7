"""A database as a source, SQLite or PostgreSQL, and a home to ingest it into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from batch_predictions.core.home import State
from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.sources.base import Source
from batch_predictions.sources.ingest import IngestResult, days_to_ingest, ingest
from batch_predictions.sources.source_registry import build_source
from batch_predictions.tables import INTERACTIONS, Table
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions_tests.worlds.source_folders import DEFAULT_DATE, FIRST_DAY, day_keys

TABLES = {"interactions": "order_lines"}
DRIVERS = ["adbc", "sqlalchemy"]


class SourceDatabase:
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
        options = {"kind": "sql", "url": self.url, "tables": TABLES, **options}
        self.settings = Settings(home=tmp_path / "home", source=SourceSettings(**options))
        self.warehouse = Warehouse.of(self.settings)
        self.state = State(
            source_kind="sql",
            timezone=options.get("timezone") or "UTC",
            first_day=FIRST_DAY,
            default_date=DEFAULT_DATE,
        )

    @property
    def source(self) -> Source:
        """A new adapter, which asks the database for its columns again."""
        return build_source(self.settings.source, self.state)

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

    def ingest(
        self, table: Table = INTERACTIONS, days: Sequence[str] | None = None
    ) -> dict[str, IngestResult]:
        """Ingests days of a table, by default the first ten."""
        return ingest(self.warehouse, self.source, table, days or day_keys(10), self.state)

    def due(self, last: str, table: Table = INTERACTIONS) -> list[str]:
        """Days to ingest from FIRST_DAY to the last one."""
        return days_to_ingest(self.warehouse, self.source, table, FIRST_DAY, as_date(last))

    def run(self, last: str, table: Table = INTERACTIONS) -> list[str]:
        """Ingests the days that are due; returns those that changed."""
        due = self.due(last, table)
        results = self.ingest(table, due) if due else {}
        return [day for day, result in results.items() if result.write_result.changed]

    def rows(self, sql: str = "from raw.interactions order by all") -> list[dict[str, Any]]:
        """The rows of a query over the warehouse."""
        return self.warehouse.query(sql).to_pylist()

"""The tables, views and queries of a database that raw tables are read from."""

from __future__ import annotations

from dataclasses import dataclass

from batch_predictions.settings import SourceSettings
from batch_predictions.sources.base import RAW_TABLES, SourceError, raw_table
from batch_predictions.sources.databases.dialects import SqlDialect, split_table_name


@dataclass(frozen=True)
class TableRelation:
    """The table or query of a database that a raw table is read from.

    Attributes:
        name: the table's name, or `query …`, for reports and messages.
        parts: parts of the table's name, and whether each is in quotes; empty for a query.
        query: the SELECT, if it is a query.
        where: the condition of the rows to read, or empty.
    """

    name: str
    parts: tuple[tuple[str, bool], ...]
    query: str
    where: str

    def sql(self, dialect: SqlDialect) -> str:
        """SQL that can follow `from`: the rows to read, under the name `rows_`."""
        # A query may end with a comment, so the parenthesis is on a line of its own.
        table = (
            f"(\n{dialect.text(self.query)}\n) query_"
            if self.query
            else dialect.table(list(self.parts))
        )
        where = f" where (\n{dialect.text(self.where)}\n)" if self.where else ""
        return f"(select * from {table}{where}) rows_"


def relations_of(settings: SourceSettings) -> dict[str, TableRelation]:
    """The relation of each raw table that the settings name.

    Raises:
        SourceError: a table is unknown or given twice, or a name is not that of a table.
    """
    known = [table.name for table in RAW_TABLES]
    for setting in ("tables", "queries", "where", "updated_at"):
        for name in getattr(settings, setting):
            raw_table(name, f"source.{setting}")
    relations = {}
    for name in known:
        table, query = settings.tables.get(name), settings.queries.get(name)
        where = settings.where.get(name, "").strip()
        if table and query:
            raise SourceError(
                f"source.tables.{name} and source.queries.{name} are both set: remove one of them"
            )
        if table:
            parts = split_table_name(f"source.tables.{name}", table)
            relations[name] = TableRelation(table.strip(), tuple(parts), "", where)
        elif query:
            text = query.strip().rstrip(";").rstrip()
            relations[name] = TableRelation(f"query {name}", (), text, where)
        elif where or name in settings.updated_at:
            setting = "where" if where else "updated_at"
            raise SourceError(
                f"source.{setting}.{name} is set, but neither source.tables.{name} nor "
                f"source.queries.{name}: set one of them"
            )
    return relations

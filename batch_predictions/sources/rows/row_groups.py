"""Groups of files that are read in the same way, and the query for the rows of all of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import duckdb

from batch_predictions.settings import FilesEntry, SourceSettings
from batch_predictions.sources.rows.daily_rows import daily_rows_sql
from batch_predictions.sources.rows.file_rows import LINE_ERROR, FileRows
from batch_predictions.sources.rows.row_filters import apply_condition
from batch_predictions.sources.rows.weekly_spans import weekly_rows_sql
from batch_predictions.sources.validation.interpretation import interpret_columns, require_columns
from batch_predictions.sources.validation.timestamps import DayRules
from batch_predictions.sources.validation.value_maps import ValueMap
from batch_predictions.tables import Table
from batch_predictions.warehouse.path_sql import quote_identifier


@dataclass(frozen=True)
class RowGroup:
    """Rows of files that are read in the same way.

    Attributes:
        rows: the rows as read.
        columns: column of the raw table to SQL over the files' columns.
    """

    rows: FileRows
    columns: dict[str, str]


@dataclass(frozen=True)
class Interpretation:
    """Formats, maps of values and a condition by which a table's files are read.

    Attributes:
        formats: column of the raw table to its format.
        values: column of the raw table to a map of its values.
        where: a condition over the files' columns.
    """

    formats: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, ValueMap] = field(default_factory=dict)
    where: str | None = None

    @classmethod
    def of(cls, settings: SourceSettings, table: Table) -> Interpretation:
        """Takes the formats, maps and condition of a table from the settings."""
        return cls(
            settings.formats.get(table.name, {}),
            settings.values.get(table.name, {}),
            settings.where.get(table.name),
        )

    def require_columns(self, table: Table, columns: Collection[str]) -> None:
        """Raises SourceError if there is a format or a map of a column that no file has."""
        require_columns(table, columns, self.formats, self.values)

    def of_entry(self, entry: FilesEntry | None, columns: Collection[str]) -> Interpretation:
        """Combines this interpretation with that of an entry, which takes precedence.

        Args:
            entry: the group's entry of `source.files`; None if it has none.
            columns: columns of the raw table that the group has.
        """
        formats = {name: text for name, text in self.formats.items() if name in columns}
        values = {name: value for name, value in self.values.items() if name in columns}
        if entry is None:
            return Interpretation(formats, values, self.where)
        return Interpretation(
            {**formats, **entry.formats}, {**values, **entry.values}, entry.where or self.where
        )


def interpret_rows(
    db: duckdb.DuckDBPyConnection,
    table: Table,
    rows: FileRows,
    columns: dict[str, str],
    interpretation: Interpretation,
) -> RowGroup:
    """A group of rows, whose values are read as the settings say.

    Args:
        db: connection of the rows.
        table: the raw table.
        rows: the rows as read.
        columns: column of the raw table to SQL over the files' columns.
        interpretation: how values are read.

    Raises:
        SourceError: the interpretation does not fit the columns.
    """
    formats, values = interpretation.formats, interpretation.values
    if interpretation.where:
        rows = apply_condition(db, rows, interpretation.where, f"source.where.{table.name}")
    if formats or values:
        selected = ", ".join(f"{sql} as {quote_identifier(name)}" for name, sql in columns.items())
        described = db.execute(f"describe select {selected} from {rows.relation}").fetchall()
        types = {row[0]: row[1] for row in described}
        columns = interpret_columns(table, columns, types, formats, values)
    return RowGroup(rows, columns)


def group_rows_sql(
    db: duckdb.DuckDBPyConnection,
    table: Table,
    groups: Sequence[RowGroup],
    rules: DayRules,
    days: Sequence[str] | None,
) -> str:
    """A query for the rows of all groups, as `Source.rows_sql` returns it.

    Args:
        db: connection of the rows.
        table: the raw table.
        groups: the groups; in the quarantine, a row has the columns of all of them.
        rules: how rows get their day.
        days: partitions to return; None: all.
    """
    fields = _common_types([group.rows for group in groups])
    queries = []
    for group in groups:
        rows = replace(group.rows, fields=fields)
        if not table.partition:
            select_list = rows.select_list(group.columns)
            query = f"select {select_list}, {LINE_ERROR} as problem from {rows.relation}"
        elif table.partition == "week":
            query = weekly_rows_sql(db, rows, group.columns, rules, days)
        else:
            query = daily_rows_sql(db, table, rows, group.columns, rules, days)
        queries.append(query)
    if len(queries) == 1:
        return queries[0]
    return " union all by name ".join(_alike(db, queries))


def _alike(db: duckdb.DuckDBPyConnection, queries: Sequence[str]) -> list[str]:
    """The queries, with columns as text whose types differ between them."""
    types = [
        {row[0]: row[1] for row in db.execute(f"describe {query}").fetchall()} for query in queries
    ]
    all_types: dict[str, set[str]] = {}
    for types_of_query in types:
        for name, type_ in types_of_query.items():
            all_types.setdefault(name, set()).add(type_)
    alike = []
    for query, names in zip(queries, types, strict=True):
        texts = [quote_identifier(name) for name in names if len(all_types[name]) > 1]
        casts = ", ".join(f"{name}::VARCHAR as {name}" for name in texts)
        alike.append(f"(select * replace ({casts}) from ({query}))" if texts else f"({query})")
    return alike


def _common_types(rows: Sequence[FileRows]) -> dict[str, str]:
    """The columns of all groups of rows; VARCHAR if their types differ."""
    types: dict[str, tuple[str, str]] = {}
    for group in rows:
        for name, type_ in group.types.items():
            first_name, first_type = types.get(name.lower(), (name, type_))
            types[name.lower()] = first_name, type_ if first_type == type_ else "VARCHAR"
    return dict(types.values())

"""Asks about events that repeat others: a number of an order as an id, files delivered twice."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import yaml

from batch_predictions.sources.base import Source
from batch_predictions.sources.checking.sums import describe_sums
from batch_predictions.sources.files.patterns import format_of
from batch_predictions.sources.validation.column_mapping import EVENT_IDS, TIME_COLUMNS
from batch_predictions.sources.validation.row_checks import ValidatedRows
from batch_predictions.tables import INTERACTIONS, Table
from batch_predictions.warehouse.path_sql import quote_identifier, quote_literal

MAX_PLACES = 3
_KEY = "date, source, row_number"


@dataclass(frozen=True)
class Place:
    """Where repeats stand.

    Attributes:
        first: file of the rows that they repeat.
        file: their file.
        repeats: how many.
        rows: rows of their file.
    """

    first: str
    file: str
    repeats: int
    rows: int

    @property
    def is_whole_file(self) -> bool:
        """Whether all rows of the file are in another one."""
        return self.first != self.file and self.repeats == self.rows

    def __str__(self) -> str:
        place = f" in {self.first!r}" if self.first != self.file else ""
        return f"{self.repeats:,} of {self.file!r}{place}"


def ask_about_repeats(
    db: duckdb.DuckDBPyConnection, source: Source, table: Table, validated: ValidatedRows
) -> list[str]:
    """Questions about events that repeat others, with their sums.

    Args:
        db: connection of the rows.
        source: the source of the rows.
        table: the raw table; others than those of events have keys of their own.
        validated: its rows.
    """
    if table.name not in EVENT_IDS:
        return []
    fields = db.execute(f"describe select unnest(row) from ({validated.rows})").fetchall()
    columns = [row[0] for row in fields]
    hashed = ", ".join(f"row.{quote_identifier(name)}" for name in columns)
    repeats = _Repeats(db, source, table, validated, columns)
    _create_equal(db, repeats.equal, f"select {_KEY}, hash({hashed}) as h from ({validated.rows})")
    questions = repeats.ask_about_ids()
    # Of a database, rows may differ in columns that are not read.
    if {*source.unused_columns(table)} <= {*columns}:
        questions += repeats.ask_about_equal_rows()
    return questions


@dataclass(frozen=True)
class _Repeats:
    """The rows of a table that equal another one in every column of the source."""

    db: duckdb.DuckDBPyConnection
    source: Source
    table: Table
    validated: ValidatedRows
    columns: list[str]

    @property
    def equal(self) -> str:
        """Name of the table of `_create_equal`."""
        return f"equal_{self.table.name}"

    def ask_about_ids(self) -> list[str]:
        """Asks whether an id that differing rows of a day share is the number of an order."""
        if not self.validated.repeats:
            return []
        rows, name = self.validated.numbered, EVENT_IDS[self.table.name]
        lost = self._describe(
            f"({rows}) semi join {self.validated.repeats} using ({_KEY}) "
            f"anti join {self.equal} using ({_KEY})"
        )
        if not lost:
            return []
        every, column = self._describe(f"({rows})"), self.source.column_mapping(self.table)[name]
        setting = f"source.columns.{self.table.name}"
        order = " or the number of an order" if self.table == INTERACTIONS else ""
        question = f"is {column!r} the id of a row{order}? Rows of a day share it"
        if self.source.guesses_ids(self.table):
            return [
                f"{question}, so it is not taken as an id: all count, {every}. As the id "
                f"({setting}.{name}: {column}), {lost} would be refused as repeats"
            ]
        is_set = name in self.source.settings.columns.get(self.table.name, {})
        remedy = f"take it out of {setting}" if is_set else "rename it"
        return [
            f"{question}, and of {every}, {lost} are refused as repeats: if it is no id of a row, "
            f"{remedy}, and all count"
        ]

    def ask_about_equal_rows(self) -> list[str]:
        """Asks about rows and files that were delivered twice."""
        files = self._places_in_files()
        places = files
        if places is None:
            places = _places(self.db, self.equal, self.validated.rows)
        if not places:
            return []
        is_refused = self.validated.repeats and not self.source.guesses_ids(self.table)
        counted = f"({self.validated.numbered}) join {self.equal} using ({_KEY})"
        counted += f" anti join {self.validated.repeats} using ({_KEY})" if is_refused else ""
        twice = [place for place in places if place.is_whole_file]
        others = [place for place in places if not place.is_whole_file]
        times = {"date", TIME_COLUMNS[self.table.name]}
        if times.isdisjoint(self.source.column_mapping(self.table)):
            others = []  # Without a time, a second event of a user and an item is an equal row.
        remedy = self._remedy() if files is None else "remove them from the files"
        names = ", ".join(quote_literal(place.file) for place in twice)
        in_twice = f"source in ({names})" if names and files is None else "true"
        questions = []
        if twice and (lost := self._describe(f"{counted} where is_repeat and {in_twice}")):
            pairs = "; ".join(f"{p.file!r} are in {p.first!r}, too" for p in twice[:MAX_PLACES])
            more = "; …" if len(twice) > MAX_PLACES else ""
            questions.append(
                f"was a file delivered twice? All rows of {pairs}{more}: {lost} count twice. "
                f"Remove one of the files, or {remedy}"
            )
        rest = f"not {in_twice}" if twice else "true"
        if others and (lost := self._describe(f"{counted} where is_repeat and {rest}")):
            shown = ", ".join(map(str, others[:MAX_PLACES]))
            more = " …" if len(others) > MAX_PLACES else ""
            questions.append(
                f"are rows repeated by mistake? {lost} equal another row in every column: {shown}"
                f"{more}. They count: if they were not bought twice, {remedy}"
            )
        return questions

    def _describe(self, relation: str) -> str:
        return describe_sums(self.db, self.table.name, relation, self.source.event_types)

    def _places_in_files(self) -> list[Place] | None:
        """Where rows of files stand twice that a query reads; None: no query reads files."""
        if self.table.name not in self.source.settings.queries:
            return None
        names = self.source.file_names(self.table)
        queries = []
        for format_ in dict.fromkeys(map(format_of, names)):
            of_format = [name for name in names if format_of(name) == format_]
            if (relation := self.source.all_rows(self.db, of_format)) is None:
                return None
            described = self.db.execute(f"describe select * exclude (filename) from {relation}")
            hashed = ", ".join(quote_identifier(row[0]) for row in described.fetchall())
            queries.append(
                f"select filename as source, 0 as row_number, hash({hashed}) as h from {relation}"
            )
        rows, equal = " union all ".join(queries), f"{self.equal}_in_files"
        _create_equal(self.db, equal, rows)
        return _places(self.db, equal, rows)

    def _remedy(self) -> str:
        """How equal rows are left out: by the columns that are never empty, if these tell them."""
        rows, names = self.validated.rows, [quote_identifier(name) for name in self.columns]
        empty = ", ".join(f"count(*) - count(row.{name})" for name in names)
        [counts] = self.db.execute(f"select {empty} from ({rows})").fetchall()
        by = [name for name, number in zip(self.columns, counts, strict=True) if not number]
        hashed = ", ".join(f"row.{quote_identifier(name)}" for name in by) or "0"
        [(equal, left_out)] = self.db.execute(
            f"select (select count(*) from {self.equal} where is_repeat), sum(n - 1) from "
            f"(select count(*) as n from ({rows}) group by date, hash({hashed}))"
        ).fetchall()
        if equal != left_out:
            return "remove them from the files"
        rule = yaml.safe_dump({self.table.name: {"by": by}}, default_flow_style=True, width=10**6)
        return f"leave repeats out by source.deduplicate: {rule.strip()}"


def _create_equal(db: duckdb.DuckDBPyConnection, name: str, rows: str) -> None:
    """Creates a table of the rows that have an equal one; `h` is the hash of their columns."""
    db.execute(
        f"create temp table {name} as select *, first_value(source) over w as first, "
        f"row_number() over w > 1 as is_repeat from ({rows}) semi join "
        f"(select h from ({rows}) group by h having count(*) > 1) using (h) "
        "window w as (partition by h order by source, row_number)"
    )


def _places(db: duckdb.DuckDBPyConnection, equal: str, rows: str) -> list[Place]:
    """Where repeats stand, the most first."""
    return [
        Place(*row)
        for row in db.execute(
            "select first, source, count(*), any_value(n) from "
            f"(select * from {equal} where is_repeat) join "
            f"(select source, count(*) as n from ({rows}) group by source) using (source) "
            "group by all order by count(*) desc, first, source"
        ).fetchall()
    ]

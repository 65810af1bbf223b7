"""What sources made of files share: days found by reading, bad rows placed, files watched."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import duckdb

from batch_predictions.sources import weekly_spans as weeks
from batch_predictions.sources.base import (
    ABSENT,
    RAW,
    Source,
    SourceError,
    Span,
    day_list,
    last_sunday_before,
    quote_identifier,
    quote_literal,
)
from batch_predictions.sources.delimited import DAMAGE, FILE, LINE, ROW, DelimitedFile
from batch_predictions.sources.validation import timestamps as moments
from batch_predictions.sources.validation.column_mapping import MOMENTS
from batch_predictions.tables import Table

NONE = " where false"
"""No days: no rows."""


class FileSource(Source):
    """A folder of files; an adapter says which files a table has and what its columns are."""

    @property
    def folder(self) -> Path:
        """The folder of the files; asked for late, since what an adapter is needs no files.

        Raises:
            SourceError: `source.path` is not set, or no folder.
        """
        path = self.settings.path
        if path is None:
            raise SourceError(
                f"source.kind is {self.kind}: set source.path to the folder of its files"
            )
        if not path.is_dir():
            raise SourceError(
                f"source.path {path.absolute()} is not a folder: set it to the folder of the files"
            )
        return path.absolute()

    @abstractmethod
    def files(self, table: Table) -> list[Path]:
        """Files of a table, in order; none where the source lacks it."""

    @abstractmethod
    def read(self, db: duckdb.DuckDBPyConnection, table: Table, limit: int | None) -> DelimitedFile:
        """The rows of a table's files, as they are."""

    @abstractmethod
    def shape(self, table: Table, types: dict[str, str]) -> dict[str, str]:
        """Contract column to SQL over the columns as read, which have these types."""

    def tables(self) -> tuple[Table, ...]:
        """The raw tables that have files."""
        there = tuple(table for table in RAW if self.files(table))
        if not {"interactions", "reviews"} & {table.name for table in there}:
            raise SourceError(self.nothing_found())
        return there

    def nothing_found(self) -> str:
        """What is told where the folder has neither interactions nor reviews."""
        return f"{self.folder} has no files of a {self.kind} source"

    def read_files(self, table: Table) -> list[str]:
        """Names of a table's files, relative to the folder."""
        return [str(path.relative_to(self.folder)) for path in self.files(table)]

    def fingerprint(self, table: Table) -> str:
        """A hash of the files' names, sizes and times, and of the settings they are read with."""
        files = self.files(table)
        if not files:
            return ABSENT
        watched: list[object] = [
            self.kind,
            self.timezone,
            str(self.settings.earliest),
            sorted(self.settings.columns.get(table.name, {}).items()),
        ]
        for path in files:
            stat = path.stat()
            name = str(path.relative_to(self.folder))
            watched.append((name, stat.st_size, stat.st_mtime_ns))
        return hashlib.sha256(json.dumps(watched).encode()).hexdigest()[:32]

    def span(self, today: dt.date) -> Span:
        """From the oldest readable day, or the default date; the files have no end."""
        default = self.settings.default_date or last_sunday_before(today)
        days = [extent[0] for table in self._daily() if (extent := self._extent(table, default))]
        return Span(min(days, default=default), None, default)

    def newest_complete_day(self, today: dt.date) -> dt.date:
        """Yesterday, or the newest readable day where that is older."""
        days = [extent[1] for table in self._daily() if (extent := self.extent(table))]
        newest = max(days, default=self.state.default_date)
        return min(newest, today - dt.timedelta(days=1))

    def extent(self, table: Table) -> tuple[dt.date, dt.date] | None:
        """First and newest readable day of a table's files."""
        return self._extent(table, self.state.default_date)

    def _daily(self) -> list[Table]:
        """Tables that say which days there are; what is known ahead says nothing of that."""
        return [table for table in self.tables() if table.partition == "date"]

    def _extent(self, table: Table, default: dt.date) -> tuple[dt.date, dt.date] | None:
        # The scan of a time column needs neither the warehouse nor its bounds.
        with duckdb.connect(":memory:", config={"threads": 2}) as db:
            db.execute("set timezone = 'UTC'")
            raw = self.read(db, table, None)
            shape = self.shape(table, raw.types)
            if table.partition == "week":
                dated = weeks.weekly_spans(db, raw, shape, self.timezone, self.settings.earliest)
                first, last = "__starts", "__ends"
            else:
                dated = self._dated(db, table, raw, shape, default, None)
                first = last = "__day"
            row = db.execute(
                f"select min({first}), max({last}) from ({dated}) where __problem is null"
            ).fetchone()
        return (row[0], row[1]) if row and row[0] else None

    def relation(
        self,
        db: duckdb.DuckDBPyConnection,
        table: Table,
        days: Sequence[str] | None,
        limit: int | None = None,
    ) -> str:
        """SQL of a table's rows, those of the days or weeks asked for where it has them."""
        raw = self.read(db, table, limit)
        shape = self.shape(table, raw.types)
        own = ", ".join(
            f"{quote_identifier(name)} := {quote_identifier(name)}" for name in raw.types
        )
        fixed = f"{FILE} as source, {ROW} as row_number, {LINE} as line, struct_pack({own}) as row"
        moment = MOMENTS.get(table.name)
        given = "".join(
            f", {sql} as {quote_identifier(name)}"
            for name, sql in shape.items()
            if name not in ("date", moment, *(weeks.DATED if table.partition == "week" else ()))
        )
        if not table.partition:
            return f"select {fixed}, {DAMAGE} as problem{given} from {raw.relation}"
        if table.partition == "week":
            return self._in_weeks(db, raw, shape, fixed + given, days)
        first_day = self.state.first_day
        default = self.state.default_date
        dated = self._dated(db, table, raw, shape, default, first_day)
        given += f", __moment as {moment}" if moment else ""
        newest = f"newest_{uuid.uuid4().hex}"
        db.execute(
            f"create temp table {newest} as select {FILE}, count(__problem) as bad, "
            f"coalesce(max(__day) filter (__problem is null), DATE '{default}') as __newest "
            f"from ({dated}) group by all"
        )
        bad = db.execute(f"select coalesce(sum(bad), 0)::BIGINT from temp.{newest}").fetchone()
        if not bad or bad[0] == 0:
            # With every day readable the filter reaches the scan, which skips other days' rows.
            where = "" if days is None else f" where __day in ({day_list(days)})" if days else NONE
            return (
                f"select __day as date, {fixed}, __problem as problem{given} from ({dated}){where}"
            )
        where = "" if days is None else f" where date in ({day_list(days)})" if days else NONE
        return (
            f"select * from (select case when __problem is null then __day else __newest end "
            f"as date, {fixed}, __problem as problem{given} from ({dated}) "
            f"join temp.{newest} using ({FILE})){where}"
        )

    def _in_weeks(
        self,
        db: duckdb.DuckDBPyConnection,
        raw: DelimitedFile,
        shape: dict[str, str],
        columns: str,
        wanted: Sequence[str] | None,
    ) -> str:
        """The rows of a weekly table, once for every week that they touch, of those wanted.

        A week before the home's first is a partition that nobody asks for, and no error: the
        promotion may still be in force later.
        """
        spans = weeks.weekly_spans(db, raw, shape, self.timezone, self.settings.earliest)
        newest = f"newest_{uuid.uuid4().hex}"
        default = weeks.monday(f"DATE '{self.state.default_date}'")
        db.execute(
            f"create temp table {newest} as select {FILE}, "
            f"coalesce(max(__last) filter (__problem is null), {default}) as __newest "
            f"from ({spans}) group by all"
        )
        touched = weeks.weeks_between(
            "coalesce(__first, __newest)", "coalesce(__last, __newest)", wanted
        )
        return (
            f"select unnest({touched})::DATE as date, {columns}, __problem as problem, "
            f"__starts as starts_on, __ends as ends_on from ({spans}) "
            f"join temp.{newest} using ({FILE})"
        )

    def _dated(
        self,
        db: duckdb.DuckDBPyConnection,
        table: Table,
        raw: DelimitedFile,
        shape: dict[str, str],
        default: dt.date,
        first_day: dt.date | None,
    ) -> str:
        """The rows with `__moment`, `__day` and `__problem`: why a row has no day of its own."""
        moment = MOMENTS.get(table.name, "")
        value = shape.get("date") or shape.get(moment)
        if value is None:
            return (
                f"select *, null::TIMESTAMP as __moment, DATE '{default}' as __day, "
                f"{DAMAGE} as __problem from {raw.relation}"
            )
        instant = shape.get(moment) or value
        types = db.execute(
            f"describe select {value} as day, {instant} as instant from {raw.relation}"
        ).fetchall()
        day_type, instant_type = types[0][1], types[1][1]
        inner = (
            f"select *, {moments.moment(instant, instant_type)} as __moment, "
            f"{moments.moment(value, day_type)} as __day_moment from {raw.relation}"
        )
        day = moments.day(value, day_type, "__day_moment", self.timezone)
        name = "date" if "date" in shape else moment
        problem = moments.day_problem(
            name, value, day_type, "__day", self.settings.earliest, first_day or dt.date.min
        )
        apart = "null"
        if "date" in shape and moment in shape:
            text = quote_literal(
                f"date and {moment} lie more than two days apart: correct one of them"
            )
            apart = f"case when abs(__moment::DATE - __day) > 2 then {text} end"
            text = quote_literal(f"{moment} is not a time: write 2024-01-31 13:45:00+00:00")
            unread = moments.day(instant, instant_type, "__moment", self.timezone)
            apart += (
                f", case when not {moments.missing(instant, instant_type)} "
                f"and {unread} is null then {text} end"
            )
        # Damage comes first: the fields of a damaged line are not to be trusted.
        return (
            f"select *, coalesce({DAMAGE}, {problem}, {apart}) as __problem from "
            f"(select * exclude (__day_moment), {day} as __day from ({inner}))"
        )

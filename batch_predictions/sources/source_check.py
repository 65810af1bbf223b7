"""`batch-predictions check-source`: what an ingest of the source would read, accept and refuse."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass, field
from typing import Any

import duckdb

from batch_predictions.home import State, read_state
from batch_predictions.settings import Settings
from batch_predictions.sources.base import (
    RAW_TABLES,
    Source,
    SourceError,
    Span,
    last_sunday_before,
)
from batch_predictions.sources.registry import build_source, current_date, initial_state
from batch_predictions.sources.validation.row_checks import validate_rows
from batch_predictions.tables import Table

USES: dict[str, str] = {
    "interactions": "recommendations, fallback, churn, forecasts",
    "users": "the demographic segments of the fallback (without them, everyone gets popular items)",
    "items": "titles, categories and prices in the results",
    "reviews": "sentiments",
    "promotions": "promotion audiences",
    "campaign_events": "the response to campaigns in promotion audiences",
    "promotion_calendar": "models that use the promotions of the coming weeks",
    "inventory": "order quantities (without it, there are only the levels to order at and up to)",
}
"""What needs a raw table."""


@dataclass(frozen=True)
class TableReport:
    """A table of the source: counts and examples of a sample of rows, days of all rows."""

    table: str
    files: list[str]
    columns: dict[str, str]
    """Column of the raw table to column of the source."""
    rows_seen: int = 0
    accepted: int = 0
    refused: int = 0
    filtered: int = 0
    """Rows that `source.where` leaves out; they are not among the rows seen."""
    deduplicated: int = 0
    """Rows that `source.deduplicate` leaves out."""
    reasons: dict[str, int] = field(default_factory=dict)
    """The most frequent reasons of refusals, without values and line numbers."""
    values_not_read: dict[str, int] = field(default_factory=dict)
    """The most frequent reasons why values of accepted rows are left empty."""
    offending_values: dict[str, list[str]] = field(default_factory=dict)
    """Up to three values of each of these reasons."""
    unused_columns: list[str] = field(default_factory=list)
    """Columns of the source that nothing is read from."""
    first_day: dt.date | None = None
    newest_day: dt.date | None = None
    examples: list[dict[str, Any]] = field(default_factory=list)
    problem: str | None = None
    """Why the table cannot be read."""

    def render(self) -> list[str]:
        """The report as lines of text."""
        files = ", ".join(self.files[:3]) + (" …" if len(self.files) > 3 else "")
        lines = [f"{self.table}   {files}"]
        if self.problem:
            return [*lines, f"  cannot be read: {self.problem}"]
        days = f"; days {self.first_day} to {self.newest_day}" if self.first_day else ""
        lines.append(
            f"  {self.rows_seen:,} rows seen, {self.accepted:,} accepted, "
            f"{self.refused:,} refused{days}"
        )
        if self.filtered:
            lines.append(f"  left out {self.filtered:,}: source.where.{self.table} is not true")
        if self.deduplicated:
            lines.append(
                f"  left out {self.deduplicated:,}: repeats by source.deduplicate.{self.table}"
            )
        if self.columns:
            columns = (f"{column} <- {source}" for column, source in self.columns.items())
            lines.append(f"  columns: {', '.join(columns)}")
        if self.unused_columns:
            lines.append(
                f"  not used: {', '.join(self.unused_columns)}; map what you need in "
                f"source.columns.{self.table}"
            )
        lines += [self._reason_line("refused", *item) for item in self.reasons.items()]
        lines += [self._reason_line("left empty", *item) for item in self.values_not_read.items()]
        for example in self.examples[:2]:
            cells = (
                f"{name}={value}" for name, value in example.items() if value not in (None, [])
            )
            lines.append(f"  e.g. {', '.join(cells)}")
        return lines

    def _reason_line(self, outcome: str, reason: str, count: int) -> str:
        offending = ", ".join(f"'{value}'" for value in self.offending_values.get(reason, ()))
        values = f"; values: {offending}" if offending else ""
        return f"  {outcome} {count:,}: {reason}{values}"


@dataclass(frozen=True)
class SourceReport:
    """A source as an ingest would read it."""

    kind: str
    path: str | None
    timezone: str
    first_day: dt.date | None
    """None if the days of a daily table cannot be read."""
    newest_complete_day: dt.date | None
    default_date: dt.date
    shift_days: int
    tables: list[TableReport]
    lacking: dict[str, str]
    """Tables that the source does not have, and what needs them."""
    unread_files: list[str] = field(default_factory=list)
    """Files in the source's folder that belong to no table."""

    @property
    def ok(self) -> bool:
        """Whether every table can be read, and has accepted rows if it has any."""
        return not any(
            table.problem or (table.rows_seen and not table.accepted) for table in self.tables
        )

    def as_dict(self) -> dict[str, Any]:
        """The report in values of JSON."""
        report: dict[str, Any] = _to_json({**asdict(self), "ok": self.ok})
        return report

    def render(self) -> str:
        """The report as text."""
        shift = f", moved by {self.shift_days} days" if self.shift_days else ""
        lines = [
            f"source      {self.kind}" + (f" in {self.path}" if self.path else ""),
            f"days        {self.first_day or '?'} to {self.newest_complete_day or '?'} "
            f"in {self.timezone}{shift}",
            f"no time     rows without a time column belong to {self.default_date}",
        ]
        for table in self.tables:
            lines += ["", *table.render()]
        if self.unread_files:
            more = " …" if len(self.unread_files) > 10 else ""
            lines += ["", f"not read: {', '.join(self.unread_files[:10])}{more}"]
        lines += [""] if self.lacking else []
        lines += [f"no {name}: needed for {use}" for name, use in self.lacking.items()]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.render()


def check_source(
    settings: Settings, sample_rows: int = 1000, today: dt.date | None = None
) -> SourceReport:
    """Reads and validates a sample of every table; writes nothing.

    Args:
        settings: the settings to check.
        sample_rows: number of rows of each table to read.
        today: the date; None: the current date.

    Raises:
        SourceError: the source does not exist, or has neither interactions nor reviews.
    """
    # Without the home: files that the adapter derives are written to a temporary folder.
    source = build_source(settings.source, None)
    source.limits = settings.duckdb
    tables = source.tables()
    today = today or current_date(source.timezone)
    state, has_days = _expected_state(settings, source, today)
    source = build_source(settings.source, state)
    source.limits = settings.duckdb
    return SourceReport(
        kind=source.kind,
        path=source.location(),
        timezone=source.timezone,
        first_day=state.first_day if has_days else None,
        newest_complete_day=source.newest_complete_day(today) if has_days else None,
        default_date=state.default_date,
        shift_days=state.shift_days,
        tables=[_check_table(settings, source, table, sample_rows) for table in tables],
        lacking={table.name: USES[table.name] for table in RAW_TABLES if table not in tables},
        unread_files=source.unread_files(),
    )


def _expected_state(settings: Settings, source: Source, today: dt.date) -> tuple[State, bool]:
    """The home's state, or that of a first run; and whether the days of the source are readable."""
    has_days = True
    try:
        span = source.span(today)
    except SourceError:
        # The report of the table has the error.
        has_days = False
        span = Span(source.settings.earliest, None, last_sunday_before(today))
    state = read_state(settings.home)
    if state is None or state.source_kind != source.kind:
        state = initial_state(source, span)
    return state, has_days


def _check_table(settings: Settings, source: Source, table: Table, sample_rows: int) -> TableReport:
    files = source.file_names(table)
    limits: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": settings.duckdb.memory_limit,
        "threads": settings.duckdb.threads,
    }
    try:
        with duckdb.connect(":memory:", config=limits) as db:
            # DuckDB would draw its bar on the standard output.
            db.execute("set enable_progress_bar = false; set timezone = 'UTC'")
            day = source.state.default_date.isoformat()
            validated = validate_rows(db, source, table, None, snapshot_day=day, limit=sample_rows)
            refusals = _frequent_reasons(db, validated.refused)
            not_read = _frequent_reasons(db, validated.nulled)
            examples = db.sql(f"select * from ({validated.accepted}) limit 3").to_arrow_table()
        day_range = source.day_range(table) if table.partition else None
        return TableReport(
            table=table.name,
            files=files,
            columns=source.column_mapping(table),
            rows_seen=sum(counts.read for counts in validated.counts.values()),
            accepted=sum(counts.accepted for counts in validated.counts.values()),
            refused=sum(counts.quarantined for counts in validated.counts.values()),
            filtered=sum(counts.filtered for counts in validated.counts.values()),
            deduplicated=sum(counts.deduplicated for counts in validated.counts.values()),
            reasons={reason: count for reason, count, _ in refusals},
            values_not_read={reason: count for reason, count, _ in not_read},
            offending_values={r: values for r, _, values in [*refusals, *not_read] if values},
            unused_columns=source.unused_columns(table),
            first_day=day_range[0] if day_range else None,
            newest_day=day_range[1] if day_range else None,
            examples=examples.to_pylist(),
        )
    except SourceError as error:
        return TableReport(table.name, files, {}, problem=str(error))


def _frequent_reasons(
    db: duckdb.DuckDBPyConnection, reasons: str
) -> list[tuple[str, int, list[str]]]:
    """Reasons without values and line numbers: their counts, and up to 3 values of each.

    Args:
        db: the connection of the rows.
        reasons: a query with the column `reason`, whose first text in quotes is the value.
    """
    value = "'''(.*?)''( |:|$)'"  # a value may contain quotes, such as 1'234.50
    return db.execute(
        f"select regexp_replace(regexp_replace(reason, {value}, '…\\2'), "
        "'(line|row) \\d+', '\\1 …', 'g') as reason, count(*)::BIGINT as n, "
        "list_sort(list(distinct value) filter (value <> ''))[:3] as values from "
        f"(select reason, regexp_extract(reason, {value}, 1) as value "
        f"from ({reasons})) group by 1 order by n desc, 1 limit 5"
    ).fetchall()


def _to_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, dt.date | dt.datetime):
        return value.isoformat()
    return value

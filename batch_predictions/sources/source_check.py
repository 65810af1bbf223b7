"""`batch-predictions check-source`: what the platform makes of a source, before anything runs."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass, field
from typing import Any

import duckdb

from batch_predictions.home import State, read_state
from batch_predictions.settings import Settings
from batch_predictions.sources.base import (
    RAW,
    Source,
    SourceError,
    Span,
    last_sunday_before,
)
from batch_predictions.sources.registry import source_of, today
from batch_predictions.sources.validation.row_checks import validate_rows
from batch_predictions.tables import Table

NEEDS: dict[str, str] = {
    "interactions": "recommendations, fallback, churn, forecasts",
    "users": "the fallback's segments (without them everyone is offered what is popular)",
    "items": "titles, categories and prices in the results",
    "reviews": "sentiments",
    "promotions": "promotion audiences",
    "campaign_events": "the response to campaigns in promotion audiences",
    "promotion_calendar": "what is promoted in the coming week, where models ask for it",
    "inventory": "order quantities (without it there are the levels of stock alone)",
}
"""What stands on a table, and is skipped or poorer without it."""


@dataclass(frozen=True)
class TableReport:
    """A table of the source, from a sample of its rows; days are from all of them."""

    table: str
    files: list[str]
    columns: dict[str, str]
    rows_seen: int = 0
    accepted: int = 0
    refused: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    first_day: dt.date | None = None
    newest_day: dt.date | None = None
    examples: list[dict[str, Any]] = field(default_factory=list)
    problem: str | None = None
    """Why the table cannot be read at all."""


@dataclass(frozen=True)
class SourceReport:
    """A source as the platform would read it."""

    kind: str
    path: str | None
    timezone: str
    first_day: dt.date | None
    """None where a table with days cannot be read."""
    newest_complete_day: dt.date | None
    default_date: dt.date
    shift_days: int
    tables: list[TableReport]
    lacking: dict[str, str]
    """Tables that the source has not, and what goes without them."""

    @property
    def ok(self) -> bool:
        """Whether every table can be read and has accepted rows, or no rows at all."""
        return not any(t.problem or (t.rows_seen and not t.accepted) for t in self.tables)

    def as_dict(self) -> dict[str, Any]:
        """The report in values that JSON knows."""
        plain: dict[str, Any] = _plain({**asdict(self), "ok": self.ok})
        return plain

    def render(self) -> str:
        """The report for people."""
        lines = [
            f"source      {self.kind}" + (f" in {self.path}" if self.path else ""),
            f"days        {self.first_day or '?'} to {self.newest_complete_day or '?'} "
            f"in {self.timezone}"
            + (f", moved by {self.shift_days} days" if self.shift_days else ""),
            f"no time     rows without a time column belong to {self.default_date}",
        ]
        for each in self.tables:
            lines += ["", *_render_table(each)]
        lines += [""] if self.lacking else []
        lines += [f"no {name}: needed for {what}" for name, what in self.lacking.items()]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.render()


def check_source(
    settings: Settings, sample_rows: int = 1000, today_: dt.date | None = None
) -> SourceReport:
    """Reads a sample of every table through the mapping, and writes nothing.

    Args:
        settings: the settings to check.
        sample_rows: rows of each table that are checked.
        today_: the date; now's where not given.

    Raises:
        SourceError: the source is not there or has neither interactions nor reviews.
    """
    bare = source_of(settings.source, None)
    there = bare.tables()
    date = today_ or today(bare.timezone)
    state, broken = _provisional(settings, bare, date)
    source = source_of(settings.source, state)
    lacking = {table.name: NEEDS[table.name] for table in RAW if table not in there}
    return SourceReport(
        kind=source.kind,
        path=str(settings.source.path) if settings.source.path else None,
        timezone=source.timezone,
        first_day=None if broken else state.first_day,
        newest_complete_day=None if broken else source.newest_complete_day(date),
        default_date=state.default_date,
        shift_days=state.shift_days,
        tables=[_table(settings, source, table, sample_rows) for table in there],
        lacking=lacking,
    )


def _provisional(settings: Settings, source: Source, date: dt.date) -> tuple[State, bool]:
    """The home's state, or what its first run would fix; whether a daily table is unreadable."""
    held = read_state(settings.home)
    broken = False
    try:
        span = source.span(date)
    except SourceError:
        # Told with its table, with the others' reports beside it.
        broken = True
        span = Span(source.settings.earliest, None, last_sunday_before(date))
    if held is not None and held.source_kind == source.kind:
        return held, broken
    state = State(
        source_kind=source.kind,
        timezone=source.timezone,
        first_day=span.first_day,
        last_day=span.last_day,
        default_date=span.default_date,
        shift_days=span.shift_days,
    )
    return state, broken


def _table(settings: Settings, source: Source, table: Table, sample_rows: int) -> TableReport:
    files = source.read_files(table)
    try:
        with duckdb.connect(
            ":memory:",
            config={
                "memory_limit": settings.duckdb.memory_limit,
                "threads": settings.duckdb.threads,
            },
        ) as db:
            db.execute("set timezone = 'UTC'")
            checked = validate_rows(
                db,
                source,
                table,
                None,
                undated=source.state.default_date.isoformat(),
                limit=sample_rows,
            )
            reasons = db.execute(
                # One reason for many rows: values and line numbers are left out of it.
                "select regexp_replace(regexp_replace(reason, '''.*?''', '…'), "
                "'(line|row) \\d+', '\\1 …', 'g') as why, count(*)::BIGINT as n "
                f"from ({checked.refused}) group by all order by n desc, why limit 5"
            ).fetchall()
            examples = db.sql(f"select * from ({checked.accepted}) limit 3").to_arrow_table()
        extent = source.extent(table) if table.partition else None
        return TableReport(
            table.name,
            files,
            source.mapped(table),
            sum(counts.read for counts in checked.counts.values()),
            sum(counts.accepted for counts in checked.counts.values()),
            sum(counts.quarantined for counts in checked.counts.values()),
            dict(reasons),
            extent[0] if extent else None,
            extent[1] if extent else None,
            examples.to_pylist(),
        )
    except SourceError as error:
        return TableReport(table.name, files, {}, problem=str(error))


def _render_table(report: TableReport) -> list[str]:
    files = ", ".join(report.files[:3]) + (" …" if len(report.files) > 3 else "")
    lines = [f"{report.table}   {files}"]
    if report.problem:
        return [*lines, f"  cannot be read: {report.problem}"]
    days = f"; days {report.first_day} to {report.newest_day}" if report.first_day else ""
    lines.append(
        f"  {report.rows_seen:,} rows seen, {report.accepted:,} accepted, "
        f"{report.refused:,} refused{days}"
    )
    if report.columns:
        lines.append("  columns: " + ", ".join(f"{a} <- {b}" for a, b in report.columns.items()))
    lines += [f"  refused {count:,}: {reason}" for reason, count in report.reasons.items()]
    for example in report.examples[:2]:
        shown = {key: value for key, value in example.items() if value not in (None, [])}
        lines.append("  e.g. " + ", ".join(f"{key}={value}" for key, value in shown.items()))
    return lines


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dt.date | dt.datetime):
        return value.isoformat()
    return value

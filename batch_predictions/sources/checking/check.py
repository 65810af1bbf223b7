"""`batch-predictions check-source`: what an ingest of the source would read, accept and refuse."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from contextlib import suppress

import duckdb

from batch_predictions.core.home import State, read_state
from batch_predictions.settings import Settings, SettingsError
from batch_predictions.sources.base import RAW_TABLES, Source, SourceError
from batch_predictions.sources.checking.check_report import SourceReport, TableReport
from batch_predictions.sources.checking.findings import DetectLanguages, Findings, measure
from batch_predictions.sources.checking.suggestions import (
    EVENT_TIMES,
    PREVIEW_ROWS,
    Preview,
    Suggestions,
    ask_about_times,
    suggest_for_findings,
    suggest_values,
)
from batch_predictions.sources.checking.table_checks import check_table
from batch_predictions.sources.checking.table_suggestions import suggest_tables
from batch_predictions.sources.checking.tax_columns import ask_about_tax, find_tax_columns
from batch_predictions.sources.checking.use_cases import Days, describe_use_cases
from batch_predictions.sources.files.patterns import format_of
from batch_predictions.sources.home_state import initial_state
from batch_predictions.sources.item_exclusions import unknown_exclusions_message
from batch_predictions.sources.recommendation_rules import (
    ItemRules,
    find_rule_problem,
    unread_numbers,
)
from batch_predictions.sources.rows.sandbox import connect_memory
from batch_predictions.sources.rows.spans import Span, last_sunday_before
from batch_predictions.sources.source_registry import build_source, current_date
from batch_predictions.tables import Table

USES: dict[str, str] = {
    "interactions": "recommendations, fallback, churn, forecasts",
    "user_aliases": "users that were merged: their rows are one user's",
    "users": "the demographic segments of the fallback (without them, everyone gets popular items)",
    "items": "titles, categories and prices in the results",
    "reviews": "sentiments",
    "promotions": "promotion audiences",
    "campaign_events": "the response to campaigns in promotion audiences",
    "promotion_calendar": "models that use the promotions of the coming weeks",
    "inventory": "order quantities (without it, there are only the levels to order at and up to)",
}
"""What needs a raw table."""


def check_source(
    settings: Settings,
    sample_rows: int | None = None,
    today: dt.date | None = None,
    detect_languages: DetectLanguages | None = None,
) -> SourceReport:
    """Reads and validates the rows of every table; writes nothing.

    Args:
        settings: the settings to check.
        sample_rows: about how many rows of each table to read; None: all, but `WEEKLY_ROWS` of
            weekly tables.
        today: the date; None: the current date.
        detect_languages: detects the language of reviews; None: only declared languages count.

    Raises:
        SourceError: the source does not exist, or nothing in it looks like interactions or reviews.
        SettingsError: settings of the source contradict each other.
    """
    # Without the home: files that the adapter derives are written to a temporary folder.
    source = build_source(settings.source, None)
    source.limits = settings.duckdb
    today = today or current_date(source.timezone)
    try:
        tables = source.tables()
    except SourceError as error:
        return _report_without_tables(settings, source, today, error)
    return _check_tables(settings, source, tables, today, sample_rows, detect_languages)


def _check_tables(
    settings: Settings,
    source: Source,
    tables: Sequence[Table],
    today: dt.date,
    sample_rows: int | None,
    detect_languages: DetectLanguages | None,
) -> SourceReport:
    """The report of a source that has tables."""
    state, has_days = _expected_state(settings, source, today)
    source = build_source(settings.source, state).share_derived_files(source)
    newest = source.newest_complete_day(today) if has_days else None
    unread = source.unread_files()
    with connect_memory(settings.duckdb) as db:
        yesterday = today - dt.timedelta(days=1)
        questions: list[str] = []
        reports = [
            check_table(db, source, table, sample_rows, yesterday, questions) for table in tables
        ]
        readable = {report.table: report for report in reports if not report.problem}
        findings = measure(db, readable, source.event_types, detect_languages)
        rule_problems, rule_warnings = _check_rules(db, settings, readable, findings)
    suggestions = suggest_tables(source, [table.name for table in tables], unread)
    _suggest_for_reports(suggestions, source, reports)
    suggest_for_findings(suggestions, settings.source, findings)
    suggestions.questions += [*questions, *rule_warnings]
    interactions = readable.get("interactions")
    days = Days(
        interactions.first_day if interactions else None,
        interactions.newest_day if interactions else None,
    )
    accepted = {name: report.accepted for name, report in readable.items()}
    return SourceReport(
        kind=source.kind,
        path=source.location(),
        timezone=source.timezone,
        first_day=state.first_day if has_days else None,
        newest_complete_day=newest,
        days_since=_days_since(newest, today),
        default_date=state.default_date,
        shift_days=state.shift_days,
        tables=reports,
        lacking={table.name: USES[table.name] for table in RAW_TABLES if table not in tables},
        unread_files=unread,
        findings=findings,
        use_cases=describe_use_cases(settings, source.event_types, accepted, findings, days),
        unreadable=suggestions.unreadable,
        suggested_settings=suggestions.settings,
        questions=suggestions.questions,
        problems=[*_problems(settings, readable, findings), *rule_problems],
    )


def _report_without_tables(
    settings: Settings, source: Source, today: dt.date, error: SourceError
) -> SourceReport:
    """The report of a source whose files belong to no table: what they seem to be.

    Raises:
        SourceError: they seem to be nothing.
    """
    unread = source.unread_files()
    suggestions = suggest_tables(source, [], unread)
    if not suggestions.settings:
        raise error
    return SourceReport(
        kind=source.kind,
        path=source.location(),
        timezone=source.timezone,
        first_day=None,
        newest_complete_day=None,
        days_since=None,
        default_date=settings.source.default_date or last_sunday_before(today),
        shift_days=0,
        tables=[],
        lacking={},
        unread_files=unread,
        unreadable=suggestions.unreadable,
        suggested_settings=suggestions.settings,
        questions=suggestions.questions,
        problems=[
            "no file has the name of a table: paste the settings above, correct them, and check "
            "again"
        ],
    )


def _days_since(newest: dt.date | None, today: dt.date) -> int | None:
    return (today - newest).days - 1 if newest else None


def _problems(
    settings: Settings,
    readable: Mapping[str, TableReport],
    findings: Findings,
) -> list[str]:
    """Why a run would fail on the settings."""
    problems = []
    excluded = settings.source.exclude_items
    if excluded and "items" in readable:
        message = unknown_exclusions_message(excluded, findings.item_attributes)
        problems += [message] if message else []
    interactions = readable.get("interactions")
    is_whole = interactions is not None and not interactions.is_sample
    if (
        is_whole
        and findings.event_types
        and not any(event.role == "target" for event in findings.event_types)
    ):
        types = ", ".join(f"{event.name} ({event.rows:,})" for event in findings.event_types)
        problems.append(
            f"no interaction is of a target type; the types are {types}: name the target in "
            "source.events, such as {play: {target: true}}"
        )
    return problems


def _check_rules(
    db: duckdb.DuckDBPyConnection,
    settings: Settings,
    readable: Mapping[str, TableReport],
    findings: Findings,
) -> tuple[list[str], list[str]]:
    """Why `recommendations.rules` cannot serve, and what they cannot read of the items."""
    if not settings.recommendations.rules:
        return [], []
    try:
        rules = ItemRules.of(settings)
    except SettingsError as error:
        return [str(error)], []
    if "items" not in readable:
        return [], []
    items = "accepted_items"
    problem = find_rule_problem(db, rules, items, findings.item_attributes)
    return ([problem], []) if problem else ([], unread_numbers(db, rules, items))


def _suggest_for_reports(
    suggestions: Suggestions, source: Source, reports: Sequence[TableReport]
) -> None:
    """Formats and maps of values of tables with values that cannot be read."""
    for report in reports:
        is_dated = not {*EVENT_TIMES}.isdisjoint(report.columns)
        has_unread = bool(report.reasons or report.values_not_read)
        if report.problem or not report.files or not (has_unread or is_dated):
            continue
        with suppress(SourceError):
            preview = source.preview(report.files[0], PREVIEW_ROWS)
            ask_about_times(suggestions, source.settings, report.columns, preview)
            if report.table == "interactions":
                suggestions.questions += _ask_about_tax(source, report, preview)
            if not has_unread:
                continue
            unset = {
                name: column
                for name, column in report.columns.items()
                if name not in source.settings.formats.get(report.table, {})
                and name not in source.settings.values.get(report.table, {})
                and name != "event_type"
            }
            suggest_values(suggestions, report.table, unset, preview)


def _ask_about_tax(source: Source, report: TableReport, preview: Preview) -> list[str]:
    """Asks which column of interactions is the amount, unless the settings say it."""
    settings, table = source.settings, report.table
    mappings = [
        settings.columns.get(table, {}),
        *(e.columns for e in settings.files.get(table, ())),
    ]
    amount = report.columns.get("amount")
    columns = find_tax_columns([*report.columns.values(), *report.unused_columns], amount)
    if columns is None or table in settings.queries or any("amount" in m for m in mappings):
        return []
    files = [name for name in report.files if format_of(name) == format_of(report.files[0])]
    with connect_memory(source.limits) as db:
        relation = source.all_rows(db, files)
        return ask_about_tax(db, relation, columns, amount, preview) if relation else []


def _expected_state(settings: Settings, source: Source, today: dt.date) -> tuple[State, bool]:
    """The home's state, or that of a first run; and whether the days of the source are readable."""
    has_days = True
    try:
        span = source.span(today)
    except SourceError:
        # The report of the table has the error.
        has_days = False
        span = Span(source.settings.earliest_day, None, last_sunday_before(today))
    state = read_state(settings.home)
    if state is None or state.source_kind != source.kind:
        state = initial_state(source, span)
    return state, has_days

"""The report of `check-source`: as text, and as values of JSON."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import yaml

from batch_predictions.sources.checking.findings import Findings
from batch_predictions.sources.checking.sums import MonthSums, sums_lines
from batch_predictions.sources.checking.use_cases import UseCase

MAX_NAMES = 10


@dataclass(frozen=True)
class TableReport:
    """A table of the source: counts and examples of the rows that were read."""

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
    merged: int = 0
    """Rows of users that are left out, because their user has another row after a merge."""
    reasons: dict[str, int] = field(default_factory=dict)
    """The most frequent reasons of refusals, without values and line numbers."""
    values_not_read: dict[str, int] = field(default_factory=dict)
    """The most frequent reasons why values of accepted rows are left empty."""
    offending_values: dict[str, list[str]] = field(default_factory=dict)
    """Up to three values of each of these reasons."""
    later: int = 0
    """Rows of days that are not over yet, of all rows; their last day is `newest_day`."""
    unused_columns: list[str] = field(default_factory=list)
    """Columns of the source that nothing is read from."""
    first_day: dt.date | None = None
    newest_day: dt.date | None = None
    examples: list[dict[str, Any]] = field(default_factory=list)
    problem: str | None = None
    """Why the table cannot be read."""
    is_sample: bool = False
    """Whether there may be more rows than those that were read."""
    rows_in_files: int | None = None
    """Rows in the files that a query reads; None: there is no query."""
    sums: list[MonthSums] = field(default_factory=list)
    """Sums of the accepted rows of interactions and reviews, by month and in all."""

    def render(self) -> list[str]:
        """The report as lines of text."""
        files = ", ".join(self.files[:3]) + (" …" if len(self.files) > 3 else "")
        lines = [f"{self.table}   {files}"]
        if self.problem:
            return [*lines, f"  cannot be read: {self.problem}"]
        lines += [f"  {line}" for line in self.count_lines()]
        if self.later:
            lines.append(
                f"  not yet {self.later:,}: of days that are not over, to {self.newest_day}"
            )
        if self.columns:
            columns = (f"{column} <- {source}" for column, source in self.columns.items())
            lines.append(f"  columns: {', '.join(columns)}")
        if self.unused_columns:
            lines.append(
                f"  not used: {', '.join(self.unused_columns)}; map what you need in "
                f"source.columns.{self.table}"
            )
        lines += [f"  {line}" for line in self.reason_lines()]
        for example in self.examples[:2]:
            cells = (
                f"{name}={value}" for name, value in example.items() if value not in (None, [])
            )
            lines.append(f"  e.g. {', '.join(cells)}")
        return [*lines, *(f"  {line}" for line in sums_lines(self.sums))]

    def count_lines(self) -> list[str]:
        """Numbers of accepted, refused and left-out rows, as lines of text."""
        total = self.rows_seen + self.filtered + self.deduplicated + self.merged
        left_out = {
            f"left out by source.where.{self.table}": self.filtered,
            f"repeats by source.deduplicate.{self.table}": self.deduplicated,
            "of users that were merged": self.merged,
        }
        terms = [f"{self.accepted:,} accepted", f"{self.refused:,} refused"]
        terms += [f"{rows:,} {text}" for text, rows in left_out.items() if rows]
        days = f"; days {self.first_day} to {self.newest_day}" if self.first_day else ""
        sample = " of a sample" if self.is_sample else ""
        lines = [f"{total:,} rows{sample} = {' + '.join(terms)}{days}"]
        if self.rows_in_files is not None:
            lines.append(
                f"the files have {self.rows_in_files:,} rows; {total:,} are the result of "
                f"source.queries.{self.table}"
            )
        return lines

    def refusal(self) -> str | None:
        """Why no row of the table is read; None: some are, or there are none."""
        if self.problem:
            return f"{self.table} cannot be read: {self.problem}"
        if not self.rows_seen or self.accepted:
            return None
        reason, count = next(iter(self.reasons.items()))
        share = f", {count:,} of them" if count < self.rows_seen else ""
        values = self._values_of(reason)
        return f"all {self.rows_seen:,} rows of {self.table} are refused{share}: {reason}{values}"

    def reason_lines(self) -> list[str]:
        """The most frequent reasons of refused rows and empty values, as lines of text."""
        lines = [self._reason_line("refused", *item) for item in self.reasons.items()]
        empty = self.values_not_read.items()
        return [*lines, *(self._reason_line("left empty", *item) for item in empty)]

    def _reason_line(self, outcome: str, reason: str, count: int) -> str:
        return f"{outcome} {count:,}: {reason}{self._values_of(reason)}"

    def _values_of(self, reason: str) -> str:
        offending = ", ".join(f"'{value}'" for value in self.offending_values.get(reason, ()))
        return f"; values: {offending}" if offending else ""


@dataclass(frozen=True)
class SourceReport:
    """A source as an ingest would read it."""

    kind: str
    path: str | None
    timezone: str
    first_day: dt.date | None
    """None if the days of a daily table cannot be read."""
    newest_complete_day: dt.date | None
    days_since: int | None
    """Days from the newest complete day to yesterday."""
    default_date: dt.date
    shift_days: int
    tables: list[TableReport]
    lacking: dict[str, str]
    """Tables that the source does not have, and what needs them."""
    unread_files: list[str] = field(default_factory=list)
    """Files in the source's folder that belong to no table."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """By file of these that cannot be read, why."""
    findings: Findings = field(default_factory=Findings)
    use_cases: list[UseCase] = field(default_factory=list)
    suggested_settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the section `source` to paste."""
    questions: list[str] = field(default_factory=list)
    """What the data does not decide."""
    problems: list[str] = field(default_factory=list)
    """Why `run` would fail, besides tables that cannot be read."""

    @property
    def ok(self) -> bool:
        """Whether `run` would work, and every table has accepted rows if it has any."""
        return not (self.refusals or self.problems)

    @property
    def refusals(self) -> list[str]:
        """Why no row is read of tables that have some."""
        return [refusal for table in self.tables if (refusal := table.refusal())]

    def as_dict(self) -> dict[str, object]:
        """The report in values of JSON."""
        further = {"refusals": self.refusals, "ok": self.ok}
        report: dict[str, object] = _to_json({**asdict(self), **further})
        return report

    def render(self) -> str:
        """The report as text."""
        shift = f", moved by {self.shift_days} days" if self.shift_days else ""
        lines = [
            f"source      {self.kind}" + (f" in {self.path}" if self.path else ""),
            f"days        {self.first_day or '?'} to {self.newest_complete_day or '?'} "
            f"in {self.timezone}{shift}",
        ]
        if self.days_since:
            lines.append(
                f"            its newest day is {self.days_since:,} days older than yesterday: a "
                "run predicts as of that day"
            )
        lines.append(f"no time     rows without a time column belong to {self.default_date}")
        for table in self.tables:
            lines += ["", *table.render(), *_finding_lines(table.table, self.findings)]
        if self.unread_files:
            more = " …" if len(self.unread_files) > MAX_NAMES else ""
            lines += ["", f"not read: {', '.join(self.unread_files[:MAX_NAMES])}{more}"]
            lines += [f"  {name}: {why}" for name, why in self.unreadable.items()]
        lines += [""] if self.lacking else []
        lines += [f"no {name}: needed for {use}" for name, use in self.lacking.items()]
        lines += _use_case_lines(self.use_cases)
        if questions := [*self.refusals, *self.questions]:
            lines += ["", "Please decide:", *(f"  - {question}" for question in questions)]
        if self.suggested_settings:
            lines += ["", "Settings to paste (batch_predictions.yaml):", *self.yaml_lines()]
        if self.problems:
            lines += ["", *(f"problem: {problem}" for problem in self.problems)]
        return "\n".join(lines)

    def render_sums(self) -> str:
        """Sums of interactions and reviews by month, after their numbers of rows, as text."""
        lines = []
        for table in self.tables:
            if table.sums:
                lines += [f"{table.table}: {table.count_lines()[0]}", *table.count_lines()[1:]]
                lines += table.reason_lines()
                lines += sums_lines(table.sums)
        return "\n".join(lines)

    def yaml_lines(self) -> list[str]:
        """The suggested settings as YAML."""
        text = yaml.safe_dump(
            {"source": self.suggested_settings},
            sort_keys=False,
            allow_unicode=True,
            default_flow_style=None,
            width=88,
        )
        return [f"  {line}" for line in text.splitlines()]

    def __str__(self) -> str:
        return self.render()


def _finding_lines(table: str, findings: Findings) -> Iterator[str]:
    """Yields lines about the measurements of a table's rows."""
    if table == "interactions":
        for event in findings.event_types:
            weight = f", weight {event.weight:g}" if event.role in ("target", "weighted") else ""
            yield (
                f"  {event.name}: {event.rows:,} ({event.share:.1%}), {event.role}{weight}, "
                f"{event.first_day} to {event.last_day}"
            )
        for values in findings.ranges:
            if values.median is None:
                yield f"  {values.column}: none"
            else:
                yield (
                    f"  {values.column}: {values.minimum:g} to {values.maximum:g}, median "
                    f"{values.median:g}; {values.missing:.1%} missing, {values.negative:.1%} "
                    "negative"
                )
        if findings.returns:
            yield f"  returns: {findings.returns:.1%} of the interactions"
    if table == "reviews":
        for language in findings.languages:
            yield (
                f"  {language.language or 'language not known'}: {language.reviews:,} reviews, "
                f"{language.labelled:,} labelled"
            )
    for reference in findings.references:
        if reference.table == table and reference.ids:
            unknown = f", not {', '.join(reference.examples)}" if reference.examples else ""
            yield (
                f"  {reference.known:,} of {reference.ids:,} {reference.column} "
                f"({reference.known / reference.ids:.1%}) are in {reference.other}{unknown}"
            )


def _use_case_lines(use_cases: list[UseCase]) -> Iterator[str]:
    if use_cases:
        yield ""
        yield "What this source allows:"
    for use_case in use_cases:
        notes = f": {'; '.join(use_case.notes)}" if use_case.notes else ""
        yield f"  {use_case.name:<20} {use_case.status}{notes}"


def _to_json(value: object) -> Any:
    if isinstance(value, dict):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, dt.date | dt.datetime):
        return value.isoformat()
    return value

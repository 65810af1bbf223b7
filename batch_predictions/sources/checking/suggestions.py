"""Proposes settings: formats, maps of values, types of events, ids.

Nothing is applied by itself. What cannot be decided from the data is a question, with the values.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batch_predictions.settings import SourceSettings
from batch_predictions.sources.checking.findings import (
    UNIT_PRICE_SHARE,
    Findings,
    ReferenceFinding,
)
from batch_predictions.sources.checking.value_guesses import (
    VALUE_MAPS,
    guess_number_format,
    guess_time_format,
    guess_value_map,
)
from batch_predictions.sources.validation.event_types import DEFAULT_EVENTS

PREVIEW_ROWS = 2000
TIMES = ("occurred_at", "written_at", "birthday", "signed_up_on", "date")
EVENT_TIMES = ("occurred_at", "written_at")
_CLOCK = re.compile(r"\d{1,2}:\d{2}")
_OFFSET = re.compile(r"\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?\s*([+-]\d{2}(?::?\d{2})?|Z|UTC|GMT)$")
NUMBERS = ("amount", "quantity", "price", "rating", "on_hand")
EVENT_VALUES: dict[str, tuple[str, ...]] = {
    "purchase": ("purchase", "order", "buy", "sale", "bought", "transaction", "checkout_completed"),
    "cart": ("cart", "add_to_cart", "addtocart", "basket", "add_to_basket"),
    "view": ("view", "click", "page_view", "pageview", "product_view", "detail_view"),
    "return": ("return", "refund", "returned", "refunded"),
}
"""By type, values of other systems."""
MIN_FOLDED_IDS = 0.01
"""Share of ids that are known only if case does not count, from which a rule is proposed."""

Preview = Mapping[str, Sequence[str]]
"""Column of a file to its texts, without empty ones."""


@dataclass
class Suggestions:
    """Settings to paste, and questions.

    Attributes:
        settings: of the section `source`.
        questions: what the data does not decide.
        unreadable: by file that belongs to no table, why it cannot be read.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    questions: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)

    def add(self, setting: str, table: str, key: str, value: object) -> None:
        """Adds a suggested key of a table to a setting such as `formats`.

        Args:
            setting: name of a setting below `source`, such as `formats`.
            table: name of a raw table.
            key: a column of the table, or another key of the setting.
            value: the suggested value.
        """
        self.settings.setdefault(setting, {}).setdefault(table, {})[key] = value


def merge_settings(settings: dict[str, object], further: dict[str, object]) -> dict[str, object]:
    """Settings with further ones; those that are there stay."""
    merged = dict(settings)
    for key, value in further.items():
        present = merged.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            merged[key] = merge_settings(present, value)
        elif present is None:
            merged[key] = value
    return merged


def suggest_values(
    suggestions: Suggestions, table: str, columns: Mapping[str, str], preview: Preview
) -> None:
    """Suggests formats of times and numbers, maps of values, and types of events.

    Args:
        suggestions: where settings and questions are added.
        table: name of the raw table.
        columns: column of the raw table to column of the files.
        preview: texts of each column of the files.
    """
    for name, column in columns.items():
        values = list(dict.fromkeys(preview.get(column, ())))
        if not values:
            continue
        if name in TIMES:
            suggest_time(suggestions, table, name, values)
        elif name in NUMBERS:
            example = guess_number_format(values)
            if example:
                suggestions.add("formats", table, name, example)
        elif name in VALUE_MAPS:
            mapping = guess_value_map(name, values)
            if mapping:
                suggestions.add("values", table, name, mapping)
        elif name == "event_type" and table == "interactions":
            suggest_events(suggestions, Counter(preview[column]))


def suggest_time(suggestions: Suggestions, table: str, name: str, values: Sequence[str]) -> None:
    """Suggests the format of times, or asks whether the day or the month comes first.

    Args:
        suggestions: where the setting and the question are added.
        table: name of the raw table.
        name: column of the raw table.
        values: distinct texts of the column.
    """
    pattern, rival = guess_time_format(values)
    if pattern is None:
        return
    suggestions.add("formats", table, name, pattern)
    if rival is not None:
        examples = ", ".join(repr(value) for value in values[:3])
        suggestions.questions.append(
            f"does the day or the month come first in {table}.{name} ({examples})? Proposed is "
            f"{pattern}; the other would be {rival}"
        )


def ask_about_times(
    suggestions: Suggestions,
    settings: SourceSettings,
    columns: Mapping[str, str],
    preview: Preview,
) -> None:
    """Asks for the time zone by which times have their day, where nothing says it; once.

    Args:
        suggestions: where the question is added.
        settings: of the source.
        columns: column of the raw table to column of the files.
        preview: texts of each column of the files.
    """
    values = [v for name in EVENT_TIMES for v in preview.get(columns.get(name, ""), ())]
    offsets = {match[1] for value in values if (match := _OFFSET.search(value))}
    naive = next((v for v in values if _CLOCK.search(v) and not _OFFSET.search(v)), None)
    question = None
    if naive and settings.timezone and not settings.naive_times:
        question = (
            f"are times without an offset, such as {naive!r}, local times of {settings.timezone}? "
            "They are taken as such: confirm it by source.naive_times: local, or set utc"
        )
    elif naive and not settings.timezone:
        question = (
            f"in which time zone is your business day? Times have no offset, such as {naive!r}, "
            "and are taken as UTC: set source.timezone, such as Europe/Berlin; they are then "
            "local times, unless source.naive_times is utc"
        )
    elif offsets and not settings.timezone:
        question = (
            f"in which time zone is your business day? Times have the offset "
            f"{', '.join(sorted(offsets)[:3])}, days are those of UTC: set source.timezone, such "
            "as America/New_York or Europe/Berlin"
        )
    if question and not any(asked.startswith(question[:24]) for asked in suggestions.questions):
        suggestions.questions.append(question)


def suggest_events(suggestions: Suggestions, counts: Mapping[str, int]) -> None:
    """Suggests types of events by their values, and asks about unknown values.

    Args:
        suggestions: to add to.
        counts: value of the source to its number of interactions.
    """
    events: dict[str, dict[str, Any]] = {}
    unknown = []
    for value, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        folded = value.strip().lower()
        name = next((name for name, known in EVENT_VALUES.items() if folded in known), None)
        if name is None:
            unknown.append(f"{value} ({count:,})")
            continue
        weight = DEFAULT_EVENTS[name].weight
        event = events.setdefault(name, {"weight": weight} if name != "return" else {})
        event.setdefault("is", []).append(value)
    if "purchase" in events:
        events["purchase"]["target"] = True
    needs_settings = unknown or any(
        value.strip().lower() not in DEFAULT_EVENTS[name].values
        for name, event in events.items()
        for value in event["is"]
    )
    if events and needs_settings:
        suggestions.settings["events"] = events
    if unknown:
        suggestions.questions.append(
            f"what are these events: {', '.join(unknown)}? Only recency reads them, unless "
            "source.events gives them a weight; target: true makes one what recommendations predict"
        )


def suggest_for_findings(
    suggestions: Suggestions, settings: SourceSettings, findings: Findings
) -> None:
    """Suggests settings for event types that nothing reads and ids that differ in case.

    Args:
        suggestions: to add to.
        settings: of the source.
        findings: of the accepted rows.
    """
    unread = {f.name: f.rows for f in findings.event_types if f.role == "not read"}
    unasked = {name: rows for name, rows in unread.items() if name not in settings.events}
    if unasked and not settings.events:
        suggest_events(suggestions, {f.name: f.rows for f in findings.event_types})
    elif unasked:
        listed = ", ".join(f"{name} ({rows:,})" for name, rows in unasked.items())
        suggestions.questions.append(
            f"what are these events: {listed}? Only recency reads them: add them to source.events"
        )
    for reference in findings.references:
        if reference.other_examples:
            suggestions.questions.append(_join_question(reference))
        folded = reference.known_ignoring_case - reference.known
        if folded > MIN_FOLDED_IDS * max(reference.ids, 1):
            rule = suggestions.settings.setdefault("ids", {})
            rule[reference.column] = {"case": "lower"}
            suggestions.questions.append(
                f"{folded:,} of {reference.ids:,} ids {reference.column} of {reference.table} are "
                f"in {reference.other} only in another case: are they the same?"
            )
    if findings.unit_prices is not None and findings.unit_prices > UNIT_PRICE_SHARE:
        suggestions.questions.append(
            f"is amount the price of one unit? In {findings.unit_prices:.0%} of the lines of "
            "several units it is the item's price: amount must be what was paid for the whole "
            "line. Multiply it by quantity with source.queries"
        )


def _join_question(reference: ReferenceFinding) -> str:
    """Asks which columns are the same id, of two tables that have none in common."""
    column, table, other = reference.column, reference.table, reference.other
    question = (
        f"which columns of {table} and {other} are the same {column}? Of the {reference.ids:,} of "
        f"{table} ({', '.join(reference.examples)} …), {reference.known:,} are in {other} "
        f"({', '.join(reference.other_examples)} …)"
    )
    if reference.candidate is None:
        return f"{question}: set source.columns.{table}.{column} or source.columns.{other}.{column}"
    return (
        f"{question}, and {reference.in_candidate:,} in its column {reference.candidate!r}: "
        f"set source.columns.{other}.{column}: {reference.candidate}"
    )

"""Proposes settings: files and columns of tables, formats, values, types of events, ids.

Nothing is applied by itself. What cannot be decided from the data is a question, with the values.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batch_predictions.settings import SourceSettings
from batch_predictions.sources.base import Source, SourceError
from batch_predictions.sources.checking.file_guesses import FileGuess, guess_table, pattern_of
from batch_predictions.sources.checking.findings import Findings
from batch_predictions.sources.checking.value_guesses import (
    SOLD,
    VALUE_MAPS,
    guess_number_format,
    guess_time_format,
    guess_value_map,
)
from batch_predictions.sources.event_types import DEFAULT_EVENTS
from batch_predictions.warehouse.sql_literals import quote_identifier, quote_literal

PREVIEW_ROWS = 2000
TIMES = ("occurred_at", "written_at", "birthday", "signed_up_on", "date")
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

_OFFSET = re.compile(r"\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?\s*([+-]\d{2}:?\d{2})$")

Preview = Mapping[str, Sequence[str]]
"""Column of a file to its texts, without empty ones."""


@dataclass
class Suggestions:
    """Settings to paste, and questions.

    Attributes:
        settings: of the section `source`.
        questions: what the data does not decide.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    questions: list[str] = field(default_factory=list)

    def add(self, setting: str, table: str, key: str, value: Any) -> None:
        """Adds a key of a setting of a table."""
        self.settings.setdefault(setting, {}).setdefault(table, {})[key] = value


def merge_settings(settings: dict[str, Any], further: dict[str, Any]) -> dict[str, Any]:
    """Settings with further ones; those that are there stay."""
    merged = dict(settings)
    for key, value in further.items():
        present = merged.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            merged[key] = merge_settings(present, value)
        elif present is None:
            merged[key] = value
    return merged


def suggest_tables(source: Source, present: Sequence[str], unread: Sequence[str]) -> Suggestions:
    """Settings for files that belong to no table yet.

    Args:
        source: of the files.
        present: names of the tables that the source has.
        unread: names of the files.
    """
    suggestions = Suggestions()
    guesses: dict[str, list[tuple[str, FileGuess, Preview]]] = {}
    for name in unread:
        preview = _preview(source, name)
        guess = guess_table(name, tuple(preview)) if preview else None
        if guess is not None and guess.table not in present:
            guesses.setdefault(guess.table, []).append((name, guess, preview))
    if source.settings.timezone is None:
        _ask_timezone(suggestions, guesses)
    for table, files in guesses.items():
        by_columns: dict[tuple[str, ...], list[tuple[str, FileGuess, Preview]]] = {}
        for name, guess, preview in files:
            by_columns.setdefault(tuple(sorted(preview)), []).append((name, guess, preview))
        if len(by_columns) == 1:
            _suggest_one_kind(suggestions, table, files)
        else:
            _suggest_several_kinds(suggestions, table, list(by_columns.values()))
    return suggestions


def _ask_timezone(
    suggestions: Suggestions, guesses: Mapping[str, Sequence[tuple[str, FileGuess, Preview]]]
) -> None:
    """Asks for the time zone where times have an offset to UTC."""
    for files in guesses.values():
        for _, guess, preview in files:
            for name in ("occurred_at", "written_at"):
                values = preview.get(guess.columns.get(name, ""), ())
                offsets = {match[1] for value in values if (match := _OFFSET.search(value))}
                if offsets - {"+00:00", "+0000", "-0000"}:
                    suggestions.questions.append(
                        f"in which time zone is your business day? Times have the offset "
                        f"{', '.join(sorted(offsets)[:3])}, days are those of UTC: set "
                        "source.timezone, such as America/New_York or Europe/Berlin"
                    )
                    return


def _preview(source: Source, name: str) -> Preview:
    try:
        return source.preview(name, PREVIEW_ROWS)
    except SourceError:
        return {}


def _suggest_one_kind(
    suggestions: Suggestions, table: str, files: Sequence[tuple[str, FileGuess, Preview]]
) -> None:
    """Settings for a table whose files have equal columns."""
    pattern = pattern_of([name for name, *_ in files])
    _, guess, preview = files[0]
    columns = dict(guess.columns)
    status, unit_price = columns.pop("status", None), columns.pop("unit_price", None)
    condition = _sold_condition(suggestions, status, preview) if status else None
    if unit_price and "amount" not in columns and "quantity" not in columns:
        # Each event is one unit.
        columns["amount"], unit_price = unit_price, None
    if unit_price and "amount" not in columns:
        _suggest_query(suggestions, pattern, columns, unit_price, condition, preview)
    else:
        suggestions.settings.setdefault("files", {})[table] = pattern
        suggestions.settings.setdefault("columns", {})[table] = columns
        if condition:
            suggestions.settings.setdefault("where", {})[table] = condition
    suggest_values(suggestions, table, columns, preview)


def _suggest_several_kinds(
    suggestions: Suggestions,
    table: str,
    kinds: Sequence[Sequence[tuple[str, FileGuess, Preview]]],
) -> None:
    """Settings for a table whose files have different columns: an entry for each kind."""
    entries = []
    for files in kinds:
        _, guess, preview = files[0]
        columns = {
            name: column
            for name, column in guess.columns.items()
            if name not in ("status", "unit_price")
        }
        own = Suggestions()
        suggest_values(own, table, columns, preview)
        entry: dict[str, Any] = {"pattern": pattern_of([name for name, *_ in files])}
        entry["columns"] = columns
        for setting in ("formats", "values"):
            if value := own.settings.get(setting, {}).get(table):
                entry[setting] = value
        entries.append(entry)
        suggestions.questions += own.questions
        if events := own.settings.get("events"):
            suggestions.settings["events"] = events
    suggestions.settings.setdefault("files", {})[table] = entries


def _sold_condition(suggestions: Suggestions, status: str, preview: Preview) -> str | None:
    """A condition for the rows that were sold, by their status."""
    counts = Counter(preview[status])
    sold = sorted(value for value in counts if value.strip().lower() in SOLD)
    left_out = [f"{value} ({n:,})" for value, n in sorted(counts.items()) if value not in sold]
    if not sold:
        return None
    if left_out:
        suggestions.questions.append(
            f"which states of {status!r} are sales? Proposed are {', '.join(sold)}; left out are "
            f"{', '.join(left_out)}"
        )
    return f"{quote_identifier(status)} in ({', '.join(map(quote_literal, sold))})"


def _suggest_query(
    suggestions: Suggestions,
    pattern: str,
    columns: Mapping[str, str],
    unit_price: str,
    condition: str | None,
    preview: Preview,
) -> None:
    """A query, because the price of a unit must be multiplied by the quantity."""
    selected = [f"{quote_identifier(column)} as {name}" for name, column in columns.items()]
    price = _number_sql(unit_price, preview)
    quantity = _number_sql(columns["quantity"], preview)
    selected.append(f"{quantity} * {price} as amount")
    where = f" where {condition}" if condition else ""
    query = f"select {', '.join(selected)} from {quote_literal(pattern)}{where}"
    suggestions.settings.setdefault("queries", {})["interactions"] = query
    suggestions.questions.append(
        f"is {unit_price!r} the price of one unit? amount is what was paid for the whole line: "
        "proposed is quantity times price"
    )


def _number_sql(column: str, preview: Preview) -> str:
    """SQL of a number in a file's column, whose decimals may be written with a comma."""
    text = f"{quote_identifier(column)}::VARCHAR"
    example = guess_number_format(list(preview[column])[:PREVIEW_ROWS])
    if example in ("1.234,56", "1 234,56"):
        text = f"regexp_replace(replace({text}, ',', '#'), '[^0-9#-]', '', 'g')"
        return f"replace({text}, '#', '.')::DOUBLE"
    if example in ("1,234.56", "1'234.56"):
        return f"regexp_replace({text}, '[^0-9.-]', '', 'g')::DOUBLE"
    return f"{text}::DOUBLE"


def suggest_values(
    suggestions: Suggestions, table: str, columns: Mapping[str, str], preview: Preview
) -> None:
    """Formats of times and numbers, maps of values, and types of events."""
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
    """The format of times, or the question whether day or month comes first."""
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


def suggest_events(suggestions: Suggestions, counts: Mapping[str, int]) -> None:
    """Types of events by their values; those that are not known are asked about.

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
    is_default = all(
        value.strip().lower() in known.values
        for name, event in events.items()
        for value in event["is"]
        for known in [DEFAULT_EVENTS[name]]
    )
    if events and not (is_default and not unknown):
        suggestions.settings["events"] = events
    if unknown:
        suggestions.questions.append(
            f"what are these events: {', '.join(unknown)}? Only recency reads them, unless "
            "source.events gives them a weight; target: true makes one what recommendations predict"
        )


def suggest_for_findings(
    suggestions: Suggestions, settings: SourceSettings, findings: Findings
) -> None:
    """Types of events that nothing reads, and ids that differ in case.

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
        folded = reference.known_ignoring_case - reference.known
        if folded > MIN_FOLDED_IDS * max(reference.ids, 1):
            rule = suggestions.settings.setdefault("ids", {})
            rule[reference.column] = {"case": "lower"}
            suggestions.questions.append(
                f"{folded:,} of {reference.ids:,} ids {reference.column} of {reference.table} are "
                f"in {reference.other} only in another case: are they the same?"
            )
    if findings.unit_prices is not None and findings.unit_prices > 0.8:
        suggestions.questions.append(
            f"is amount the price of one unit? In {findings.unit_prices:.0%} of the lines of "
            "several units it is the item's price: amount must be what was paid for the whole "
            "line. Multiply it by quantity with source.queries"
        )

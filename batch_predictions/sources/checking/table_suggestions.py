"""Proposes settings for files that belong to no table: patterns, columns, conditions, queries."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from batch_predictions.sources.base import Source, SourceError
from batch_predictions.sources.checking.file_guesses import FileGuess, guess_table, pattern_of
from batch_predictions.sources.checking.suggestions import (
    PREVIEW_ROWS,
    Preview,
    Suggestions,
    suggest_values,
)
from batch_predictions.sources.checking.value_guesses import SOLD, guess_number_format
from batch_predictions.warehouse.path_sql import quote_identifier, quote_literal

GuessedFile: TypeAlias = tuple[str, FileGuess, Preview]
"""A file's name, what it seems to be, and its first rows."""
_OFFSET = re.compile(r"\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?\s*([+-]\d{2}:?\d{2})$")


def suggest_tables(source: Source, present: Sequence[str], unread: Sequence[str]) -> Suggestions:
    """Settings for files that belong to no table yet.

    Args:
        source: of the files.
        present: names of the tables that the source has.
        unread: names of the files.
    """
    suggestions = Suggestions()
    guesses: dict[str, list[GuessedFile]] = {}
    for name in unread:
        preview = _preview(source, name)
        guess = guess_table(name, tuple(preview)) if preview else None
        if guess is not None and guess.table not in present:
            guesses.setdefault(guess.table, []).append((name, guess, preview))
    if source.settings.timezone is None:
        _ask_timezone(suggestions, guesses)
    for table, files in guesses.items():
        by_columns: dict[tuple[str, ...], list[GuessedFile]] = {}
        for name, guess, preview in files:
            by_columns.setdefault(tuple(sorted(preview)), []).append((name, guess, preview))
        if len(by_columns) == 1:
            _suggest_one_kind(suggestions, table, files)
        else:
            _suggest_several_kinds(suggestions, table, list(by_columns.values()))
    return suggestions


def _ask_timezone(suggestions: Suggestions, guesses: Mapping[str, Sequence[GuessedFile]]) -> None:
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


def _suggest_one_kind(suggestions: Suggestions, table: str, files: Sequence[GuessedFile]) -> None:
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
    kinds: Sequence[Sequence[GuessedFile]],
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
        entry: dict[str, object] = {"pattern": pattern_of([name for name, *_ in files])}
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

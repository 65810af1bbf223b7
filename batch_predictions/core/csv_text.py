"""Cells of CSV files that spreadsheets open: lists as text, and no text that runs as a formula."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


def has_ambiguous_items(items: Iterable[object]) -> bool:
    """Returns whether list items could not be told apart if joined by spaces."""
    return any(item is None or not re.fullmatch(r"[^\s\[]\S*", str(item)) for item in items)


def cell(value: object, as_json: bool) -> Any:
    """Formats a value for CSV: lists as JSON, or joined by spaces; texts without formulas."""
    if isinstance(value, list):
        value = json.dumps(value, ensure_ascii=False) if as_json else " ".join(map(str, value))
    elif isinstance(value, dict):
        value = json.dumps(value, ensure_ascii=False)
    return without_formula(value) if isinstance(value, str) else value


def without_formula(text: str) -> str:
    """Escapes a text that a spreadsheet would run as a formula, by an apostrophe in front."""
    is_formula = text.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    return f"'{text}" if is_formula and not _NUMBER.fullmatch(text) else text

"""Cells of CSV files that spreadsheets open: lists as text, and no text that runs as a formula."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


def has_ambiguous_items(items: Iterable[Any]) -> bool:
    """Whether items of lists could not be told apart if spaces separated them."""
    return any(item is None or not re.fullmatch(r"[^\s\[]\S*", str(item)) for item in items)


def cell(value: Any, as_json: bool) -> Any:
    """A value as CSV has it: lists as JSON, or separated by spaces; texts without formulas."""
    if isinstance(value, list):
        value = json.dumps(value, ensure_ascii=False) if as_json else " ".join(map(str, value))
    elif isinstance(value, dict):
        value = json.dumps(value, ensure_ascii=False)
    return without_formula(value) if isinstance(value, str) else value


def without_formula(text: str) -> str:
    """A text that no spreadsheet runs as a formula: an apostrophe is in front of one."""
    is_formula = text.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    return f"'{text}" if is_formula and not _NUMBER.fullmatch(text) else text

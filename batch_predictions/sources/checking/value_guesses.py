"""Guesses from values how a column is written: formats of times and numbers, maps of values."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence

from batch_predictions.warehouse.path_sql import quote_identifier

TIME_FORMATS = (
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y",
    "%d-%m-%Y",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y",
    "%m/%d/%Y %I:%M %p",
    "%Y%m%d%H%M%S",
    "%d.%m.%y %H:%M",
    "%d.%m.%y",
    "%d/%m/%y %H:%M",
    "%d/%m/%y",
    "%m/%d/%y %H:%M",
    "%m/%d/%y",
)
"""Formats that are not read without `source.formats`; day first before month first."""
NUMBER_FORMATS = (
    ("1.234,56", re.compile(r"-?\d{1,3}(\.\d{3})*,\d{1,2}|-?\d+,(\d{1,2}|\d{4,})")),
    ("1 234,56", re.compile(r"-?\d{1,3}([ \u00a0\u202f]\d{3})+(,\d{1,2})?")),
    ("1'234.56", re.compile(r"-?\d{1,3}(['\u2019]\d{3})+(\.\d{1,2})?")),
    ("1,234.56", re.compile(r"-?\d{1,3}(,\d{3})+(\.\d{1,2})?")),
)
"""Examples of formats that are not read without `source.formats`, and what is written in them."""
_CURRENCY = re.compile(
    r"^(?:[A-Z]{3}|[$\u20ac\u00a3\u00a5])\s*|\s*(?:[A-Z]{3}|[$\u20ac\u00a3\u00a5])$"
)
_PLAIN_NUMBER = re.compile(r"-?\d+(\.\d+)?")
VALUE_MAPS: dict[str, dict[str, str]] = {
    "available": {
        "active": "true",
        "published": "true",
        "enabled": "true",
        "live": "true",
        "in stock": "true",
        "draft": "false",
        "archived": "false",
        "inactive": "false",
        "disabled": "false",
        "hidden": "false",
        "out of stock": "false",
        "discontinued": "false",
    },
    "gender": {
        "frau": "female",
        "mrs": "female",
        "mrs.": "female",
        "ms": "female",
        "ms.": "female",
        "f": "female",
        "w": "female",
        "madame": "female",
        "herr": "male",
        "mr": "male",
        "mr.": "male",
        "m": "male",
        "monsieur": "male",
    },
    "label": {"pos": "positive", "neg": "negative", "neu": "neutral"},
}
"""By column, values of other systems and ours."""
SOLD = frozenset(
    (
        "paid",
        "complete",
        "completed",
        "fulfilled",
        "shipped",
        "delivered",
        "closed",
        "sold",
        "succeeded",
        "success",
        "bezahlt",
        "abgeschlossen",
        "versendet",
    )
)
"""States of an order that mean that it was sold."""


def guess_time_format(values: Sequence[str]) -> tuple[str | None, str | None]:
    """The format of times that are not read by themselves, and another that fits as well.

    Args:
        values: texts that are not empty.

    Returns:
        None and None if no format fits all values. The second is not None where day and month
        cannot be told apart.
    """
    if not values:
        return None, None
    fitting = [pattern for pattern in TIME_FORMATS if all(_is_time(v, pattern) for v in values)]
    if not fitting:
        return None, None
    first = fitting[0]
    rival = next((p for p in fitting[1:] if p[:2] != first[:2]), None)
    return first, rival


def _is_time(value: str, pattern: str) -> bool:
    try:
        dt.datetime.strptime(value.strip(), pattern)
    except ValueError:
        return False
    return True


def guess_number_format(values: Sequence[str]) -> str | None:
    """An example of the format of numbers that are not read by themselves; None: none fits all."""
    stripped = [_CURRENCY.sub("", value.strip()) for value in values]
    if not stripped or all(_PLAIN_NUMBER.fullmatch(value.strip()) for value in values):
        return None
    for example, pattern in NUMBER_FORMATS:
        # Numbers below a thousand have no separator of thousands.
        small = re.compile(rf"-?\d+(\{example[-3]}\d+)?")
        is_written = [bool(pattern.fullmatch(value)) for value in stripped]
        is_plain = [bool(small.fullmatch(value)) for value in stripped]
        if any(is_written) and all(a or b for a, b in zip(is_written, is_plain, strict=True)):
            return example
    is_decimal = all(_PLAIN_NUMBER.fullmatch(value) for value in stripped)
    return "1,234.56" if is_decimal else None


def number_sql(column: str, values: Sequence[str], *, is_rate: bool = False) -> str:
    """SQL of a number in a column, whose decimals may be written with a comma.

    Args:
        column: of the files.
        values: texts of its first rows, by which the format is guessed.
        is_rate: whether it is a rate, such as 1,065, which has no mark of thousands.
    """
    name, example = quote_identifier(column), guess_number_format(values)
    if is_rate and not any("." in value for value in values):
        example = "1.234,56"
    if example in ("1.234,56", "1 234,56"):
        text = f"regexp_replace(replace({name}::VARCHAR, ',', '#'), '[^0-9#-]', '', 'g')"
        return f"replace({text}, '#', '.')::DOUBLE"
    if example in ("1,234.56", "1'234.56"):
        return f"regexp_replace({name}::VARCHAR, '[^0-9.-]', '', 'g')::DOUBLE"
    return f"{name}::DOUBLE"


def guess_value_map(column: str, values: Sequence[str]) -> dict[str, str]:
    """A map of the values of a column to ours; empty if none is known or all are ours.

    Args:
        column: of a raw table.
        values: distinct texts.
    """
    known = VALUE_MAPS.get(column, {})
    ours = {*known.values()}
    return {
        value: known[value.strip().lower()]
        for value in values
        if value.strip().lower() in known and value.strip().lower() not in ours
    }

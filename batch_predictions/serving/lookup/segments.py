"""Who a user is, for the fallback: attributes as they are matched, and the levels searched."""

from __future__ import annotations

import re
from collections.abc import Mapping

from batch_predictions.tables import SEGMENT_LEVELS as LEVELS

UNKNOWN = "unknown"
ATTRIBUTES = ("age_bracket", "gender", "location")
_BRACKETS = ((65, "65+"), (55, "55-64"), (45, "45-54"), (35, "35-44"), (25, "25-34"), (19, "19-24"))


def age_bracket(value: str | int) -> str:
    """The bracket of an age given as a number; anything else as it is: `37` is in `35-44`."""
    text = str(value).strip()
    if not re.fullmatch(r"\d{1,3}", text):
        return text
    return next((name for least, name in _BRACKETS if int(text) >= least), "under 19")


def known(name: str, value: str | int | None) -> str | None:
    """An attribute's value as it is matched; None where it is not given, empty or `unknown`."""
    if value is None:
        return None
    text = age_bracket(value) if name == "age_bracket" else str(value).strip()
    return None if text.casefold() in ("", UNKNOWN) else text


def levels(attributes: Mapping[str, str | None]) -> list[tuple[str, dict[str, str]]]:
    """The segments of somebody with these attributes, the most specific first."""
    found = []
    for level, names in LEVELS.items():
        values = {name: value for name in names if (value := attributes.get(name)) is not None}
        if len(values) == len(names):
            found.append((level, values))
    return found

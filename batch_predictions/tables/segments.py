"""Attributes of users and the segment levels that the fallback searches."""

from __future__ import annotations

import re
from collections.abc import Mapping

from batch_predictions.tables import SEGMENT_LEVELS as LEVELS

UNKNOWN = "unknown"
ATTRIBUTES = ("age_bracket", "gender", "location")
_BRACKETS = ((65, "65+"), (55, "55-64"), (45, "45-54"), (35, "35-44"), (25, "25-34"), (19, "19-24"))
AGE_BRACKETS = ("under 19", *(name for _, name in reversed(_BRACKETS)))
"""Every bracket, the youngest first."""
MAX_AGE = 120


def age_bracket(value: str | int) -> str:
    """The bracket of an age (`37` gives `35-44`); other texts are returned unchanged."""
    text = str(value).strip()
    if not re.fullmatch(r"\d{1,3}", text) or int(text) > MAX_AGE:
        return text
    return next((name for min_age, name in _BRACKETS if int(text) >= min_age), "under 19")


def known(name: str, value: str | int | None) -> str | None:
    """An attribute's normalised value; None if it is None, empty or `unknown`."""
    if value is None:
        return None
    text = age_bracket(value) if name == "age_bracket" else str(value).strip()
    return None if text.casefold() in ("", UNKNOWN) else text


def levels(attributes: Mapping[str, str | None]) -> list[tuple[str, dict[str, str]]]:
    """Level and values of the segments that match a user's attributes, the most specific first."""
    segments = []
    for level, names in LEVELS.items():
        values = {name: value for name in names if (value := attributes.get(name)) is not None}
        if len(values) == len(names):
            segments.append((level, values))
    return segments

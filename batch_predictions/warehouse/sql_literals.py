"""Identifiers, values and dates as SQL text.

For what cannot be bound: queries that are embedded in others, paths of COPY, views.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence


def quote_identifier(name: str) -> str:
    """A column's name in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(value: object) -> str:
    """A value as text in single quotes."""
    return "'" + str(value).replace("'", "''") + "'"


def date_list(days: Sequence[str]) -> str:
    """Dates as SQL literals, divided by commas.

    Raises:
        ValueError: one is not an ISO date.
    """
    return ", ".join(f"DATE '{dt.date.fromisoformat(day)}'" for day in days)


def days_condition(column: str, days: Sequence[str] | None) -> str:
    """A condition that a date column is one of some days; true for all rows if `days` is None."""
    if days is None:
        return "true"
    return f"{column} in ({date_list(days)})" if days else "false"

"""Refuses rows of erased users: the quarantine counts them and does not keep their content."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import duckdb

from batch_predictions.core.erasures import REASON, ErasedUsers, erased_users
from batch_predictions.sources.base import Source
from batch_predictions.tables import Table, user_columns
from batch_predictions.warehouse.path_sql import quote_literal

_NO_ROW = "'{}'"


def refuse_erased_users(
    db: duckdb.DuckDBPyConnection, source: Source, table: Table, checked: str
) -> None:
    """Refuses the checked rows of erased users, and removes them from rows refused otherwise.

    Args:
        db: connection of the rows.
        source: the source; without a home, nobody was erased.
        table: the raw table.
        checked: table of the checked rows.
    """
    users = erased_users(source.home)
    if not users:
        return
    if columns := user_columns(table):
        nulls = ", ".join(f"{column} = null" for column in columns)
        db.execute(
            f"update {checked} set reason = {quote_literal(REASON)}, row = {_NO_ROW}, {nulls} "
            f"where {' or '.join(map(users.condition, columns))}"
        )
    normalise = id_writer(source)
    refused = db.execute(
        f"select date, source, row_number, reason, row::VARCHAR from {checked} "
        f"where reason is not null and reason <> {quote_literal(REASON)}"
    ).fetchall()
    for date, file, row_number, reason, row in refused:
        if mentions(users, reason, row, normalise):
            db.execute(
                f"update {checked} set reason = {quote_literal(REASON)}, row = {_NO_ROW} "
                "where date is not distinct from ? and source = ? and row_number = ?",
                [date, file, row_number],
            )


def id_writer(source: Source) -> Callable[[str], str]:
    """Returns the function that writes ids of users as the raw tables have them."""
    rule = source.settings.ids.get("user_id")
    return rule.apply if rule else str.strip


def mentions(
    users: ErasedUsers, reason: str, row: str | None, normalise: Callable[[str], str]
) -> bool:
    """Returns whether a refused row has the id of an erased user.

    Args:
        users: who was erased.
        reason: why it was refused.
        row: its JSON.
        normalise: writes ids as raw tables have them.
    """
    # Reasons quote values, also several of a key.
    quoted = re.findall("'([^']*)'", reason)
    quoted += [part for text in quoted for part in text.split(", ")]
    if users.are_in_values(quoted, normalise):
        return True
    try:
        values = json.loads(row or "null")
    except ValueError:
        return users.are_in_text(row or "", normalise)
    if isinstance(values, dict) and set(values) == {"line"}:
        return users.are_in_text(str(values["line"]), normalise)
    return users.are_in_values(values, normalise)

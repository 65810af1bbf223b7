"""Tables of a release that no other section of a page shows: of predictive queries, of plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from batch_predictions.serving.lookup.rows import read_table_rows
from batch_predictions.serving.store.snapshot import ServedRelease
from batch_predictions.tables.release_tables import CONTEXT_TABLES

MAX_ROWS = 20
"""Rows of a table that a page shows at most; its address as JSON has all of them."""
_HIDDEN = ("model_version",)


class OwnTable(NamedTuple):
    """The rows of a table for one user or item, as a page shows them.

    Attributes:
        name: of the table.
        columns: those that are shown: neither the key of the page nor the version of the model.
        rows: the first rows in the order of the key.
        has_more: whether there are more rows.
    """

    name: str
    columns: list[str]
    rows: list[dict[str, Any]]
    has_more: bool


def own_table(
    served: ServedRelease, name: str, rows: Sequence[Mapping[str, Any]], page_key: str
) -> OwnTable:
    """Selects what a page shows of a table's rows.

    Args:
        served: the release, whose manifest has the columns of the table.
        name: of the table.
        rows: of the page's user or item, one or more.
        page_key: user_id or item_id, which the page's heading has.
    """
    columns = [
        column
        for column in served.tables[name]["columns"]
        if column != page_key and column not in _HIDDEN
    ]
    shown = [{column: row.get(column) for column in columns} for row in rows[:MAX_ROWS]]
    return OwnTable(name, columns, shown, len(rows) > MAX_ROWS)


def read_own_tables(
    db: sa.Connection, served: ServedRelease, page_key: str, value: str, shown: Sequence[str]
) -> list[OwnTable]:
    """Reads the rows of a user or an item in tables whose key begins with its id.

    Args:
        db: a connection, in the snapshot of the release.
        served: the release.
        page_key: user_id or item_id.
        value: the id.
        shown: tables that the page shows elsewhere.
    """
    hidden = {*shown, *(table.name for table in CONTEXT_TABLES)}
    names = [
        name
        for name, entry in served.tables.items()
        if name not in hidden and entry["key"][0] == page_key
    ]
    tables = []
    for name in names:
        rows = read_table_rows(db, served, name, {page_key: value}, MAX_ROWS + 1)
        if rows:
            tables.append(own_table(served, name, rows, page_key))
    return tables

"""Lookups for applications: what to offer a user, and the rows of any published table.

    lookup = Lookup(Settings.load())
    lookup.recommendations("1234", k=5)

Only SQLAlchemy and the ground floor are imported: an application starts at once. A lookup is one
snapshot of the store, so that it sees one release, whole, whatever is published meanwhile.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from batch_predictions.serving.lookup.segments import ATTRIBUTES, known, levels
from batch_predictions.serving.release.pointer import NoReleaseError, ReleaseError
from batch_predictions.serving.store.schema import (
    ITEMS,
    USERS,
    declared_table,
    is_json,
    store_table,
    store_url,
)
from batch_predictions.serving.store.snapshot import ReadStore, ServedRelease
from batch_predictions.settings import Settings
from batch_predictions.tables import DEMOGRAPHIC_RECOMMENDATIONS, RECOMMENDATIONS, Table

__all__ = ["Lookup", "NoReleaseError", "NotPublishedError"]


class NotPublishedError(ReleaseError):
    """The release that is served has no such table, or the table no such column."""


def _ranked(declared: Table, *key: str) -> sa.Select[Any]:
    """The first rows of a ranked list by release and key, with the items' titles.

    Only the columns answered with: the store may be older than this program's declarations.
    """
    table = declared_table(declared)
    same_item = sa.and_(
        ITEMS.c.release_id == table.c.release_id, ITEMS.c.item_id == table.c.item_id
    )
    title = sa.func.coalesce(ITEMS.c.title, table.c.item_id).label("title")
    wanted = [table.c[name] == sa.bindparam(name) for name in ("release_id", *key)]
    names = ("rank", "item_id", "score", "reason", "model_version")
    return (
        sa.select(*(table.c[name] for name in names if name in table.c), title)
        .select_from(table.outerjoin(ITEMS, same_item))
        .where(*wanted)
        .order_by(table.c.rank)
        .limit(sa.bindparam("k"))
    )


_PERSONAL = _ranked(RECOMMENDATIONS, "user_id")
_SEGMENT = _ranked(DEMOGRAPHIC_RECOMMENDATIONS, "segment_level", *ATTRIBUTES)
_USER = sa.select(*(USERS.c[name] for name in ATTRIBUTES)).where(
    USERS.c.release_id == sa.bindparam("release_id"), USERS.c.user_id == sa.bindparam("user_id")
)


class Lookup:
    """Looks predictions up in the release that is served. One instance serves many threads."""

    def __init__(self, where: Settings | str) -> None:
        """Opens a store, by settings or SQLAlchemy URL; there need not be one yet."""
        self._store = ReadStore(store_url(where) if isinstance(where, Settings) else where)

    def __enter__(self) -> Lookup:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes its connections."""
        self._store.close()

    def recommendations(
        self,
        user_id: str,
        *,
        age_bracket: str | int | None = None,
        gender: str | None = None,
        location: str | None = None,
        k: int = 10,
    ) -> dict[str, Any]:
        """What to offer a user: their own list, else that of the most specific segment there is.

        Attributes given here win over those the store knows of the user; one that is neither
        given nor known is not matched. An age may be given as a number.

        Returns:
            user_id, source (personal, demographic or popular), release_id, as_of, model_version,
            segment (None for personal) and items: rank, item_id, title, score, reason.

        Raises:
            NoReleaseError: nothing has been released yet.
            NotPublishedError: the user has no list, and the release no fallback.
        """
        if k < 1:
            raise ValueError(f"k is {k}: ask for at least one item")
        user_id = str(user_id)
        given = {"age_bracket": age_bracket, "gender": gender, "location": location}
        with self._store.snapshot() as (db, served):
            here = {"release_id": served.release_id, "k": k}
            if RECOMMENDATIONS.name in served.tables:
                rows = db.execute(_PERSONAL, {**here, "user_id": user_id}).all()
                if rows:
                    return _answer(user_id, "personal", served, None, rows)
            if DEMOGRAPHIC_RECOMMENDATIONS.name not in served.tables:
                raise _not_published(DEMOGRAPHIC_RECOMMENDATIONS.name, served)
            attributes = {name: known(name, value) for name, value in given.items()}
            if None in attributes.values():
                user = {"release_id": served.release_id, "user_id": user_id}
                stored = db.execute(_USER, user).one_or_none()
                for name in ATTRIBUTES if stored is not None else ():
                    attributes[name] = attributes[name] or known(name, getattr(stored, name))
            for level, values in levels(attributes):
                # Columns outside the level are stored as empty strings.
                key = {"segment_level": level, **dict.fromkeys(ATTRIBUTES, ""), **values}
                rows = db.execute(_SEGMENT, {**here, **key}).all()
                if rows:
                    source = "demographic" if values else "popular"
                    return _answer(user_id, source, served, {"level": level, **values}, rows)
        raise ReleaseError(
            f"release {served.release_id} has no rows of the level everyone: release again"
        )

    def rows(
        self, table_name: str, *, limit: int | None = None, **key: Any
    ) -> list[dict[str, Any]]:
        """Rows of a published table in the order of its key; see `answer`."""
        found: list[dict[str, Any]] = self.answer(table_name, limit=limit, **key)["rows"]
        return found

    def answer(self, table_name: str, *, limit: int | None = None, **key: Any) -> dict[str, Any]:
        """Rows of a published table, with the release that they are of.

        Args:
            table_name: such as churn_scores.
            limit: at most so many rows.
            key: column to value. The first columns of the table's key are found at once, others
                by reading the release's whole table. A key's null is stored as an empty string.

        Returns:
            release_id, as_of, partition (the day, or the week's Monday) and rows.

        Raises:
            NoReleaseError: nothing has been released yet.
            NotPublishedError: the release has no such table, or the table no such column.
        """
        with self._store.snapshot() as (db, served):
            entry = served.tables.get(table_name)
            if entry is None:
                raise _not_published(table_name, served)
            types = entry["columns"]
            strangers = sorted(set(key) - set(types))
            if strangers:
                raise NotPublishedError(
                    f"{table_name} has no column {', '.join(strangers)}: it has {', '.join(types)}"
                )
            table = _stored(table_name, tuple(types.items()), tuple(entry["key"]))
            wanted = [_matches(table.c[name], value) for name, value in key.items()]
            query = (
                sa.select(*(table.c[name] for name in types))
                .where(table.c.release_id == served.release_id, *wanted)
                .order_by(*table.primary_key.columns)
                .limit(limit)
            )
            found = [dict(row) for row in db.execute(query).mappings()]
        for name in (name for name, type_ in types.items() if is_json(type_)):
            for row in found:
                row[name] = None if row[name] is None else json.loads(row[name])
        return {
            "release_id": served.release_id,
            "as_of": served.as_of.isoformat(),
            "partition": entry["partition"],
            "rows": found,
        }

    def tables(self) -> list[dict[str, Any]]:
        """The tables of the release that is served: name, partition, key and columns.

        Raises:
            NoReleaseError: nothing has been released yet.
        """
        with self._store.snapshot() as (_, served):
            return [
                {
                    "table": name,
                    "partition": entry["partition"],
                    "key": list(entry["key"]),
                    "columns": list(entry["columns"]),
                }
                for name, entry in served.tables.items()
            ]

    def freshness(self, today: dt.date) -> dict[str, Any]:
        """How old what is served is: release_id, as_of, age_days.

        Raises:
            NoReleaseError: nothing has been released yet.
        """
        with self._store.snapshot() as (_, served):
            return {
                "release_id": served.release_id,
                "as_of": served.as_of.isoformat(),
                "age_days": (today - served.as_of).days,
            }


def _answer(
    user_id: str,
    source: str,
    served: ServedRelease,
    segment: dict[str, str] | None,
    rows: Sequence[sa.Row[Any]],
) -> dict[str, Any]:
    why = {"demographic": "popular_with_your_segment", "popular": "popular"}.get(source)
    return {
        "user_id": user_id,
        "source": source,
        "release_id": served.release_id,
        "as_of": served.as_of.isoformat(),
        "model_version": rows[0].model_version,
        "segment": segment,
        "items": [
            {
                "rank": row.rank,
                "item_id": row.item_id,
                "title": row.title,
                "score": row.score,
                "reason": why or row.reason,
            }
            for row in rows
        ],
    }


@lru_cache(maxsize=64)
def _stored(name: str, types: tuple[tuple[str, str], ...], key: tuple[str, ...]) -> sa.Table:
    """A table as its release describes it; kept, so that SQLAlchemy compiles a query once."""
    return store_table(name, dict(types), key)


def _matches(column: sa.Column[Any], value: Any) -> sa.ColumnElement[bool]:
    """A condition on a column; text from a command line becomes the column's type."""
    if value is None:
        return column == "" if column.primary_key else column.is_(None)
    if isinstance(value, str) and isinstance(column.type, sa.Date):
        value = dt.date.fromisoformat(value)
    elif isinstance(value, str) and isinstance(column.type, sa.Integer):
        value = int(value)
    elif isinstance(column.type, sa.String):
        value = str(value)
    return column == value


def _not_published(name: str, served: ServedRelease) -> NotPublishedError:
    return NotPublishedError(
        f"release {served.release_id} has no table {name}: it has {', '.join(served.tables)}"
    )

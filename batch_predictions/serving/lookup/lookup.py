"""Lookups for applications: recommendations of a user, and rows of any published table.

    lookup = Lookup(Settings.load())
    lookup.recommendations("1234", k=5)

It imports only SQLAlchemy, settings and table declarations, so that an application starts quickly.
A lookup reads one snapshot of the store, and so one complete release, while others are published.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
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
    """The current release has no such table, or the table no such column."""


def _ranked(declared: Table, *key: str) -> sa.Select[Any]:
    """The first rows of a ranked list by release and key, with the items' titles.

    It selects only the columns of the answer: the store may be older than the declarations.
    """
    table = declared_table(declared)
    same_item = sa.and_(
        ITEMS.c.release_id == table.c.release_id, ITEMS.c.item_id == table.c.item_id
    )
    title = sa.func.coalesce(ITEMS.c.title, table.c.item_id).label("title")
    conditions = [table.c[name] == sa.bindparam(name) for name in ("release_id", *key)]
    names = ("rank", "item_id", "score", "reason", "model_version")
    return (
        sa.select(*(table.c[name] for name in names if name in table.c), title)
        .select_from(table.outerjoin(ITEMS, same_item))
        .where(*conditions)
        .order_by(table.c.rank)
        .limit(sa.bindparam("k"))
    )


_PERSONAL = _ranked(RECOMMENDATIONS, "user_id")
_SEGMENT = _ranked(DEMOGRAPHIC_RECOMMENDATIONS, "segment_level", *ATTRIBUTES)
_USER = sa.select(*(USERS.c[name] for name in ATTRIBUTES)).where(
    USERS.c.release_id == sa.bindparam("release_id"), USERS.c.user_id == sa.bindparam("user_id")
)


class Lookup:
    """Looks predictions up in the current release; can be shared by threads."""

    def __init__(self, store: Settings | str) -> None:
        """Opens a store, by settings or SQLAlchemy URL; it need not exist yet.

        With settings, ids are written as `source.ids` says before they are looked up.
        """
        self._store = ReadStore(store_url(store) if isinstance(store, Settings) else store)
        self._ids = store.source.ids if isinstance(store, Settings) else {}

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
        """The recommendations of a user: their personal list, else that of a segment.

        The segment is the most specific one that matches. The arguments replace the stored
        attributes of the user; an attribute that is unknown in both is not matched.

        Args:
            user_id: the user, who need not be known.
            age_bracket: such as 35-44, or an age as a number.
            gender: as the source writes it.
            location: as the source writes it.
            k: number of items at most, at least 1.

        Returns:
            user_id, source (personal, demographic or popular), release_id, as_of, model_version,
            segment (None for personal) and items: rank, item_id, title, score, reason.

        Raises:
            NoReleaseError: nothing has been released yet.
            NotPublishedError: the user has no list, and the release no fallback.
        """
        if k < 1:
            raise ValueError(f"k is {k}: ask for at least one item")
        user_id = self._normalise("user_id", str(user_id))
        arguments = {"age_bracket": age_bracket, "gender": gender, "location": location}
        return self._store.read(
            lambda db, served: _recommendations(db, served, user_id, arguments, k)
        )

    def rows(
        self, table_name: str, *, limit: int | None = None, **key: Any
    ) -> list[dict[str, Any]]:
        """Rows of a published table in the order of its key; see `answer`."""
        rows: list[dict[str, Any]] = self.answer(table_name, limit=limit, **key)["rows"]
        return rows

    def answer(self, table_name: str, *, limit: int | None = None, **key: Any) -> dict[str, Any]:
        """Rows of a published table, and their release.

        Args:
            table_name: such as churn_scores.
            limit: number of rows at most; None: all.
            key: values by column. The first columns of the table's key are looked up by index,
                others by a scan of the release's rows. Nulls in keys are stored as empty strings.

        Returns:
            release_id, as_of, partition (the day, or the week's Monday) and rows.

        Raises:
            NoReleaseError: nothing has been released yet.
            NotPublishedError: the release has no such table, or the table no such column.
        """
        values = {name: self._normalise(name, value) for name, value in key.items()}
        return self._store.read(lambda db, served: _rows(db, served, table_name, values, limit))

    def _normalise(self, column: str, value: Any) -> Any:
        """An id as the source's settings write it; any other value as it is."""
        rule = self._ids.get(column)
        return rule.apply(value) if rule is not None and isinstance(value, str) else value

    def tables(self) -> list[dict[str, Any]]:
        """The tables of the current release: name, partition, key and columns.

        Raises:
            NoReleaseError: nothing has been released yet.
        """
        served = self._store.read(lambda _, served: served)
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
        """The age of the current release: release_id, as_of, age_days.

        Raises:
            NoReleaseError: nothing has been released yet.
        """
        served = self._store.read(lambda _, served: served)
        return {
            "release_id": served.release_id,
            "as_of": served.as_of.isoformat(),
            "age_days": (today - served.as_of).days,
        }


def _recommendations(
    db: sa.Connection,
    served: ServedRelease,
    user_id: str,
    arguments: Mapping[str, str | int | None],
    k: int,
) -> dict[str, Any]:
    common = {"release_id": served.release_id, "k": k}
    if RECOMMENDATIONS.name in served.tables:
        rows = db.execute(_PERSONAL, {**common, "user_id": user_id}).all()
        if rows:
            return _answer(user_id, "personal", served, None, rows)
    if DEMOGRAPHIC_RECOMMENDATIONS.name not in served.tables:
        raise _not_published(DEMOGRAPHIC_RECOMMENDATIONS.name, served)
    attributes = {name: known(name, value) for name, value in arguments.items()}
    if None in attributes.values():
        user = {"release_id": served.release_id, "user_id": user_id}
        stored = db.execute(_USER, user).one_or_none()
        for name in ATTRIBUTES if stored is not None else ():
            attributes[name] = attributes[name] or known(name, getattr(stored, name))
    for level, values in levels(attributes):
        # Columns outside the level are stored as empty strings.
        key = {"segment_level": level, **dict.fromkeys(ATTRIBUTES, ""), **values}
        rows = db.execute(_SEGMENT, {**common, **key}).all()
        if rows:
            source = "demographic" if values else "popular"
            return _answer(user_id, source, served, {"level": level, **values}, rows)
    raise ReleaseError(
        f"release {served.release_id} has no rows of the level everyone: publish it again"
    )


def _rows(
    db: sa.Connection,
    served: ServedRelease,
    table_name: str,
    key: Mapping[str, Any],
    limit: int | None,
) -> dict[str, Any]:
    entry = served.tables.get(table_name)
    if entry is None:
        raise _not_published(table_name, served)
    types = entry["columns"]
    unknown = sorted(set(key) - set(types))
    if unknown:
        raise NotPublishedError(
            f"{table_name} has no column {', '.join(unknown)}: it has {', '.join(types)}"
        )
    table = _stored(table_name, tuple(types.items()), tuple(entry["key"]))
    conditions = [_matches(table.c[name], value) for name, value in key.items()]
    query = (
        sa.select(*(table.c[name] for name in types))
        .where(table.c.release_id == served.release_id, *conditions)
        .order_by(*table.primary_key.columns)
        .limit(limit)
    )
    rows = [dict(row) for row in db.execute(query).mappings()]
    for name in (name for name, type_ in types.items() if is_json(type_)):
        for row in rows:
            row[name] = None if row[name] is None else json.loads(row[name])
    return {
        "release_id": served.release_id,
        "as_of": served.as_of.isoformat(),
        "partition": entry["partition"],
        "rows": rows,
    }


def _answer(
    user_id: str,
    source: str,
    served: ServedRelease,
    segment: dict[str, str] | None,
    rows: Sequence[sa.Row[Any]],
) -> dict[str, Any]:
    segment_reason = {"demographic": "popular_with_your_segment", "popular": "popular"}.get(source)
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
                "reason": segment_reason or row.reason,
            }
            for row in rows
        ],
    }


@lru_cache(maxsize=64)
def _stored(name: str, types: tuple[tuple[str, str], ...], key: tuple[str, ...]) -> sa.Table:
    """A table by its release's manifest; cached, so that SQLAlchemy compiles each query once."""
    return store_table(name, dict(types), key)


def _matches(column: sa.Column[Any], value: Any) -> sa.ColumnElement[bool]:
    """A condition on a column; text, as of a command line, is converted to the column's type.

    Raises:
        ValueError: the text is not of the column's type.
    """
    if value is None:
        return column == "" if column.primary_key else column.is_(None)
    if isinstance(value, str):
        value = _parse(column, value)
    elif isinstance(column.type, sa.String):
        value = str(value)
    return column == value


def _parse(column: sa.Column[Any], text: str) -> Any:
    python_type = column.type.python_type
    try:
        if python_type is bool:
            return {"true": True, "false": False}[text.casefold()]
        if python_type in (dt.date, dt.datetime):
            return python_type.fromisoformat(text)
        return python_type(text)
    except (KeyError, ValueError):
        raise ValueError(
            f"{column.name} has the type {python_type.__name__}, {text!r} is not of it"
        ) from None


def _not_published(name: str, served: ServedRelease) -> NotPublishedError:
    return NotPublishedError(
        f"release {served.release_id} has no table {name}: it has {', '.join(served.tables)}"
    )

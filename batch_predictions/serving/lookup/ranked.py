"""The ranked lists of a user, best first: the personal one, then those of matching segments.

This is the one implementation of the fallback: `Lookup.recommendations` takes the first list, the
HTTP service takes as many as it needs to fill an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from batch_predictions.serving.store.pointer import ReleaseError
from batch_predictions.serving.store.snapshot import RunStatement, ServedRelease
from batch_predictions.serving.store.store import ITEMS, USERS, declared_table, store_table
from batch_predictions.sources.posted_rows.sign_ups_of_today import PostedUsers
from batch_predictions.tables import DEMOGRAPHIC_RECOMMENDATIONS, RECOMMENDATIONS
from batch_predictions.tables.segments import ATTRIBUTES, known, levels

PERSONAL, DEMOGRAPHIC, POPULAR = "personal", "demographic", "popular"
_SEGMENT_REASONS = {DEMOGRAPHIC: "popular_with_your_segment", POPULAR: "popular"}
MAX_LIST_ITEMS = 1_000_000
"""As good as no limit."""


class NotPublishedError(ReleaseError):
    """The current release has no such table, or the table no such column."""


class RankedItem(NamedTuple):
    """An item of a stored list."""

    rank: int
    item_id: str
    title: str
    score: float
    reason: str
    category: str | None


@dataclass(frozen=True)
class RankedList:
    """A ranked list of items as the release stores it, personal or of a segment.

    Attributes:
        source: personal, demographic or popular.
        segment: level and values of the segment; None for a personal list.
        model_version: of the model that ranked it.
        items: best first, at least one.
    """

    source: str
    segment: dict[str, str] | None
    model_version: str
    items: tuple[RankedItem, ...]

    @property
    def table(self) -> str:
        """Name of the table that the list is from."""
        return table_of(self.source)


def table_of(source: str) -> str:
    """Name of the table of lists from personal, demographic or popular."""
    return (RECOMMENDATIONS if source == PERSONAL else DEMOGRAPHIC_RECOMMENDATIONS).name


def _ranked(table: sa.Table, *key: str) -> sa.Select[Any]:
    """The first rows of a ranked list by release and key, with the items' titles.

    It selects only the columns of the answer: the store may be older than the declarations.
    """
    same_item = sa.and_(
        ITEMS.c.release_id == table.c.release_id, ITEMS.c.item_id == table.c.item_id
    )
    conditions = [table.c[name] == sa.bindparam(name) for name in ("release_id", *key)]
    return (
        sa.select(
            table.c.rank,
            table.c.item_id,
            sa.func.coalesce(ITEMS.c.title, table.c.item_id).label("title"),
            table.c.score,
            (table.c.reason if "reason" in table.c else sa.null()).label("reason"),
            ITEMS.c.category,
            table.c.model_version,
        )
        .select_from(table.outerjoin(ITEMS, same_item))
        .where(*conditions)
        .order_by(table.c.rank)
        .limit(sa.bindparam("k"))
    )


@lru_cache(maxsize=16)
def _personal(
    name: str, columns: tuple[tuple[str, str], ...], key: tuple[str, ...]
) -> sa.Select[Any]:
    """The first rows of a user's list in a table of a release, by its manifest."""
    return _ranked(store_table(name, dict(columns), key), "user_id")


_PERSONAL = _ranked(declared_table(RECOMMENDATIONS), "user_id")
_SEGMENT = _ranked(declared_table(DEMOGRAPHIC_RECOMMENDATIONS), "segment_level", *ATTRIBUTES)
_USER = sa.select(*(USERS.c[name] for name in ATTRIBUTES)).where(
    USERS.c.release_id == sa.bindparam("release_id"), USERS.c.user_id == sa.bindparam("user_id")
)


class ListReader:
    """Reads the lists of a release in one snapshot.

    Attributes:
        served: the release.
        has_read_attributes: whether attributes of a user were read, which a sign-up may change
            within a release; lists never change.
    """

    def __init__(
        self,
        run: RunStatement,
        served: ServedRelease,
        k: int,
        segment_k: int | None = None,
        posted_users: PostedUsers | None = None,
        personal_table: str | None = RECOMMENDATIONS.name,
    ) -> None:
        """Opens the lists of a release.

        Args:
            run: runs statements in the snapshot.
            served: the release of the snapshot.
            k: items of a personal list at most.
            segment_k: items of a segment's list at most; None: `k`.
            posted_users: sign-ups that were posted since; None: those of the release only.
            personal_table: table of personal lists; None: as if there were none.
        """
        self.served, self._run = served, run
        self._k, self._segment_k = k, k if segment_k is None else segment_k
        self._posted_users, self._personal_table = posted_users, personal_table
        self.has_read_attributes = False

    def personal(self, user_id: str) -> RankedList | None:
        """The user's personal list."""
        name = self._personal_table
        if name is None or name not in self.served.tables:
            return None
        statement = _PERSONAL
        if name != RECOMMENDATIONS.name:
            entry = self.served.tables[name]
            statement = _personal(name, tuple(entry["columns"].items()), tuple(entry["key"]))
        key = {"release_id": self.served.release_id, "user_id": user_id, "k": self._k}
        rows = self._run(statement, key)
        return _make_list(PERSONAL, None, rows)

    def segment(self, level: str, values: Mapping[str, str]) -> RankedList | None:
        """The list of a segment.

        Raises:
            NotPublishedError: the release has no fallback.
        """
        if DEMOGRAPHIC_RECOMMENDATIONS.name not in self.served.tables:
            raise not_published(DEMOGRAPHIC_RECOMMENDATIONS.name, self.served)
        # Columns outside the level are stored as empty strings.
        columns = {"segment_level": level, **dict.fromkeys(ATTRIBUTES, ""), **values}
        key = {"release_id": self.served.release_id, **columns, "k": self._segment_k}
        rows = self._run(_SEGMENT, key)
        source = DEMOGRAPHIC if values else POPULAR
        return _make_list(source, {"level": level, **values}, rows)

    def attributes(self, user_id: str) -> dict[str, str | None]:
        """The stored attributes of a user; None where they are not known."""
        self.has_read_attributes = True
        rows = self._run(_USER, {"release_id": self.served.release_id, "user_id": user_id})
        values = rows[0] if rows else (None,) * len(ATTRIBUTES)
        stored = {name: known(name, value) for name, value in zip(ATTRIBUTES, values, strict=True)}
        if self._posted_users is None:
            return stored
        return dict(self._posted_users.attributes(user_id, self.served.as_of, stored))


def lists_of(
    reader: ListReader, user_id: str, arguments: Mapping[str, str | int | None]
) -> Iterator[RankedList]:
    """The lists of a user, best first; each is read when it is asked for.

    Args:
        reader: of the release.
        user_id: the user, who need not be known.
        arguments: attributes that replace the stored ones, by name; an attribute that is unknown in
            both is not matched.

    Raises:
        NotPublishedError: the user has no list, and the release no fallback.
        ReleaseError: the release has no rows of the level everyone.
    """
    personal = reader.personal(user_id)
    if personal:
        yield personal
        if DEMOGRAPHIC_RECOMMENDATIONS.name not in reader.served.tables:
            return
    attributes = {name: known(name, arguments.get(name)) for name in ATTRIBUTES}
    if None in attributes.values():
        stored = reader.attributes(user_id)
        attributes = {name: value or stored[name] for name, value in attributes.items()}
    for level, values in levels(attributes):
        if segment := reader.segment(level, values):
            yield segment
            if segment.source == POPULAR:
                return
    raise ReleaseError(
        f"release {reader.served.release_id} has no rows of the level everyone: publish it again"
    )


def not_published(name: str, served: ServedRelease) -> NotPublishedError:
    """The error of a table that a release does not have."""
    return NotPublishedError(
        f"release {served.release_id} has no table {name}: it has {', '.join(served.tables)}"
    )


def _make_list(source: str, segment: dict[str, str] | None, rows: Any) -> RankedList | None:
    if not rows:
        return None
    reason = _SEGMENT_REASONS.get(source)
    items = tuple(
        RankedItem(rank, item_id, title, score, reason or stored_reason, category)
        for rank, item_id, title, score, stored_reason, category, _ in rows
    )
    return RankedList(source, segment, rows[0][-1], items)

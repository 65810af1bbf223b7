"""Fills an answer from the ranked lists of a user: filters take away, the next lists fill up."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from batch_predictions.serving.http.current_release import BoundedCache, CurrentRelease
from batch_predictions.serving.http.experiment_buckets import FALLBACK, Experiments
from batch_predictions.serving.lookup.ranked import (
    MAX_LIST_ITEMS,
    ListReader,
    RankedItem,
    RankedList,
    lists_of,
    table_of,
)
from batch_predictions.serving.store.snapshot import RunStatement, ServedRelease
from batch_predictions.sources.posted_rows.sign_ups_of_today import PostedUsers
from batch_predictions.tables import RECOMMENDATIONS

DEFAULT_K, MAX_K = 10, 500
MAX_FILTER_VALUES = 1_000
_RECOMMENDATION_ID = re.compile(r"(\d{4}-\d\d-\d\d-[0-9a-f]{8})-[0-9a-f]{24}")
_BYTES_PER_ITEM = 400
"""A list's memory, roughly, per item."""


@dataclass(frozen=True)
class ListRequest:
    """A request for a user's list of recommendations.

    Attributes:
        user_id: the user, who need not be known, as the source writes ids.
        attributes: age_bracket, gender and location that replace the stored ones; None: as stored.
        k: number of items.
        exclude: items that are not wanted.
        categories: categories of which items are wanted, in lower case; none: all.
    """

    user_id: str
    attributes: Mapping[str, str | None]
    k: int = DEFAULT_K
    exclude: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()


class FilledList(NamedTuple):
    """Items of an answer, with the list that each is from, and the filters that left nothing."""

    items: list[tuple[RankedItem, RankedList]]
    relaxed: list[str]


class ReadyAnswer(NamedTuple):
    """An encoded JSON answer in two parts, between which its age is inserted.

    Attributes:
        head: the JSON text before the value of `age_seconds`.
        tail: the text behind it.
        etag: the entity tag, in quotes.
        source: of its first item: personal, demographic or popular.
        is_fixed: whether it stays the same as long as the release does; otherwise a sign-up of the
            user may change it.
    """

    head: bytes
    tail: bytes
    etag: bytes
    source: str
    is_fixed: bool

    def body(self, release: CurrentRelease, now: float) -> bytes:
        """The JSON text, `now` being seconds since 1970."""
        return self.with_age(release.age_seconds(now, table_of(self.source)))

    def with_age(self, seconds: int) -> bytes:
        """The JSON text with an age."""
        return b"%b%d%b" % (self.head, seconds, self.tail)


class CachedListReader(ListReader):
    """Keeps the lists of segments, which many users share, in the memory of their release."""

    def __init__(
        self,
        run: RunStatement,
        served: ServedRelease,
        request: ListRequest,
        lists: BoundedCache[Any],
        posted_users: PostedUsers | None,
        personal_table: str | None,
    ) -> None:
        """Takes the arguments of `ListReader`, a request, and the memory of the release."""
        # The request needs no further items of a personal list; segments' lists are kept whole.
        needed = MAX_LIST_ITEMS if request.categories else request.k + len(request.exclude)
        super().__init__(run, served, needed, MAX_LIST_ITEMS, posted_users, personal_table)
        self._lists = lists

    def segment(self, level: str, values: Mapping[str, str]) -> RankedList | None:
        """The list of a segment; read from the store once."""
        key = (level, *values.values())
        entry = self._lists.get(key)
        if entry is None:
            ranked = super().segment(level, values)
            entry = (ranked,)
            # Values come from requests: absent segments are kept too, but count.
            size = _BYTES_PER_ITEM * (1 + (len(ranked.items) if ranked else 0))
            self._lists.put(key, entry, size)
        segment: RankedList | None = entry[0]
        return segment


def fill(lists: Iterable[RankedList], request: ListRequest) -> FilledList:
    """Takes the first `k` items of lists, best list first, that pass the filters.

    A filter that leaves nothing in any list is not applied: first `category`, then `exclude`. So an
    answer is never empty.

    Args:
        lists: of the user; a further one is read only if those before it do not suffice.
        request: with k and filters.
    """
    read: list[RankedList] = []

    def remember() -> Iterable[RankedList]:
        for ranked in lists:
            read.append(ranked)
            yield ranked

    items = _take(remember(), request.k, request.exclude, request.categories)
    relaxed: list[str] = []
    if not items and request.categories:
        relaxed = ["category"]
        items = _take(read, request.k, request.exclude, frozenset())
    if not items:
        relaxed = [*relaxed, "exclude"]
        items = _take(read, request.k, frozenset(), frozenset())
    return FilledList(items, relaxed)


def _take(
    lists: Iterable[RankedList], k: int, exclude: frozenset[str], categories: frozenset[str]
) -> list[tuple[RankedItem, RankedList]]:
    taken: list[tuple[RankedItem, RankedList]] = []
    barred = set(exclude)
    for ranked in lists:
        for item in ranked.items:
            if item.item_id in barred:
                continue
            if categories and (item.category or "").casefold() not in categories:
                continue
            barred.add(item.item_id)
            taken.append((item, ranked))
            if len(taken) == k:
                return taken
    return taken


def make_answer(
    run: RunStatement,
    served: ServedRelease,
    release: CurrentRelease,
    request: ListRequest,
    posted_users: PostedUsers | None = None,
    experiments: Experiments | None = None,
) -> ReadyAnswer:
    """The answer to a request, read in one snapshot.

    Args:
        run: runs statements in the snapshot.
        served: the release of the snapshot.
        release: the same, with its memory.
        request: what is asked for.
        posted_users: sign-ups that clients have posted; None: those of the release only.
        experiments: which users get another list than their own; None: none do.

    Raises:
        NotPublishedError: the user has no list, and the release no fallback.
        ReleaseError: the release has no rows of the level everyone.
    """
    assigned = experiments.assign(request.user_id, served.tables) if experiments else None
    table: str | None = RECOMMENDATIONS.name
    if assigned is not None:
        table = None if assigned.list == FALLBACK else assigned.list
    reader = CachedListReader(run, served, request, release.lists, posted_users, table)
    filled = fill(lists_of(reader, request.user_id, request.attributes), request)
    first = filled.items[0][1]
    bucket = assigned.bucket if assigned else None
    recommendation_id = recommendation_id_of(served.release_id, request, filled, bucket)
    head = {
        "user_id": request.user_id,
        "source": first.source,
        "release_id": served.release_id,
        "as_of": served.day_of(first.table).isoformat(),
    }
    tail = {
        "model_version": first.model_version,
        "recommendation_id": recommendation_id,
        "bucket": bucket,
        "segment": first.segment,
        "relaxed": filled.relaxed,
        "items": _items_of(filled),
    }
    return ReadyAnswer(
        head=orjson.dumps(head)[:-1] + b',"age_seconds":',
        tail=b"," + orjson.dumps(tail)[1:],
        etag=f'W/"{recommendation_id}"'.encode(),
        source=first.source,
        is_fixed=not reader.has_read_attributes,
    )


def _items_of(filled: FilledList) -> list[dict[str, object]]:
    """Formats the items of a filled list for an answer."""
    return [
        {
            "rank": rank,
            "item_id": item.item_id,
            "title": item.title,
            "score": item.score,
            "reason": item.reason,
            "category": item.category,
            "source": origin.source,
        }
        for rank, (item, origin) in enumerate(filled.items, 1)
    ]


def make_recommendation_id(release_id: str, content: bytes) -> str:
    """Makes an answer's id from its release and from `content`, its request and lists.

    It begins with the release's id, so that feedback is attributed to the release that it is of.
    """
    return f"{release_id}-{hashlib.blake2b(content, digest_size=12).hexdigest()}"


def release_id_of(recommendation_id: str) -> str | None:
    """The release that an answer's id names; None where the id is not one of this service."""
    match = _RECOMMENDATION_ID.fullmatch(recommendation_id)
    return match[1] if match else None


def recommendation_id_of(
    release_id: str, request: ListRequest, filled: FilledList, bucket: str | None = None
) -> str:
    """Computes an answer's id: equal for the same release, user, parameters and lists.

    Attributes count by the lists that they led to, so that an id always names one list of items.

    Args:
        release_id: the release of the lists.
        request: the request.
        filled: the items that were chosen, with the list of each.
        bucket: of the experiment; None: the user is in none.

    Returns:
        The release's id, a hyphen and 24 hexadecimal digits: BLAKE2b of these values as JSON.
    """
    lists = dict.fromkeys(
        (origin.source, *(origin.segment or {}).values(), origin.model_version)
        for _, origin in filled.items
    )
    parts = [
        release_id,
        request.user_id,
        request.k,
        sorted(request.exclude),
        sorted(request.categories),
        list(lists),
        bucket,
    ]
    return make_recommendation_id(release_id, orjson.dumps(parts))

"""The release that the service answers from: its age, and memory for its answers."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Generic, TypeVar
from zoneinfo import ZoneInfo

from batch_predictions.serving.http.problems import (
    NO_RELEASE,
    ProblemError,
    problem_of,
    store_unavailable,
)
from batch_predictions.serving.lookup.lookup_source import LookupSource
from batch_predictions.serving.store.snapshot import ServedRelease

V = TypeVar("V")
SILENT_SECONDS = 10.0
"""A store that has not answered for so long is not ready."""
CLEARED_AT_ONCE, CLEARING_PAUSE_SECONDS = 100, 0.001
"""Values that are freed together, some 80 µs, and the pause after them."""
_log = logging.getLogger(__name__)


class BoundedCache(Generic[V]):
    """Values by key, up to a number of bytes; those not used for longest leave first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._values: OrderedDict[Any, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: object) -> V | None:
        """The value of a key; None if it is not there."""
        entry = self._values.get(key)
        if entry is None:
            return None
        with suppress(KeyError):  # another thread has removed it meanwhile
            self._values.move_to_end(key)
        return entry[0]

    def put(self, key: object, value: V, size: int) -> None:
        """Stores a value of `size` bytes, and removes those that were not used for longest.

        Args:
            key: of the value; its earlier value is replaced.
            value: what `get` returns.
            size: bytes of the value; larger ones than the cache are not stored.
        """
        if size > self._max_bytes:
            return
        with self._lock:
            _, old_size = self._values.pop(key, (None, 0))
            self._values[key] = (value, size)
            self._bytes += size - old_size
            while self._bytes > self._max_bytes:
                _, (_, removed) = self._values.popitem(last=False)
                self._bytes -= removed

    def clear(self) -> None:
        """Removes all values, a few at a time.

        All at once would keep other threads from answering for tens of milliseconds.
        """
        while self._values:
            with self._lock:
                for _ in range(min(CLEARED_AT_ONCE, len(self._values))):
                    _, (_, removed) = self._values.popitem(last=False)
                    self._bytes -= removed
            time.sleep(CLEARING_PAUSE_SECONDS)


class CurrentRelease:
    """A release, and what the service keeps in memory of it.

    Attributes:
        served: its id, day, version of the pointer, tables.
        fresh_at: end of its day in the source's time zone, seconds since 1970: its age is counted
            from there.
        due_at: end of the following day, whose release is the next one.
        answers: ready answers by path and query of the request.
        lists: lists of segments by level and values.
        by_user: names of the tables that have an index of users; None: not known yet.
    """

    def __init__(
        self, served: ServedRelease, timezone: ZoneInfo, cache_bytes: int, cache_seconds: int
    ) -> None:
        self.served = served
        self.fresh_at = _midnight_after(served.as_of, timezone)
        self._fresh_at_by_table = {
            name: _midnight_after(served.day_of(name), timezone) for name in served.tables
        }
        self.due_at = _midnight_after(served.as_of + dt.timedelta(days=1), timezone)
        self.answers: BoundedCache[Any] = BoundedCache(cache_bytes * 3 // 4)
        self.lists: BoundedCache[Any] = BoundedCache(cache_bytes // 4)
        self.by_user: tuple[str, ...] | None = None
        self._cache_seconds = cache_seconds
        self._header: tuple[int, bytes] = (-1, b"")

    @property
    def identity(self) -> tuple[str, int]:
        """The release's id and the pointer's version, which identify the rows of the release."""
        return identity_of(self.served)

    def forget_answers(self) -> None:
        """Frees the memory of the release's answers and lists, slowly."""
        self.answers.clear()
        self.lists.clear()

    def age_seconds(self, now: float, table: str | None = None) -> int:
        """Seconds from the end of the release's day, or of a table's day, to `now`, at least 0."""
        return max(0, int(now - self._fresh_at_by_table.get(table or "", self.fresh_at)))

    def cache_control(self, now: float) -> bytes:
        """Cache-Control of answers: valid until the next release is due, then revalidated."""
        second = int(now)
        cached_second, header = self._header
        if cached_second != second:
            left = min(int(self.due_at - now), self._cache_seconds)
            header = b"private, max-age=%d" % left if left > 0 else b"private, no-cache"
            self._header = (second, header)
        return header

    def model_version(self, table: str) -> str | None:
        """The model's version of a table's rows; of several, the first."""
        entry: Mapping[str, Any] = self.served.tables.get(table, {})
        versions = entry.get("model_versions") or [None]
        version: str | None = versions[0]
        return version


def identity_of(served: ServedRelease) -> tuple[str, int]:
    """The release's id and the pointer's version, which moves when the release's rows change."""
    return served.release_id, served.version


class ReleaseWatcher:
    """Follows the pointer of a store.

    `refresh` is called a few times a second and reads the pointer; reads in between that meet a
    newer release make it the current one at once. Whatever the service answers is read in one
    snapshot and kept by the release of that snapshot, so that no answer is of two.
    """

    def __init__(
        self,
        source: LookupSource,
        make: Callable[[ServedRelease], CurrentRelease],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._make, self._clock = source, make, clock
        self._lock = threading.Lock()
        self._answered_at = clock()
        self._problem: ProblemError | None = None
        self._replaced: list[CurrentRelease] = []
        self.current: CurrentRelease | None = None

    def refresh(self) -> None:
        """Reads the pointer, and frees the memory of releases that were replaced.

        An error is kept for `require`, and the release stays.
        """
        while self._replaced:
            self._replaced.pop().forget_answers()
        try:
            served = self._source.read(lambda _, served: served)
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                _log.exception("the current release cannot be read")
            has_no_release = problem is not None and problem.type is NO_RELEASE
            if has_no_release and (self._problem is None or self._problem.type is not NO_RELEASE):
                _log.warning("%s", error)
            if self._problem is None or self.current is None:
                self._problem = problem or store_unavailable()
            if has_no_release:
                self._answered_at, self.current, self._problem = self._clock(), None, problem
            return
        with self._lock:
            self._answered_at, self._problem = self._clock(), None
            if self.current is None or self.current.identity != identity_of(served):
                self._replace(served)

    def release_of(self, served: ServedRelease, *, is_pointed_to: bool = True) -> CurrentRelease:
        """The release of a snapshot.

        Args:
            served: the release that was read.
            is_pointed_to: whether it was read as the current one, and not by its id: it becomes
                the current one here too if it is newer.
        """
        current = self.current
        if current is not None and current.identity == identity_of(served):
            return current
        with self._lock:
            current = self.current
            if is_pointed_to and (current is None or served.version > current.served.version):
                return self._replace(served)
        # An older snapshot, or a page of an older release: nothing of it is kept.
        return self._make(served)

    def require(self) -> CurrentRelease:
        """The current release, if the store has answered lately.

        Raises:
            ProblemError: there is no release, or the store does not answer.
        """
        silent = self._clock() - self._answered_at > SILENT_SECONDS
        if self.current is None or (silent and self._problem is not None):
            raise self._problem or store_unavailable()
        return self.current

    @property
    def is_reachable(self) -> bool:
        """Whether the store answered the last query."""
        return self._problem is None or self._problem.type is NO_RELEASE

    def _replace(self, served: ServedRelease) -> CurrentRelease:
        if self.current is not None:
            self._replaced.append(self.current)
        self.current = self._make(served)
        _log.info("serving release %s", served.release_id)
        return self.current


def _midnight_after(day: dt.date, timezone: ZoneInfo) -> float:
    """The end of a day, in seconds since 1970."""
    next_day = day + dt.timedelta(days=1)
    return dt.datetime(next_day.year, next_day.month, next_day.day, tzinfo=timezone).timestamp()

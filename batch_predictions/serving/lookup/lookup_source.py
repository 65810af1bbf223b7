"""The interface of the stores that lookups read, and the way ids are written in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from batch_predictions.serving.store.pointer import Release, all_releases
from batch_predictions.serving.store.snapshot import RunStatement, ServedRelease, execute
from batch_predictions.settings import IdRule, Settings

T = TypeVar("T")


class LookupSource(Protocol):
    """Complete releases to read: a `ReadStore`, or `ReleaseFiles`.

    Every read is of one release, whatever is published, rolled back or removed meanwhile.
    """

    @property
    def is_file(self) -> bool:
        """Whether a read by key takes microseconds, so that an event loop may wait for it."""
        ...

    def read(
        self, query: Callable[[sa.Connection, ServedRelease], T], release_id: str | None = None
    ) -> T:
        """The result of a query in the current release, or in a named one; see `ReadStore.read`."""
        ...

    def read_rows(self, query: Callable[[RunStatement, ServedRelease], T]) -> T:
        """The result of a frequent query in the current release; see `ReadStore.read_rows`."""
        ...

    def releases(self) -> list[Release]:
        """Every release, newest day first; none where there is none yet."""
        ...

    def close(self) -> None:
        """Closes files and connections."""
        ...


@dataclass(frozen=True)
class SnapshotSource:
    """A snapshot that is open already: all reads are in it."""

    db: sa.Connection
    served: ServedRelease
    is_file = False

    def read(
        self, query: Callable[[sa.Connection, ServedRelease], T], release_id: str | None = None
    ) -> T:
        """The result of a query in the snapshot's release.

        Raises:
            ValueError: another release is asked for.
        """
        if release_id not in (None, self.served.release_id):
            raise ValueError(f"the snapshot is of {self.served.release_id}, not of {release_id}")
        return query(self.db, self.served)

    def read_rows(self, query: Callable[[RunStatement, ServedRelease], T]) -> T:
        """Runs a query in the snapshot's release."""
        return query(partial(execute, self.db), self.served)

    def releases(self) -> list[Release]:
        """Every release in the snapshot."""
        return all_releases(self.db)

    def close(self) -> None:
        """Does nothing: whoever opened the snapshot closes it."""


@dataclass(frozen=True)
class SourceIds:
    """Rules by which the source writes ids (`source.ids`), by column."""

    rules: dict[str, IdRule] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings | None) -> SourceIds:
        """Takes the rules of ids from the settings; without settings, ids stay as they are."""
        return cls(dict(settings.source.ids)) if settings else cls()

    def normalise(self, column: str, value: object) -> Any:
        """An id as the source's settings write it; any other value as it is."""
        rule = self.rules.get(column)
        return rule.apply(value) if rule is not None and isinstance(value, str) else value

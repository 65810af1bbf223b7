"""Lookups for applications: recommendations of a user, and rows of any published table.

    lookup = Lookup(Settings.load())
    lookup.recommendations("1234", k=5)

It imports only SQLAlchemy, settings and table declarations, so that an application starts quickly.
A lookup reads one snapshot of the store, and so one complete release, while others are published.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from batch_predictions.serving.lookup.lookup_source import LookupSource, SnapshotSource, SourceIds
from batch_predictions.serving.lookup.ranked import (
    ListReader,
    NotPublishedError,
    RankedList,
    lists_of,
)
from batch_predictions.serving.lookup.rows import read_table_rows
from batch_predictions.serving.store.pointer import NoReleaseError
from batch_predictions.serving.store.snapshot import ReadStore, ServedRelease
from batch_predictions.serving.store.store import store_url
from batch_predictions.settings import Settings
from batch_predictions.sources.posted_rows.sign_ups_of_today import PostedUsers

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Lookup", "NoReleaseError", "NotPublishedError"]
T = TypeVar("T")


class Lookup:
    """Looks predictions up in the current release; can be shared by threads."""

    def __init__(
        self,
        store: Settings | str | LookupSource,
        ids: SourceIds | None = None,
        posted_users: PostedUsers | None = None,
    ) -> None:
        """Opens a store, by settings or SQLAlchemy URL; it need not exist yet.

        With settings, ids are written as `source.ids` says before they are looked up, and users
        that were posted to the HTTP service are known.

        Args:
            store: settings, a URL, or a source that is open already.
            ids: how ids are written; None: as the settings say, or as they are.
            posted_users: users that were posted; None: those of the settings, or none.
        """
        if posted_users is None and isinstance(store, Settings):
            posted_users = PostedUsers.of(store)
        self._posted_users = posted_users
        self._ids = ids or SourceIds.of(store if isinstance(store, Settings) else None)
        url = store_url(store) if isinstance(store, Settings) else store
        self._source: LookupSource = ReadStore(url) if isinstance(url, str) else url

    def __enter__(self) -> Lookup:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections to the stores."""
        self._source.close()
        if self._posted_users is not None:
            self._posted_users.close()

    def read(self, query: Callable[[sa.Connection, ServedRelease], T]) -> T:
        """The result of a query in one snapshot of the current release; see `ReadStore.read`."""
        return self._source.read(query)

    def normalise(self, column: str, value: Any) -> Any:
        """An id as the source's settings write it; any other value as it is."""
        return self._ids.normalise(column, value)

    def in_one_snapshot(self, look_up: Callable[[Lookup], T]) -> T:
        """The result of several lookups in one release.

        Args:
            look_up: gets a Lookup, all of whose answers are of one release.
        """
        return self._source.read(
            lambda db, served: look_up(
                Lookup(SnapshotSource(db, served), self._ids, self._posted_users)
            )
        )

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
        user_id = self.normalise("user_id", str(user_id))
        arguments = {"age_bracket": age_bracket, "gender": gender, "location": location}
        return self._source.read_rows(
            lambda run, served: _first_list(
                ListReader(run, served, k, posted_users=self._posted_users), user_id, arguments
            )
        )

    def rows(
        self, table_name: str, *, limit: int | None = None, **key: Any
    ) -> list[dict[str, Any]]:
        """Rows of a published table in the order of its key; see `answer`."""
        rows: list[dict[str, Any]] = self.answer(table_name, limit=limit, **key)["rows"]
        return rows

    def frame(self, table_name: str, *, limit: int | None = None, **key: Any) -> pd.DataFrame:
        """Rows of a published table as a pandas DataFrame, for notebooks; see `answer`."""
        import pandas as pd

        return pd.DataFrame(self.rows(table_name, limit=limit, **key)).convert_dtypes()

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
        values = {name: self.normalise(name, value) for name, value in key.items()}
        return self._source.read(lambda db, served: _answer(db, served, table_name, values, limit))

    def tables(self) -> list[dict[str, Any]]:
        """The tables of the current release: name, partition, key and columns.

        Raises:
            NoReleaseError: nothing has been released yet.
        """
        served = self._source.read(lambda _, served: served)
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
        served = self._source.read(lambda _, served: served)
        return {
            "release_id": served.release_id,
            "as_of": served.as_of.isoformat(),
            "age_days": (today - served.as_of).days,
        }


def _first_list(
    reader: ListReader, user_id: str, arguments: dict[str, str | int | None]
) -> dict[str, object]:
    ranked: RankedList = next(lists_of(reader, user_id, arguments))
    return {
        "user_id": user_id,
        "source": ranked.source,
        "release_id": reader.served.release_id,
        "as_of": reader.served.day_of(ranked.table).isoformat(),
        "model_version": ranked.model_version,
        "segment": ranked.segment,
        "items": [
            {
                "rank": item.rank,
                "item_id": item.item_id,
                "title": item.title,
                "score": item.score,
                "reason": item.reason,
            }
            for item in ranked.items
        ],
    }


def _answer(
    db: sa.Connection,
    served: ServedRelease,
    table_name: str,
    key: dict[str, object],
    limit: int | None,
) -> dict[str, object]:
    rows = read_table_rows(db, served, table_name, key, limit)
    return {
        "release_id": served.release_id,
        "as_of": served.day_of(table_name).isoformat(),
        "partition": served.tables[table_name]["partition"],
        "rows": rows,
    }

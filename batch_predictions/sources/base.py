"""What an adapter of a source is: which raw tables it has, which days, and its rows as read."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import duckdb

from batch_predictions.home import State
from batch_predictions.settings import SettingsError, SourceSettings
from batch_predictions.tables import (
    CAMPAIGN_EVENTS,
    INTERACTIONS,
    INVENTORY,
    ITEMS,
    PROMOTION_CALENDAR,
    PROMOTIONS,
    REVIEWS,
    USERS,
    Table,
)

RAW: tuple[Table, ...] = (
    INTERACTIONS,
    USERS,
    ITEMS,
    REVIEWS,
    PROMOTIONS,
    CAMPAIGN_EVENTS,
    PROMOTION_CALENDAR,
    INVENTORY,
)
"""The tables that a source may have."""

LATEST = dt.date(2100, 1, 1)
"""Rows dated from this day on are refused as implausible."""

ABSENT = "absent"
"""The fingerprint of a table that a source lacks."""


class SourceError(ValueError):
    """A source cannot be read as it is; the message names file, row, column and remedy."""


class SourceExhausted(SourceError):
    """A source with a fixed end has no days beyond it; the message says how to begin again."""


@dataclass(frozen=True)
class Span:
    """The days of a source, found once, on the home's first run."""

    first_day: dt.date
    last_day: dt.date | None
    default_date: dt.date
    shift_days: int = 0


class Source(ABC):
    """An adapter: reads the raw tables of one kind of source, as they are.

    An adapter selects and names columns; what a row must satisfy is checked afterwards, alike for
    all adapters, in `validation`.
    """

    kind: ClassVar[str]
    repeats: ClassVar[bool]
    """Whether users want the same item again: `exclude_seen` is `not repeats` unless set."""
    default_timezone: ClassVar[str] = "UTC"
    exclude_items: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Items that are not goods to recommend: column of raw.items to values."""
    holidays: ClassVar[str] = ""
    """Country whose holidays move demand, such as us; empty: none are known."""
    item_attributes: ClassVar[tuple[str, ...]] = ()
    """Attributes of raw.items that a recommender may read besides category and brand."""
    simulated: ClassVar[frozenset[str]] = frozenset()
    """Names of tables whose rows are made up, and say so."""

    def __init__(self, settings: SourceSettings, state: State | None) -> None:
        self.settings = settings
        self.fixed = state
        self.timezone = state.timezone if state else settings.timezone or self.default_timezone
        if self.timezone not in zoneinfo.available_timezones():
            raise SettingsError(
                f"source.timezone {self.timezone!r} is not a time zone: write one such as "
                "Europe/Berlin or UTC"
            )

    @property
    def state(self) -> State:
        """What the home's first run fixed; an adapter made without it cannot read rows."""
        assert self.fixed is not None, "make the source with the home's state to read rows"
        return self.fixed

    @abstractmethod
    def tables(self) -> tuple[Table, ...]:
        """The raw tables that the source has.

        Raises:
            SourceError: the source is not there, or has neither interactions nor reviews.
        """

    @abstractmethod
    def span(self, today: dt.date) -> Span:
        """The source's days, to be fixed on the home's first run."""

    @abstractmethod
    def newest_complete_day(self, today: dt.date) -> dt.date:
        """The newest day that is in the source and over: yesterday, or older."""

    @abstractmethod
    def extent(self, table: Table) -> tuple[dt.date, dt.date] | None:
        """First and newest readable day of a table with partitions; None where no row has one.

        Of a table that is known ahead, the newest day may lie in the future.
        """

    @abstractmethod
    def fingerprint(self, table: Table) -> str:
        """A text that changes when the table's content, or how it is read, may have changed."""

    @abstractmethod
    def relation(
        self,
        db: duckdb.DuckDBPyConnection,
        table: Table,
        days: Sequence[str] | None,
        limit: int | None = None,
    ) -> str:
        """SQL of the rows to validate; it may name temporary tables made in `db`.

        Columns: the table's own, as read (text or native; those that the source lacks may be
        left out), and
        - `date` DATE (tables with partitions): the partition that counts the row, of a weekly
          table its Monday. A row whose day cannot be read, or is implausible, has its file's
          newest readable day, or the default date. A promotion of several weeks stands in each;
        - `source` and `row_number` BIGINT: file, and row in it, 1 being the first of data;
        - `problem` VARCHAR: why the row has no day or was damaged, null where nothing is wrong;
        - `row`: a struct of the row as read; `line` VARCHAR: the text of a damaged line.

        Args:
            db: connection for temporary views and tables.
            table: one of `tables()`.
            days: partitions wanted of a daily or weekly table; None: all.
            limit: read about so many rows only, for samples.

        Raises:
            SourceError: the table as a whole cannot be read.
            SourceExhausted: days lie beyond the source's last.
        """

    def read_files(self, table: Table) -> list[str]:
        """Names of the files that a table is read from, for reports."""
        return []

    def mapped(self, table: Table) -> dict[str, str]:
        """Contract column to the column of the source that it is read from, for reports."""
        return {}


def last_sunday_before(today: dt.date) -> dt.date:
    """The default day of rows without time: the last Sunday before the first run."""
    return today - dt.timedelta(days=today.weekday() + 1)


def quote_identifier(name: str) -> str:
    """A column's name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(value: object) -> str:
    """A text within single quotes, for what cannot be bound: a relation is SQL without values."""
    return "'" + str(value).replace("'", "''") + "'"


def day_list(days: Sequence[str]) -> str:
    """Partition keys as a list of SQL dates; anything else than dates raises."""
    return ", ".join(f"DATE '{dt.date.fromisoformat(day)}'" for day in days)

"""The contract of source adapters: which raw tables and days a source has, and SQL of its rows."""

from __future__ import annotations

import datetime as dt
import functools
import tempfile
import zoneinfo
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import duckdb

from batch_predictions.core.home import State
from batch_predictions.settings import (
    DuckDBSettings,
    EventTypeSettings,
    SettingsError,
    SourceSettings,
)
from batch_predictions.sources.posted_rows.reader import PostedRows
from batch_predictions.sources.rows.spans import LaterRows, Span
from batch_predictions.sources.validation.event_types import (
    DEFAULT_EVENTS,
    EventTypes,
    resolve_event_types,
)
from batch_predictions.tables import (
    CAMPAIGN_EVENTS,
    FEEDBACK,
    INTERACTIONS,
    INVENTORY,
    ITEMS,
    PROMOTION_CALENDAR,
    PROMOTIONS,
    REVIEWS,
    USER_ALIASES,
    USERS,
    Table,
)

RAW_TABLES: tuple[Table, ...] = (
    INTERACTIONS,
    USER_ALIASES,
    USERS,
    ITEMS,
    REVIEWS,
    PROMOTIONS,
    CAMPAIGN_EVENTS,
    PROMOTION_CALENDAR,
    INVENTORY,
)
"""The tables that a source may have."""
INGESTED_TABLES = (*RAW_TABLES, FEEDBACK)
"""All raw tables that are ingested: those of a source, and what applications post."""

MAX_DATE = dt.date(2099, 12, 31)
"""Rows of later days are refused as implausible."""

ABSENT_FINGERPRINT = "absent"
"""The fingerprint of a table that a source does not have."""
WEEKS_PER_READ = 4
"""Bounds the memory: a week of promotions may have 400,000 rows."""


class SourceError(ValueError):
    """A source cannot be read; the message names the file, row or column, and the remedy."""


class SourceExhaustedError(SourceError):
    """Days after the last day of a source with a fixed end; the message says how to go on."""


@functools.cache
def _timezones() -> set[str]:
    """Names of the time zones; finding them reads 600 files."""
    return zoneinfo.available_timezones()


@dataclass(frozen=True)
class ComparisonWindow:
    """Limits of the ingested partitions that a run compares with the source.

    Attributes:
        late_days: days before the newest one that every run compares.
        reconcile_days: days after which a run compares all partitions; 0: never.
        settings: fingerprint of the settings; all partitions are compared after it has changed.
    """

    late_days: int
    reconcile_days: int
    settings: str


class Source(ABC):
    """Reads the raw tables of one kind of source. To add a kind, write a subclass.

    An adapter is one module, in `sources/adapters/` or in a package that the setting `plugins`
    names, with a subclass that has a `kind` and implements the abstract methods. The registry finds
    it by `source.kind`. For files, subclass `FileSource` (`sources/files/file_source.py`): it needs
    two methods, `files` and `column_sql`. docs/tutorials/own_models.md shows such an adapter.

    An adapter selects rows and names columns, and does not validate: the rows of all adapters are
    validated by the same rules (`sources/validation/`), and refused rows go to the quarantine.

    On the home's first run there is no state yet: `tables` and `span` are called without one. All
    other methods may use `state`.

    Attributes:
        settings: settings of the source.
        home: the home folder, which may not exist yet; None: the source is read without a home.
        limits: limits of the connections that the adapter opens.
        posted: what applications have posted to the home's HTTP service; None: without a home.
        timezone: time zone of the business day.
    """

    kind: ClassVar[str]
    """The value of `source.kind` that selects the adapter."""

    repeat_consumption: ClassVar[bool] = False
    """Whether users take the same item again; the default of `recommendations.exclude_seen` is the
    opposite."""

    events: ClassVar[Mapping[str, EventTypeSettings]] = DEFAULT_EVENTS
    """Types of interactions, unless `source.events` is set."""

    default_timezone: ClassVar[str] = "UTC"
    """Time zone of the business day, unless `source.timezone` is set."""

    exclude_items: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Items that are never recommended, unless `source.exclude_items` is set: column of raw.items
    to values."""

    holiday_country: ClassVar[str] = ""
    """Country whose holidays the demand models use, such as US, unless `demand.holidays` names one;
    empty: no holidays."""

    item_attributes: ClassVar[tuple[str, ...]] = ()
    """Keys of `attributes` of raw.items that recommenders use besides category and brand."""

    simulated_tables: ClassVar[frozenset[str]] = frozenset()
    """Names of tables whose rows are simulated and marked as such."""

    def __init__(self, settings: SourceSettings, state: State | None) -> None:
        self.settings = settings
        self.home: Path | None = None
        self.limits = DuckDBSettings()
        self.posted: PostedRows | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._state = state
        self.timezone = state.timezone if state else settings.timezone or self.default_timezone
        if self.timezone not in _timezones():
            raise SettingsError(
                f"source.timezone {self.timezone!r} is not a time zone: write one such as "
                "Europe/Berlin or UTC"
            )

    @property
    def naive_zone(self) -> str:
        """Time zone of times without an offset: local where `source.timezone` is set, else UTC."""
        default = "local" if self.settings.timezone else "utc"
        return self.timezone if (self.settings.naive_times or default) == "local" else "UTC"

    @property
    def state(self) -> State:
        """The state that the home's first run fixed."""
        assert self._state is not None, "build the source with the home's state to read rows"
        return self._state

    def derived_folder(self, name: str) -> Path:
        """A folder for files that the adapter derives from the source.

        It is in the home, or a temporary folder if the source is read without a home.
        """
        if self.home is not None:
            return self.home / name
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="batch_predictions-")
        return Path(self._scratch.name) / name

    def share_derived_files(self, other: Self) -> Self:
        """Uses the derived files and the limits of another source of the same settings."""
        self.home, self.limits, self._scratch = other.home, other.limits, other._scratch
        return self

    def with_settings(self, **changes: object) -> Self:
        """The source with other settings, over the same derived files."""
        settings = self.settings.model_copy(update=changes)
        return type(self)(settings, self._state).share_derived_files(self)

    @property
    def event_types(self) -> EventTypes:
        """The types of interactions, without `recommendations.exclude_seen`."""
        return resolve_event_types(self.settings.events, self.events, returns=self.settings.returns)

    @abstractmethod
    def tables(self) -> tuple[Table, ...]:
        """The tables of `RAW_TABLES` that the source has.

        Raises:
            SourceError: the source does not exist, or has neither interactions nor reviews.
        """

    @abstractmethod
    def span(self, today: dt.date) -> Span:
        """The days of the source, for the home's first run.

        Raises:
            SourceError: no row has a readable day.
        """

    @abstractmethod
    def newest_complete_day(self, today: dt.date) -> dt.date:
        """The newest day of the source that is over: yesterday, or an older day."""

    @abstractmethod
    def day_range(self, table: Table) -> tuple[dt.date, dt.date] | None:
        """First and newest readable day of a daily or weekly table; None if no row has a day.

        The newest day of a weekly table may lie in the future.
        """

    def later_rows(self, table: Table, last: dt.date) -> LaterRows | None:
        """Rows of the partitions of a daily table after a day; None: none, or it is not known.

        They are ingested once their day is over.
        """
        return None

    @abstractmethod
    def fingerprint(self, table: Table) -> str:
        """A text that changes when the table's content, or the way it is read, may have changed.

        `ABSENT_FINGERPRINT` for a table that the source does not have.
        """

    def day_fingerprints(self, table: Table, days: Sequence[str]) -> dict[str, str]:
        """Texts by day that change when the day's rows, or how they are read, may have changed.

        Override it where changes of a day can be found without reading all rows, such as by the
        number of rows and their newest change: then only changed days are ingested again.

        Args:
            table: the raw table.
            days: partitions of a daily or weekly table; of a snapshot, the day of the ingest.
        """
        return dict.fromkeys(days, self.fingerprint(table))

    def comparison_window(self, table: Table) -> ComparisonWindow | None:
        """Limits of the ingested partitions to compare with the source; None: compare all."""
        return None

    def always_compared(self, table: Table) -> Sequence[str]:
        """Partitions that every run compares although they are not in the comparison window."""
        return ()

    @contextmanager
    def open_partitions(
        self, table: Table, days: Sequence[str], folder: Path
    ) -> Iterator[list[Sequence[str]]]:
        """Prepares the reading of partitions, and yields them in groups that are read together.

        Within the block, `rows_sql` is called once for each group. Groups bound the memory.

        Args:
            table: the raw table.
            days: partitions; of a snapshot, the day of the ingest.
            folder: folder for temporary files, which the caller removes after the block.

        Raises:
            SourceError: the table cannot be read.
        """
        step = WEEKS_PER_READ if table.partition == "week" else len(days)
        yield [days[start : start + step] for start in range(0, len(days), step)]

    @abstractmethod
    def rows_sql(
        self,
        db: duckdb.DuckDBPyConnection,
        table: Table,
        days: Sequence[str] | None,
        limit: int | None = None,
    ) -> str:
        """A query for the rows to validate; it may read temporary tables created in `db`.

        The query returns the table's columns with the values of the source, as text or typed.
        Columns that the source does not have may be left out. It also returns:

        - `date` DATE, for daily and weekly tables: the partition of the row, of a weekly table its
          Monday. A row without a readable and plausible day has the newest readable day of its
          file, or the default date, but no day that was not over when the files were written. A
          promotion of several weeks has one row for each of them.
        - `source` VARCHAR and `row_number` BIGINT: the file, and the row in it, from 1.
        - `problem` VARCHAR: why the row has no day or is damaged, else null.
        - `row` STRUCT: all columns of the row in the source.
        - `line` VARCHAR: the text of a damaged line, else null.
        - `left_out` BOOLEAN, optional: whether a condition of the settings leaves the row out.
        - `birthday` of users, optional: it gives `age_bracket` where the source has none.
        - `unread <column>` VARCHAR, optional: why a value of the column could not be read, else
          null. The value is null then.

        Args:
            db: connection for temporary views and tables.
            table: one of `tables()`.
            days: partitions of a daily or weekly table to return; None: all.
            limit: about how many rows to read, for samples; None: all.

        Raises:
            SourceError: the table cannot be read.
            SourceExhaustedError: a day is after the last day of the source.
        """

    def location(self) -> str | None:
        """Location of the source for reports, without passwords."""
        return str(self.settings.path) if self.settings.path else None

    def file_names(self, table: Table) -> list[str]:
        """Names of the files of a table, for reports."""
        return []

    def column_mapping(self, table: Table) -> dict[str, str]:
        """Column of the raw table to the column of the source that it is read from, for reports."""
        return {}

    def guesses_ids(self, table: Table) -> bool:
        """Returns whether a column is the id of events by a synonym alone.

        It then is the id on days on which no two rows share it: else it is the number of an order.
        """
        return False

    def unused_columns(self, table: Table) -> list[str]:
        """Columns of the source that no column of the raw table is read from, for reports."""
        return []

    def preview(self, name: str, rows: int) -> dict[str, list[str]]:
        """Columns of a file with their texts, without empty ones, for suggestions of settings.

        Args:
            name: of a file, as `file_names` and `unread_files` have it.
            rows: about how many rows to read.

        Raises:
            SourceError: the file cannot be read.
        """
        return {}

    def all_rows(self, db: duckdb.DuckDBPyConnection, names: Sequence[str]) -> str | None:
        """SQL of all readable rows of files of one kind, for suggestions of settings; None: none.

        Besides the files' columns, there is `filename`.

        Args:
            db: connection in which the relation will be read.
            names: of the files, as `unread_files` has them.

        Raises:
            SourceError: a file cannot be read.
        """
        return None

    def guess_encodings(self) -> dict[str, tuple[str, str]]:
        """Encodings of text files that are not UTF-8, and words that are read by them, by name."""
        return {}

    def unread_files(self) -> list[str]:
        """Names of files in the source's folder that belong to no table, for reports."""
        return []


def raw_table(name: str, setting: str) -> Table:
    """The raw table of a name.

    Args:
        name: the name.
        setting: the setting that has it, for the message.

    Raises:
        SourceError: there is no such table.
    """
    tables = {table.name: table for table in RAW_TABLES}
    if name not in tables:
        raise SourceError(
            f"{setting}.{name}: there is no raw table {name}; write one of "
            f"{', '.join(sorted(tables))}"
        )
    return tables[name]

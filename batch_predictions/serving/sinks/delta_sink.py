"""A sink of Delta Lake tables, in a folder or a bucket, that any engine reads.

`<url>/<table>` has the rows of a table, one commit for each release. Tables commit one after the
other; `<url>/releases` then names, in one commit, the version of each that belongs to the release,
so that a reader of these versions sees one release, whole.

An erasure writes the days that have the user again, without a condition that names the user, which
the log would keep. When the next record names versions without the user, the log of the versions
before is removed with their files: commits keep the least and the greatest id of each file.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.core.erasures import ErasedKeys
from batch_predictions.core.object_store import (
    ObjectFolder,
    delta_errors_as,
    delta_options,
    in_threads,
    without_credentials,
)
from batch_predictions.serving.sinks.sink_files import (
    LISTED_IDS,
    ROW_IDS,
    erased_ids,
    open_objects,
    remove_incomplete,
    without_ids,
)
from batch_predictions.serving.sinks.sink_tables import SinkError, SinkTable
from batch_predictions.serving.store.snapshot import ServedRelease
from batch_predictions.settings.sinks_settings import SinkSettings
from batch_predictions.warehouse.path_sql import quote_identifier

if TYPE_CHECKING:
    from deltalake import DeltaTable

RELEASES = "releases"
MARK = "Written by batch_predictions: every release replaces rows."
"""Description of the tables that sinks have made; no other table is changed."""
_RELEASE_ID = "batch_predictions.release_id"
_RECORD = pa.schema(
    [
        pa.field("number", pa.int64(), nullable=False),
        pa.field("release_id", pa.string(), nullable=False),
        pa.field("as_of", pa.date32(), nullable=False),
        pa.field("table_name", pa.string(), nullable=False),
        pa.field("version", pa.int64(), nullable=False),
    ]
)
"""Rows of `releases`: the highest `number` is the release that is served."""


class _RecordedRelease(NamedTuple):
    """The newest release in the table `releases`.

    Attributes:
        number: of its rows, 1 for the first release; 0: there is none.
        release_id: its id; None: there is none.
        as_of: its day.
        versions: version of each table that has its rows, by name.
    """

    number: int
    release_id: str | None
    as_of: dt.date | None
    versions: Mapping[str, int]


@dataclass(frozen=True)
class DeltaSink:
    """Writes releases as Delta Lake tables.

    Attributes:
        settings: the URL, and whether rows of earlier days stay.
    """

    settings: SinkSettings

    @property
    def location(self) -> str:
        """The URL, without credentials."""
        return without_credentials(self.settings.url)

    def write(self, served: ServedRelease, tables: Sequence[SinkTable], *, force: bool) -> bool:
        """Writes a release, unless the tables have it.

        A write that was stopped goes on with the tables that lack the release.

        Args:
            served: the release.
            tables: its tables that the sink gets.
            force: whether it is written even if the tables have it.

        Returns:
            Whether it was written.

        Raises:
            SinkError: the folder or bucket cannot be written.
        """
        with delta_errors_as(SinkError, f"the sink {self.location}"):
            recorded = self._recorded()
            names = {table.name for table in tables}
            is_recorded = recorded.release_id == served.release_id
            if is_recorded and names <= recorded.versions.keys() and not force:
                return False
            versions = {table.name: self._write_table(table, force=force) for table in tables}
            self._record(served.release_id, served.as_of, versions, recorded.number + 1)
            for name in versions:
                # Files of versions that were replaced more than a week ago.
                if (written := self._open(name)) is not None:
                    written.vacuum(dry_run=False)
        return True

    def erase(self, keys: ErasedKeys) -> None:
        """Writes new versions of the tables without the rows of users.

        The versions that have them stay until `remove_old_versions`, for readers of the release.

        Args:
            keys: whose rows are removed.

        Raises:
            SinkError: the folder or bucket cannot be written.
        """
        with delta_errors_as(SinkError, f"the sink {self.location}"):
            for _, table in self._tables():
                _erase_rows(table, keys)

    def remove_old_versions(self) -> None:
        """Removes all versions of the tables but the newest, with their log and their files.

        The record names the newest first: commits of the library, which change no row, follow it.

        Raises:
            SinkError: the folder or bucket cannot be written.
        """
        with delta_errors_as(SinkError, f"the sink {self.location}"):
            number, release_id, as_of, recorded = self._recorded()
            newest = {name: table.version() for name, table in self._tables() if name in recorded}
            if newest != recorded:
                self._record(release_id, as_of, newest, number + 1)
            for name, table in self._tables():
                # The checkpoint has what the commits before it say of the files that are left.
                table.create_checkpoint()
                log, version = f"{name}/_delta_log/", f"{table.version():020d}"
                files = pa.table(table.get_add_actions(flatten=True))["path"].to_pylist()
                kept = {f"{name}/{file}" for file in files} | {f"{log}_last_checkpoint"}
                old = [
                    path
                    for path in self._objects.list(f"{name}/")
                    if path not in kept and not path.startswith(log + version)
                ]
                in_threads(self._objects.delete, old)
            remove_incomplete(self.settings.url)

    @cached_property
    def _objects(self) -> ObjectFolder:
        return open_objects(self.settings.url)

    def _tables(self) -> Iterator[tuple[str, DeltaTable]]:
        """All tables that sinks have made, also of names that the settings no longer have."""
        for name in self._objects.list_level()[0]:
            table = self._load(name)
            if table is not None and table.metadata().description == MARK:
                yield name, table

    def _write_table(self, table: SinkTable, *, force: bool) -> int:
        """Replaces the rows of a table. Returns its version."""
        from deltalake import CommitProperties, write_deltalake

        stored = self._open(table.name)
        release_id = table.served.release_id
        if stored is not None and not force:
            [newest] = stored.history(1)
            if newest.get(_RELEASE_ID) == release_id:
                return stored.version()
        options: dict[str, Any] = {}
        if self.settings.keep == "days" and table.partition and stored is not None:
            options["predicate"] = f"{quote_identifier(table.partition)} = '{table.day}'"
        write_deltalake(
            self._uri(table.name),
            table.reader(),
            description=MARK,
            partition_by=[table.partition] if table.partition else None,
            mode="overwrite",
            schema_mode="merge",
            storage_options=self._options(),
            commit_properties=CommitProperties(custom_metadata={_RELEASE_ID: release_id}),
            **options,
        )
        written = self._open(table.name)
        assert written is not None
        return written.version()

    def _record(
        self,
        release_id: str | None,
        as_of: dt.date | None,
        versions: Mapping[str, int],
        number: int,
    ) -> None:
        from deltalake import write_deltalake

        rows = [
            {
                "number": number,
                "release_id": release_id,
                "as_of": as_of,
                "table_name": name,
                "version": version,
            }
            for name, version in versions.items()
        ]
        write_deltalake(
            self._uri(RELEASES),
            pa.Table.from_pylist(rows, _RECORD),
            description=MARK,
            mode="append",
            storage_options=self._options(),
        )

    def _recorded(self) -> _RecordedRelease:
        table = self._open(RELEASES)
        rows = [] if table is None else table.to_pyarrow_table().to_pylist()
        number = max((row["number"] for row in rows), default=0)
        newest = [row for row in rows if row["number"] == number]
        versions = {row["table_name"]: row["version"] for row in newest}
        first = newest[0] if newest else {}
        return _RecordedRelease(number, first.get("release_id"), first.get("as_of"), versions)

    def _open(self, name: str) -> DeltaTable | None:
        """A table of the sink; None: there is none.

        Raises:
            SinkError: there is a table of the name that no sink has made.
        """
        table = self._load(name)
        if table is not None and table.metadata().description != MARK:
            raise SinkError(
                f"the table {self.location}/{name} was not written by a sink: set another URL"
            )
        return table

    def _load(self, name: str) -> DeltaTable | None:
        from deltalake import DeltaTable

        if not DeltaTable.is_deltatable(self._uri(name), self._options()):
            return None
        return DeltaTable(self._uri(name), storage_options=self._options())

    def _uri(self, name: str) -> str:
        return f"{self.settings.url.rstrip('/')}/{name}"

    def _options(self) -> dict[str, str] | None:
        return delta_options(self.settings.url)


def _erase_rows(table: DeltaTable, keys: ErasedKeys) -> None:
    """Writes the days of a table that have rows of erased users without them, a commit each."""
    from deltalake import write_deltalake

    rows, partitions = table.to_pyarrow_dataset(), table.metadata().partition_columns
    columns = [*{*ROW_IDS, *LISTED_IDS, *partitions} & {*rows.schema.names}]
    days: dict[dt.date | None, pc.Expression | None] = {}
    for batch in rows.to_batches(columns=columns):
        if erased_ids(batch, keys):
            day = batch[partitions[0]][0].as_py() if partitions else None
            days[day] = pc.field(partitions[0]) == day if partitions else None
    for day, condition in days.items():
        batches = rows.to_batches(filter=condition)
        kept = (without_ids(batch, erased_ids(batch, keys)) for batch in batches)
        name = f"{quote_identifier(partitions[0])} = '{day}'" if partitions else None
        write_deltalake(
            table,
            pa.RecordBatchReader.from_batches(rows.schema, kept),
            mode="overwrite",
            predicate=name,
        )

"""A sink of Parquet files by day, in a folder or a bucket, for engines that do not read Delta Lake.

`<url>/<table>/date=YYYY-MM-DD/rows.parquet` has the rows of a day (`week=` for tables of weeks;
`<url>/<table>/rows.parquet` for `items` and `users`). Each file is replaced whole; tables follow
one another, and `<url>/current.json` then names the release and its files.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.core.erasures import ErasedKeys
from batch_predictions.core.object_store import ObjectFolder, without_credentials
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

CURRENT = "current.json"
FILE = "rows.parquet"
MARK = "Written by batch_predictions: every release replaces files."


@dataclass(frozen=True)
class ParquetSink:
    """Writes releases as Parquet files.

    Attributes:
        settings: the URL, and whether rows of earlier days stay.
    """

    settings: SinkSettings

    @property
    def location(self) -> str:
        """The URL, without credentials."""
        return without_credentials(self.settings.url)

    def write(self, served: ServedRelease, tables: Sequence[SinkTable], *, force: bool) -> bool:
        """Writes a release, unless the files are those of it.

        Args:
            served: the release.
            tables: its tables that the sink gets.
            force: whether it is written even if the files are those of it.

        Returns:
            Whether it was written.

        Raises:
            SinkError: the folder or bucket cannot be written, or has files of others.
        """
        current = self._current()
        if (
            current is not None
            and current["release_id"] == served.release_id
            and {table.name for table in tables} <= current["tables"].keys()
            and not force
        ):
            return False
        if current is None:
            for table in tables:
                if self._objects.list(f"{table.name}/"):
                    raise SinkError(
                        f"{self.location}/{table.name} has files that no sink has written: set "
                        "another URL"
                    )
            self._put(None, {})
        kept = {table.name: self._replace(table) for table in tables}
        self._put(served, kept)
        for table in tables:
            for name in {*self._files(table.name)} - {*kept[table.name]}:
                self._objects.delete(name)
        return True

    def erase(self, keys: ErasedKeys) -> None:
        """Writes the files that have rows of users without them.

        Args:
            keys: whose rows are removed.

        Raises:
            SinkError: the folder or bucket cannot be written.
        """
        if self._current() is None:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / FILE
            for name in self._objects.list():
                if not name.endswith(f"/{FILE}") or not self._objects.download(name, path):
                    continue
                with pq.ParquetFile(path) as file:
                    columns = [*{*ROW_IDS, *LISTED_IDS} & {*file.schema_arrow.names}]
                    if any(erased_ids(b, keys) for b in file.iter_batches(columns=columns)):
                        rows = (without_ids(b, erased_ids(b, keys)) for b in file.iter_batches())
                        self._upload(file.schema_arrow, rows, name)

    def remove_old_versions(self) -> None:
        """Removes parts of files that killed writes have left; files are replaced whole."""
        remove_incomplete(self.settings.url)

    @cached_property
    def _objects(self) -> ObjectFolder:
        return open_objects(self.settings.url)

    def _current(self) -> dict[str, Any] | None:
        """The record of the release that the files are of; None: nothing was written yet."""
        found = self._objects.get(CURRENT)
        if found is None:
            return None
        try:
            current: dict[str, Any] = json.loads(found[0])
            if current["written_by"] == MARK:
                return current
        except (ValueError, TypeError, KeyError):
            pass
        raise SinkError(f"{self.location}/{CURRENT} was not written by a sink: set another URL")

    def _put(self, served: ServedRelease | None, files: dict[str, list[str]]) -> None:
        current = {
            "written_by": MARK,
            "release_id": served.release_id if served else None,
            "as_of": served.as_of.isoformat() if served else None,
            "tables": files,
        }
        self._objects.put(CURRENT, json.dumps(current, indent=1).encode())

    def _replace(self, table: SinkTable) -> list[str]:
        """Writes the file of the release's day. Returns the names of the files that stay."""
        folder = f"{table.name}/{table.partition}={table.day}" if table.partition else table.name
        name = f"{folder}/{FILE}"
        # The folder has the day.
        schema = pa.schema([field for field in table.schema if field.name != table.partition])
        batches = (batch.select(schema.names) for batch in table.reader())
        self._upload(schema, batches, name)
        if table.partition and self.settings.keep == "days":
            return self._files(table.name)
        return [name]

    def _files(self, table: str) -> list[str]:
        """The names of a table's files; others of its folder are not a sink's."""
        return sorted(n for n in self._objects.list(f"{table}/") if n.endswith(f"/{FILE}"))

    def _upload(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch], name: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / FILE
            with pq.ParquetWriter(path, schema, compression="zstd") as writer:
                for batch in batches:
                    writer.write_batch(batch)
            self._objects.upload(path, name)

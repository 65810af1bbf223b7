"""The base class of adapters that read files."""

from __future__ import annotations

import datetime as dt
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar
from zoneinfo import ZoneInfo

import duckdb

from batch_predictions.core.home import State
from batch_predictions.settings import SourceSettings
from batch_predictions.sources.base import ABSENT_FINGERPRINT, RAW_TABLES, SourceError
from batch_predictions.sources.files.formats import read_files
from batch_predictions.sources.files.object_cache import ObjectCache, validate_url
from batch_predictions.sources.files.patterns import FileFormat, format_of
from batch_predictions.sources.files.prepared_folder import (
    guess_encodings,
    prepare_folder,
    validate_encodings,
)
from batch_predictions.sources.rows.file_rows import FILE_NAME, LINE_ERROR, FileRows
from batch_predictions.sources.rows.fingerprints import hash_json, reading_settings
from batch_predictions.sources.rows.row_filters import validate_conditions
from batch_predictions.sources.rows.row_groups import Interpretation, RowGroup, interpret_rows
from batch_predictions.sources.rows.sandbox import connect_memory
from batch_predictions.sources.rows.tabular_source import TabularSource, column_texts
from batch_predictions.tables import Table
from batch_predictions.warehouse.path_sql import quote_identifier


class FileSource(TabularSource):
    """Reads a folder of files, `source.path`. An adapter implements `files` and `column_sql`.

    Parquet files and delimited text with a header are read by default; for other formats override
    `read_rows`. Days, weeks, damaged lines and fingerprints are the same for all adapters of files.
    """

    unpacks_archives: ClassVar[bool] = False
    """True if the adapter reads files in zip archives."""

    def __init__(self, settings: SourceSettings, state: State | None) -> None:
        super().__init__(settings, state)
        self._copied: Path | None = None
        self._prepared: Path | None = None
        self._other_objects: list[str] = []
        validate_conditions(settings.where)
        validate_encodings(settings.encoding)

    @abstractmethod
    def files(self, table: Table) -> list[Path]:
        """The files of a raw table in a fixed order; empty if the source does not have the table.

        They must be in `folder`, and of one format.
        """

    @abstractmethod
    def column_sql(self, table: Table, types: dict[str, str]) -> dict[str, str]:
        """Column of the raw table to a SQL expression over the files' columns.

        Values keep their text or type; they are converted and validated afterwards. A daily table
        needs a `date` or its timestamp (`occurred_at`, `written_at`): without both, all rows belong
        to the default date.

        Args:
            table: the raw table.
            types: DuckDB types of the files' columns; delimited text is VARCHAR.
        """

    def read_rows(self, db: duckdb.DuckDBPyConnection, table: Table, limit: int | None) -> FileRows:
        """The rows of a table's files.

        Args:
            db: connection in which the relation will be read.
            table: the raw table; the source has it.
            limit: about how many rows to read; None: all.

        Raises:
            SourceError: a file cannot be read.
        """
        paths = self.files(table)
        format_: FileFormat = "parquet" if paths[0].suffix == ".parquet" else "csv"
        return read_files(db, self.folder, paths, format_, limit)

    def missing_files_message(self) -> str:
        """The error message if the folder has neither interactions nor reviews."""
        return (
            f"{self.folder} has no files of interactions or reviews that source.kind {self.kind} "
            "reads: set source.path to their folder"
        )

    @property
    def folder(self) -> Path:
        """The folder of the files; of a URL, of archives and of other encodings, that of a copy.

        The copy is made once.

        Raises:
            SourceError: `source.path` is not set, is not a folder, or cannot be downloaded; or its
                files cannot be unpacked or decoded.
        """
        if self._prepared is None:
            folder = self._find_folder()
            key = hash_json([str(folder)])[:12]
            target = self.derived_folder("source_files") / key
            prepared = prepare_folder(
                folder, self.settings.encoding, target, unpack=self.unpacks_archives
            )
            self._prepared = prepared.absolute()
        return self._prepared

    def _find_folder(self) -> Path:
        """The folder of the setting, or of the local copy of a URL."""
        path = self.settings.path
        if path is None:
            raise SourceError(
                f"source.kind is {self.kind}: set source.path to the folder of its files"
            )
        if isinstance(path, str):
            return self._download(path)
        if not path.is_dir():
            raise SourceError(
                f"source.path {path.absolute()} is not a folder: set it to the folder of the files"
            )
        return path.absolute()

    def guess_encodings(self) -> dict[str, tuple[str, str]]:
        """Encodings of text files that are not UTF-8, and words that are read by them."""
        return guess_encodings(self.folder, self.settings.encoding)

    def is_wanted(self, name: str) -> bool:
        """Returns whether a URL's file is downloaded; `name` is relative to the URL."""
        return True

    def remote_names(self) -> list[str] | None:
        """Names of the files of a web server, which cannot list them; None if they are listed."""
        return None

    def _download(self, url: str) -> Path:
        if self._copied is None:
            validate_url(url)
            key = hash_json([url, self.settings.endpoint])[:12]
            folder = self.derived_folder("source_cache") / key
            cache = ObjectCache(url, folder, self.settings.endpoint)
            names = self.remote_names() if url.startswith("http") else None
            self._other_objects = cache.update(self.is_wanted, names)
            self._copied = cache.files.absolute()
        return self._copied

    def tables(self) -> tuple[Table, ...]:
        """The raw tables that have files."""
        tables = tuple(table for table in RAW_TABLES if self.files(table))
        if not {"interactions", "reviews"} & {table.name for table in tables}:
            raise SourceError(self.missing_files_message())
        return tables

    def row_groups(
        self, db: duckdb.DuckDBPyConnection, table: Table, limit: int | None
    ) -> list[RowGroup]:
        """The rows of a table by group of files that are read in the same way.

        Args:
            db: connection in which the relations will be read.
            table: the raw table; the source has it.
            limit: about how many rows of each group to read; None: all.
        """
        rows = self.read_rows(db, table, limit)
        columns = self.column_sql(table, rows.types)
        return [interpret_rows(db, table, rows, columns, Interpretation.of(self.settings, table))]

    def _last_day_over(self, table: Table) -> dt.date | None:
        """The last day that was over when the newest file was written; see `DayRules`."""
        written_at = max((path.stat().st_mtime for path in self.files(table)), default=None)
        if written_at is None:
            return None
        day = dt.datetime.fromtimestamp(written_at, ZoneInfo(self.timezone)).date()
        return day - dt.timedelta(days=1)

    def file_names(self, table: Table) -> list[str]:
        """Names of a table's files, relative to the folder."""
        return [str(path.relative_to(self.folder)) for path in self.files(table)]

    def preview(self, name: str, rows: int) -> dict[str, list[str]]:
        """Columns of a file with their texts, without empty ones."""
        path = self.folder / name
        format_ = format_of(name)
        if format_ is None or not path.is_file():
            return {}
        with connect_memory() as db:
            read = read_files(db, self.folder, [path], format_, rows)
            return column_texts(db, read)

    def all_rows(self, db: duckdb.DuckDBPyConnection, names: Sequence[str]) -> str | None:
        """SQL of all readable rows of files of one kind."""
        format_ = format_of(names[0])
        if format_ is None:
            return None
        rows = read_files(db, self.folder, [self.folder / name for name in names], format_, None)
        columns = ", ".join(map(quote_identifier, rows.types))
        named = "" if "filename" in rows.types else f", {FILE_NAME} as filename"
        return f"(select {columns}{named} from {rows.relation} where {LINE_ERROR} is null)"

    def unread_files(self) -> list[str]:
        """Visible files in the folder that belong to no table, relative to it, by name."""
        read = {path for table in RAW_TABLES for path in self.files(table)}
        names = (
            path.relative_to(self.folder) for path in self.folder.rglob("*") if path not in read
        )
        unread = [
            str(name)
            for name in names
            if (self.folder / name).is_file() and not any(part[0] in "._" for part in name.parts)
        ]
        return sorted([*unread, *self._other_objects])

    def fingerprint(self, table: Table) -> str:
        """A hash of the files' names, sizes and times, and of the settings that concern them."""
        paths = self.files(table)
        if not paths:
            return ABSENT_FINGERPRINT
        hashed = reading_settings(self, table)
        for path, name in zip(paths, self.file_names(table), strict=True):
            stat = path.stat()
            hashed.append((name, stat.st_size, stat.st_mtime_ns))
        return hash_json(hashed)

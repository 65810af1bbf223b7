"""The index of the days in each file of a daily table: `<home>/ingests/<table>.files.json`.

A file is read for the index only when it is new or has changed. So a new file, or a row that is
appended to one, makes only the days due whose rows are not as before, and a day is read only from
the files that have rows of it. A file with other names of columns makes all of its days due.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
from pydantic import BaseModel, ValidationError

from batch_predictions.core.durability import atomic_write
from batch_predictions.settings import DuckDBSettings
from batch_predictions.sources.files.mapped_groups import MappedGroup
from batch_predictions.sources.files.parquet_files import verify_row_count
from batch_predictions.sources.rows.daily_rows import dated_rows_sql
from batch_predictions.sources.rows.file_rows import FILE_NAME, LINE_TEXT
from batch_predictions.sources.rows.fingerprints import hash_json
from batch_predictions.sources.rows.row_groups import Interpretation, RowGroup, interpret_rows
from batch_predictions.sources.rows.sandbox import as_source_errors, connect_memory
from batch_predictions.sources.validation.plausible_days import last_plausible_day
from batch_predictions.sources.validation.timestamps import DayRules
from batch_predictions.tables import Table
from batch_predictions.warehouse.path_sql import quote_identifier

_BYTES_PER_READ = 256 << 20
"""Files that are read together for the index; a larger file is read alone."""

INDEX_VERSION = 2
"""Of the fields of the index: one of another version is made again."""

RowsHash = tuple[int, str]
"""A number of rows, and the sum of their hashes."""
_Counted = tuple[str, str | None, int, str, int]


class IndexedFile(BaseModel):
    """The entry of a file in the index: its days, columns, and how it was read.

    Attributes:
        signature: changes when the file changes.
        columns: its columns, with their DuckDB types.
        header: hash of the names of its columns; empty in an index from before these counted, as
            long as the names stay as they were.
        reading: hash of how its columns are read.
        days: its rows by readable day.
        undated: its rows without a readable day.
        left_out: how many of its rows a condition leaves out, by readable day; those without one
            under the empty text.
    """

    signature: list[int | str]
    columns: dict[str, str]
    header: str = ""
    reading: str = ""
    days: dict[str, RowsHash] = {}
    undated: RowsHash = (0, "0")
    left_out: dict[str, int] = {}

    def count_days(self) -> dict[str, int]:
        """Counts the file's rows by readable day, without those that a condition leaves out."""
        left_out = self.left_out
        kept = {day: rows - left_out.get(day, 0) for day, (rows, _) in self.days.items()}
        return {day: rows for day, rows in kept.items() if rows}

    def count_undated(self) -> int:
        """Counts the file's rows without a readable day, less those that a condition leaves out."""
        return self.undated[0] - self.left_out.get("", 0)

    def newest_day(self, first_day: str, last_day: str, default_date: str) -> str:
        """The partition of rows without a readable day, or of days before the home's first.

        It is the file's newest day up to `last_day`, or the default date.

        Args:
            first_day: the home's first day, an ISO date.
            last_day: the last day that is not far after the others, an ISO date.
            default_date: the day of files without such a day, an ISO date.
        """
        days = (day for day in self.count_days() if first_day <= day <= last_day)
        return max(days, default=default_date)


class FileIndex(BaseModel):
    """The index of a table.

    Attributes:
        settings: hash of the settings that decide how its files are read.
        last_day_over: of `DayRules`.
        files: by name.
    """

    settings: str
    last_day_over: dt.date | None = None
    files: dict[str, IndexedFile] = {}

    def count_days(self) -> dict[dt.date, int]:
        """Rows of all files by readable day, without those that a condition leaves out."""
        counts: Counter[str] = Counter()
        for file in self.files.values():
            counts.update(file.count_days())
        return {dt.date.fromisoformat(day): rows for day, rows in counts.items()}

    def count_partitions(self, first_day: dt.date, default_date: dt.date) -> dict[dt.date, int]:
        """Rows of all files by partition, without those that a condition leaves out."""
        counts: Counter[str] = Counter()
        for file, newest in self._newest_days(first_day, default_date):
            for day, rows in file.count_days().items():
                counts[day if day >= str(first_day) else newest] += rows
            counts[newest] += file.count_undated()
        return {dt.date.fromisoformat(day): rows for day, rows in counts.items() if rows}

    def last_day(self) -> dt.date | None:
        """The last day that is not far after the others: `DayRules.last_day`."""
        return last_plausible_day(self.count_days())

    def fingerprints(
        self, days: Sequence[str], first_day: dt.date, default_date: dt.date
    ) -> dict[str, str]:
        """Hashes the rows of each day, and how they are read.

        Args:
            days: ISO dates.
            first_day: the home's first day.
            default_date: the day of rows of files without any day.
        """
        hashed: dict[str, list[object]] = {day: [] for day in days}
        for name, parts in self._parts_by_file(first_day, default_date):
            for day, rows in parts.items():
                if day in hashed:
                    file = self.files[name]
                    header = [file.header] if file.header else []
                    hashed[day].append((name, file.reading, rows, *header))
        return {day: hash_json([self.settings, part]) for day, part in hashed.items()}

    def files_of(
        self, days: Iterable[str], first_day: dt.date, default_date: dt.date
    ) -> frozenset[str]:
        """Names the files that have rows of one of the days.

        Args:
            days: ISO dates.
            first_day: the home's first day.
            default_date: the day of rows of files without any day.
        """
        wanted = set(days)
        parts_by_file = self._parts_by_file(first_day, default_date)
        return frozenset(name for name, parts in parts_by_file if wanted & parts.keys())

    def _parts_by_file(
        self, first_day: dt.date, default_date: dt.date
    ) -> Iterator[tuple[str, dict[str, list[RowsHash]]]]:
        """The rows of each file by partition, as the ingest divides them; by name of the file."""
        names = sorted(self.files)
        for name, (file, newest) in zip(
            names, self._newest_days(first_day, default_date), strict=True
        ):
            parts: dict[str, list[RowsHash]] = {}
            for day, rows in file.days.items():
                parts.setdefault(day if day >= str(first_day) else newest, []).append(rows)
            if file.undated[0]:
                parts.setdefault(newest, []).append(file.undated)
            yield name, parts

    def _newest_days(
        self, first_day: dt.date, default_date: dt.date
    ) -> Iterator[tuple[IndexedFile, str]]:
        """The files in the order of their names, with the partition of their undated rows."""
        last_day, last_over = self.last_day() or default_date, self.last_day_over
        if last_over is None or last_over < first_day:
            last_over = dt.date.max
        for _, file in sorted(self.files.items()):
            newest = file.newest_day(str(first_day), str(last_day), str(default_date))
            yield file, min(newest, str(last_over))

    def types_of(self, group: MappedGroup) -> dict[str, str]:
        """Columns of all files of a group; of different types, that of the first file."""
        types: dict[str, str] = {}
        names: set[str] = set()
        for path in group.files.paths:
            for name, type_ in self.files[group.name_of(path)].columns.items():
                if name.lower() not in names:
                    names.add(name.lower())
                    types[name] = type_
        return types


@dataclass(frozen=True)
class IndexSettings:
    """The settings that decide how the files of a table are read.

    Attributes:
        fingerprint: hash of the settings.
        rules: how rows get their day; without a first day.
        interpretation: how values are read.
        limits: limits of the connections that read the files.
    """

    fingerprint: str
    rules: DayRules
    interpretation: Interpretation
    limits: DuckDBSettings


def update_index(
    home: Path, table: Table, groups: Sequence[MappedGroup], settings: IndexSettings
) -> FileIndex:
    """Updates the index of a table to its files as they are now, and returns it.

    Args:
        home: the home folder, which keeps the index.
        table: a daily table.
        groups: the table's files as they are now.
        settings: how the files are read; an index of other settings is made anew.

    Raises:
        SourceError: a file cannot be read.
    """
    path, spill = home / "ingests" / f"{table.name}.files.json", home / "ingests" / ".spill"
    old = _read_index(path, settings.fingerprint)
    index = FileIndex(settings=settings.fingerprint, last_day_over=settings.rules.last_day_over)
    for group in groups:
        for file in group.files.paths:
            name, signature = group.name_of(file), group.signature_of(file)
            known = old.files.get(name)
            if known is None or known.signature != signature:
                # The signature is taken first: a file that changes meanwhile is read again.
                with as_source_errors(name), connect_memory(settings.limits, spill) as db:
                    types = group.read(db, 1, [file]).types
                is_as_before = known and not known.header and [*known.columns] == [*types]
                header = "" if is_as_before else hash_json([*types])
                known = IndexedFile(signature=signature, columns=types, header=header)
            index.files[name] = known
    settings.interpretation.require_columns(
        table, {name for group in groups for name in group.columns(index.types_of(group))}
    )
    for group in groups:
        _index_group(table, group, index, settings, spill)
    if index != old:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, index.model_dump_json())
    return index


def _read_index(path: Path, fingerprint: str) -> FileIndex:
    """The stored index; an empty one if there is none, or files are read in another way now."""
    if path.exists():
        try:
            index = FileIndex.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (ValidationError, ValueError):
            index = FileIndex(settings="")  # of another version: it is made again
        if index.settings == fingerprint:
            return index
    return FileIndex(settings=fingerprint)


def _index_group(
    table: Table,
    group: MappedGroup,
    index: FileIndex,
    settings: IndexSettings,
    spill: Path,
) -> None:
    """Reads the files of a group that have changed, or are read in another way than before."""
    types = index.types_of(group)
    columns = group.columns(types)
    interpretation = settings.interpretation.of_entry(group.files.entry, columns)
    # Rows of a home whose ids were guessed before may have been refused: they are read again.
    guess = ["guessed id"] if group.guesses_id(types) else []
    reading = hash_json([columns, repr(interpretation), *guess])
    due: dict[tuple[tuple[str, str], ...], list[Path]] = {}
    for path in group.files.paths:
        file = index.files[group.name_of(path)]
        if file.reading != reading:
            due.setdefault(tuple(file.columns.items()), []).append(path)
    for own_types, paths in due.items():
        for batch in _batches(paths):
            with as_source_errors(table.name), connect_memory(settings.limits, spill) as db:
                rows = group.read(db, None, batch, types)
                row_group = interpret_rows(db, table, rows, columns, interpretation)
                counted = _count_rows(db, table, row_group, own_types, settings.rules)
            for path in batch:
                name = group.name_of(path)
                _set_days(index, name, reading, counted)
                if group.files.format == "parquet":
                    verify_row_count(path, name, sum(row[2] for row in counted if row[0] == name))


def _count_rows(
    db: duckdb.DuckDBPyConnection,
    table: Table,
    group: RowGroup,
    own_types: Sequence[tuple[str, str]],
    rules: DayRules,
) -> list[_Counted]:
    """Counts and hashes the rows of each file by readable day, and counts those left out.

    A hash is of the file's own columns: it does not change with a new column of another file.
    """
    dated = dated_rows_sql(db, table, group.rows, group.columns, rules)
    fields = ", ".join([*(quote_identifier(name) for name, _ in own_types), LINE_TEXT])
    counted: list[_Counted] = db.execute(
        f"select {FILE_NAME}, case when __problem is null then __day end::VARCHAR as day, "
        f"count(*)::BIGINT, sum(hash({fields}))::VARCHAR, "
        f"count(*) filter ({group.rows.left_out})::BIGINT "
        f"from ({dated}) group by all order by all"
    ).fetchall()
    return counted


def _set_days(index: FileIndex, name: str, reading: str, counted: Sequence[_Counted]) -> None:
    rows = [row for row in counted if row[0] == name]
    index.files[name] = index.files[name].model_copy(
        update={
            "reading": reading,
            "days": {day: (number, hash_) for _, day, number, hash_, _ in rows if day},
            "undated": next(((n, hash_) for _, day, n, hash_, _ in rows if not day), (0, "0")),
            "left_out": {day or "": left_out for _, day, _, _, left_out in rows if left_out},
        }
    )


def _batches(paths: Sequence[Path]) -> Iterable[list[Path]]:
    """Files that are read together."""
    batch: list[Path] = []
    size = 0
    for path in paths:
        bytes_of_file = path.stat().st_size
        if batch and size + bytes_of_file > _BYTES_PER_READ:
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += bytes_of_file
    if batch:
        yield batch

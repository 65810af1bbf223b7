"""Queries over a source's files, from the setting `source.queries`.

A query runs in a sandbox that can read the source's folder. Its result is kept as a Parquet file,
which is read like a file of the source.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from batch_predictions.settings import DuckDBSettings
from batch_predictions.sources.base import SourceError, raw_table
from batch_predictions.sources.files.content import verify_gzip
from batch_predictions.sources.files.csv_scan import SwallowedLinesError
from batch_predictions.sources.files.delimited import read_delimited, sniff_dialect
from batch_predictions.sources.files.listing import refuse_outside
from batch_predictions.sources.files.patterns import format_of, is_pattern
from batch_predictions.sources.rows.fingerprints import hash_json
from batch_predictions.sources.rows.sandbox import (
    SandboxError,
    connect_memory,
    connect_sandbox,
    is_file_name,
    parse_select,
)
from batch_predictions.warehouse.path_sql import escape_pattern, join_pattern

_BATCH_ROWS = 50_000
_KEPT_RESULTS = 2
"""Results of a table that are kept: a reader of the previous one may not be done."""


def validate_queries(queries: Mapping[str, str]) -> None:
    """Checks the tables and the SQL of the setting `source.queries`.

    Raises:
        SourceError: a table is unknown, or a query is not one SELECT.
    """
    for table_name, sql in queries.items():
        raw_table(table_name, "source.queries")
        _parse(table_name, sql)


def paths_in_query(table_name: str, sql: str) -> list[str]:
    """Texts of a query that may be paths or patterns of files."""
    return [name for _, _, name in _path_nodes(_parse(table_name, sql))]


@dataclass(frozen=True)
class SourceQuery:
    """A query of a raw table over the files of a folder.

    Attributes:
        table: name of the raw table.
        sql: the SELECT.
        folder: the source's folder, to which paths are relative.
    """

    table: str
    sql: str
    folder: Path

    def files(self) -> list[Path]:
        """The files that the query reads, by name.

        Raises:
            SourceError: a pattern of the query fits no file, or a link leads out of the folder.
        """
        paths = {path for name in self._names() for path in self._match(name)}
        refuse_outside(self.folder, paths)
        return sorted(paths)

    def result(self, results: Path, limits: DuckDBSettings) -> Path:
        """The Parquet file of the result; the query runs only if its files have changed.

        Args:
            results: folder of the results.
            limits: limits of the query's connection.

        Raises:
            SourceError: the query cannot be run.
        """
        target = results / f"{self.table}-{self.fingerprint()}.parquet"
        if target.exists():
            return target
        results.mkdir(parents=True, exist_ok=True)
        draft = results / f".{target.name}-{uuid.uuid4().hex}"
        try:
            self._write(draft, limits)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
        older = sorted(
            results.glob(f"{self.table}-*.parquet"), key=lambda path: path.stat().st_mtime
        )
        for path in older[:-_KEPT_RESULTS]:
            path.unlink(missing_ok=True)
        return target

    def fingerprint(self) -> str:
        """A hash of the query and of the names, sizes and times of its files."""
        hashed: list[object] = [self.sql]
        for path in self.files():
            stat = path.stat()
            hashed.append((str(path.relative_to(self.folder)), stat.st_size, stat.st_mtime_ns))
        return hash_json(hashed)

    def _write(self, draft: Path, limits: DuckDBSettings) -> None:
        import pyarrow.parquet as pq

        for path in self.files():
            verify_gzip(path, str(path.relative_to(self.folder)))
            if format_of(path.name) == "csv" and "quote" not in self.sql.lower():
                self._refuse_swallowed_lines(path, draft.parent / ".spill", limits)
        try:
            with connect_sandbox(self.folder, draft.parent / ".spill", limits) as db:
                reader = db.sql(self._absolute_sql()).to_arrow_reader(_BATCH_ROWS)
                with pq.ParquetWriter(draft, reader.schema, compression="zstd") as writer:
                    for batch in reader:
                        writer.write_batch(batch)
        except (duckdb.Error, ValueError, OSError) as error:
            reason = str(error).split("\n\n")[0]
            for folder in (str(self.folder), escape_pattern(self.folder)):
                reason = reason.replace(f"{folder}/", "")
            raise SourceError(
                f"source.queries.{self.table} cannot be run: {reason}\nThe query is: {self.sql}"
            ) from error

    def _refuse_swallowed_lines(self, path: Path, spill: Path, limits: DuckDBSettings) -> None:
        """Raises SwallowedLinesError for a file in which two quotes swallow rows, as DuckDB reads.

        Whatever else is unusual in it, the query may read.
        """
        with connect_memory(limits, spill) as db:
            try:
                dialect = sniff_dialect(path, str(path.relative_to(self.folder)))
                read_delimited(db, self.folder, [(path, dialect)])
            except SwallowedLinesError:
                raise
            except SourceError:
                return

    def _absolute_sql(self) -> str:
        """The query with absolute paths: the connection refuses relative ones."""
        tree = _parse(self.table, self.sql)
        for node, key, name in _path_nodes(tree):
            if key == "table_name" and is_file_name(name):
                path = self._absolute_pattern(name)
                node |= {"table_name": path, "qualified_name": {"path": [path]}}
            elif key == "text" and self._match_or_none(name):
                node[key] = self._absolute_pattern(name)
        with duckdb.connect() as db:
            row = db.execute("select json_deserialize_sql($1::JSON)", [json.dumps(tree)]).fetchone()
        assert row is not None
        return str(row[0])

    def _absolute_pattern(self, name: str) -> str:
        """A path or pattern of the query, absolute; of a file's own name, `[` is no wildcard."""
        relative = name.removeprefix(f"{self.folder}/")
        if is_pattern(name) and (self.folder / relative).is_file():
            return escape_pattern(self.folder / relative)
        return join_pattern(self.folder, relative)

    def _names(self) -> list[str]:
        """Paths and patterns in the query."""
        return [
            name
            for _, key, name in _path_nodes(_parse(self.table, self.sql))
            if (is_file_name(name) if key == "table_name" else self._match_or_none(name))
        ]

    def _match(self, name: str) -> list[Path]:
        paths = self._match_or_none(name)
        if not paths:
            names = sorted(path.name for path in self.folder.iterdir() if path.name[0] != ".")
            raise SourceError(
                f"source.queries.{self.table} reads {name!r}, but {self.folder} has no such file; "
                f"it has: {', '.join(names[:10]) or 'no files'}"
            )
        return paths

    def _match_or_none(self, name: str) -> list[Path]:
        """Files of the folder that a path or pattern fits."""
        relative = name.removeprefix(f"{self.folder}/")
        if not relative or relative.startswith("/") or ".." in Path(relative).parts:
            return []
        try:
            if (self.folder / relative).is_file():
                return [self.folder / relative]
            return [path for path in self.folder.glob(relative) if path.is_file()]
        except (ValueError, NotImplementedError, OSError):
            return []  # The text is no path, or is too long for one.


def _parse(table_name: str, sql: str) -> dict[str, object]:
    """The syntax tree of a query.

    Raises:
        SourceError: it is not one SELECT over files of the source.
    """
    try:
        return parse_select(sql)
    except SandboxError as error:
        raise SourceError(f"source.queries.{table_name}: {error}. The query is: {sql}") from error


def _path_nodes(tree: object) -> Iterator[tuple[dict[str, object], str, str]]:
    """Nodes of the syntax tree that may name files: the node, its key and the text.

    These are names of tables, and texts in the arguments of table functions such as read_csv.
    """
    if isinstance(tree, list):
        for item in tree:
            yield from _path_nodes(item)
    elif isinstance(tree, dict):
        if tree.get("type") == "BASE_TABLE" and not tree.get("schema_name"):
            yield tree, "table_name", tree["table_name"]
        if tree.get("type") == "TABLE_FUNCTION":
            yield from _texts(tree.get("function"))
        for item in tree.values():
            yield from _path_nodes(item)


def _texts(tree: object) -> Iterator[tuple[dict[str, object], str, str]]:
    if isinstance(tree, list):
        for item in tree:
            yield from _texts(item)
    elif isinstance(tree, dict):
        if tree.get("kind") == "STRING":
            yield tree, "text", tree["text"]
        for item in tree.values():
            yield from _texts(item)

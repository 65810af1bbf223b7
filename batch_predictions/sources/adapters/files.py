"""A folder of Parquet or CSV files: your own data, columns mapped to the contract by settings.

For each raw table X the folder may hold `X.parquet`, `X.csv`, `X.tsv` (or `.csv.gz`, `.tsv.gz`), or
a folder `X/` of such files; at least interactions or reviews. Columns of users and items that are
not mapped go to `attributes`.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import duckdb

from batch_predictions.home import State
from batch_predictions.settings import SourceSettings
from batch_predictions.sources.base import SourceError, quote_identifier, quote_literal
from batch_predictions.sources.delimited import (
    DAMAGE,
    FILE,
    LINE,
    ROW,
    DelimitedFile,
    read_delimited,
    sniff,
)
from batch_predictions.sources.file_source import FileSource
from batch_predictions.sources.validation.column_mapping import (
    HEADLINE,
    check_mapping,
    match_columns,
)
from batch_predictions.tables import Table

PARQUET, TEXT = (".parquet",), (".csv", ".tsv", ".csv.gz", ".tsv.gz")


class FilesSource(FileSource):
    """Files named for the raw tables, in `source.path`."""

    kind: ClassVar[str] = "files"
    repeats: ClassVar[bool] = False

    def __init__(self, settings: SourceSettings, state: State | None) -> None:
        super().__init__(settings, state)
        check_mapping(settings.columns)

    def nothing_found(self) -> str:
        """What was looked for."""
        there = sorted(path.name for path in self.folder.iterdir() if path.name[0] != ".")
        return (
            f"{self.folder} has neither interactions nor reviews: write interactions.parquet or "
            "interactions.csv (.tsv, .gz), or a folder interactions/ of such files, or the same "
            f"for reviews; it holds: {', '.join(there[:10]) or 'nothing'}"
        )

    def files(self, table: Table) -> list[Path]:
        """The table's files: one, or those of its folder, ordered by name.

        Raises:
            SourceError: there are several forms of the table, or its folder has no files.
        """
        single = [self.folder / f"{table.name}{suffix}" for suffix in (*PARQUET, *TEXT)]
        found = [[path] for path in single if path.is_file()]
        folder = self.folder / table.name
        if folder.is_dir():
            for suffixes in (PARQUET, TEXT):
                inside = sorted(
                    path
                    for path in folder.rglob("*")
                    if path.name.endswith(suffixes) and path.is_file() and _visible(path, folder)
                )
                found += [inside] if inside else []
            if not found:
                raise SourceError(
                    f"{folder} has no .parquet, .csv or .tsv file: write one, or remove the folder"
                )
        if len(found) > 1:
            names = " and ".join(str(each[0].relative_to(self.folder)) for each in found)
            raise SourceError(
                f"{self.folder} holds raw.{table.name} more than once ({names}): keep one form"
            )
        return found[0] if found else []

    def read(self, db: duckdb.DuckDBPyConnection, table: Table, limit: int | None) -> DelimitedFile:
        """The rows of a table's files; CSV goes through temporary tables."""
        files = self.files(table)
        for path in files:
            if path.stat().st_size == 0:
                raise SourceError(
                    f"{path.relative_to(self.folder)} is empty (0 bytes): write at least a "
                    "header, or remove it"
                )
        hive = any("=" in part for path in files for part in path.relative_to(self.folder).parts)
        if not files[0].name.endswith(PARQUET):
            if hive:
                raise SourceError(
                    f"{files[0].relative_to(self.folder)} has a column in its folder's name, which "
                    "is read of Parquet alone: write the column into the file, or Parquet"
                )
            sniffed = [(path, sniff(path, str(path.relative_to(self.folder)))) for path in files]
            return read_delimited(db, self.folder, sniffed, limit)
        listed = ", ".join(quote_literal(path) for path in files)
        scan = (
            f"read_parquet([{listed}], union_by_name = true, filename = '__file', "
            f"file_row_number = true, hive_partitioning = {str(hive).lower()})"
        )
        try:
            described = db.execute(f"describe select * from {scan}").fetchall()
        except duckdb.Error as error:
            text = str(error).splitlines()[0].replace(f"{self.folder}/", "")
            raise SourceError(
                f"raw.{table.name} cannot be read as Parquet: {text}; write the file again"
            ) from error
        aside = ("__file", "file_row_number")
        types = {row[0]: row[1] for row in described if row[0] not in aside}
        some = "" if limit is None else f" limit {int(limit)}"
        cut = len(str(self.folder)) + 2
        relation = (
            f"(select * exclude (__file, file_row_number), substr(__file, {cut}) as {FILE}, "
            f"(file_row_number + 1)::BIGINT as {ROW}, null::VARCHAR as {DAMAGE}, "
            f"null::VARCHAR as {LINE} from {scan}{some})"
        )
        return DelimitedFile(relation, types)

    def shape(self, table: Table, types: dict[str, str]) -> dict[str, str]:
        """Contract column to column of the files, and the rest as attributes."""
        found = self._match(table, tuple(types))
        shape = {column: quote_identifier(source) for column, source in found.items()}
        headline, text = shape.pop(HEADLINE, None), shape.get("text")
        if headline is not None and text is not None:
            # A title alone is no review: a text that is missing stays so.
            shape["text"] = (
                f"case when trim({text}::VARCHAR) <> '' then "
                f"concat_ws('. ', nullif(trim({headline}::VARCHAR), ''), {text}) end"
            )
        declared = {column.name for column in table.columns}
        if "attributes" in declared:
            given = found.get("attributes")
            if given is None or types[given] != table.type_of("attributes"):
                rest = [name for name in types if name not in found.values() or name == given]
                shape.pop("attributes", None)
                if rest:
                    shape["attributes"] = _as_map(rest)
        return shape

    def mapped(self, table: Table) -> dict[str, str]:
        """Contract column to column of the files."""
        with duckdb.connect(":memory:") as db:
            return self._match(table, tuple(self.read(db, table, 1).types))

    def _match(self, table: Table, present: tuple[str, ...]) -> dict[str, str]:
        name = self.read_files(table)[0]
        return match_columns(table, present, self.settings.columns.get(table.name, {}), name)


def _visible(path: Path, folder: Path) -> bool:
    """Whether no part of a name marks it as a draft or a marker, as Spark's `_temporary`."""
    return not any(part[0] in "._" for part in path.relative_to(folder).parts)


def _as_map(names: list[str]) -> str:
    pairs = ", ".join(
        f"struct_pack(k := {quote_literal(name)}, "
        f"v := nullif(trim({quote_identifier(name)}::VARCHAR), ''))"
        for name in names
    )
    return f"map_from_entries(list_filter([{pairs}], lambda pair: pair.v is not null))"

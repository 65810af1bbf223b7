"""Assigns the files of a folder to tables: by their names, or by patterns of `source.files`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from batch_predictions.settings import FilesEntry
from batch_predictions.sources.base import SourceError, raw_table
from batch_predictions.sources.files.listing import is_hidden, list_files, refuse_outside

FileFormat = Literal["parquet", "csv", "json"]
_COMPRESSIONS = ("", ".gz", ".zst")
SUFFIXES: dict[FileFormat, tuple[str, ...]] = {
    "parquet": (".parquet",),
    "csv": tuple(f"{s}{c}" for s in (".csv", ".tsv", ".txt") for c in _COMPRESSIONS),
    "json": tuple(f"{s}{c}" for s in (".jsonl", ".ndjson", ".json") for c in _COMPRESSIONS),
}
"""Suffixes of files by format. Text may be compressed; csv is any delimited text."""
_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True)
class FileGroup:
    """Files of a table that are read in the same way.

    Attributes:
        paths: the files, by name.
        format: their format.
        entry: the entry of `source.files` that names them; None if their own name does.
    """

    paths: tuple[Path, ...]
    format: FileFormat
    entry: FilesEntry | None = None


def validate_patterns(files: Mapping[str, Sequence[FilesEntry]]) -> None:
    """Checks the tables and the patterns of the setting `source.files`.

    Raises:
        SourceError: a table is unknown, or a pattern leaves the folder.
    """
    for table_name, entries in files.items():
        raw_table(table_name, "source.files")
        for entry in entries:
            path = Path(entry.pattern)
            if not path.parts or path.is_absolute() or ".." in path.parts:
                raise SourceError(
                    f"source.files.{table_name} {entry.pattern!r}: write a pattern relative to "
                    "source.path, such as 'events/**/*.parquet'"
                )


def files_by_pattern(
    folder: Path, table_name: str, entries: Sequence[FilesEntry]
) -> list[FileGroup]:
    """Finds the files of a table that the entries of `source.files` name.

    A file that several patterns fit belongs to the first of them.

    Raises:
        SourceError: a pattern fits no file, or the format of a file is unknown.
    """
    groups: list[FileGroup] = []
    taken: set[Path] = set()
    for entry in entries:
        fitting = _fitting_files(folder, entry.pattern)
        if not fitting:
            raise SourceError(
                f"source.files.{table_name} {entry.pattern!r} fits no file in {folder}; it has: "
                f"{list_names(folder)}"
            )
        paths = [path for path in fitting if path not in taken]
        taken.update(paths)
        groups += _split_groups(folder, table_name, paths, entry)
    return groups


def files_by_name(folder: Path, table_name: str) -> list[FileGroup]:
    """The file of a table, or those of its folder.

    Raises:
        SourceError: the table exists in several forms, or its folder has no files.
    """
    forms: list[tuple[FileFormat, list[Path]]] = []
    for format_, suffixes in SUFFIXES.items():
        paths = (folder / f"{table_name}{suffix}" for suffix in suffixes)
        forms += [(format_, [path]) for path in paths if path.is_file()]
    table_folder = folder / table_name
    if table_folder.is_dir():
        found = list_files(table_folder)
        for format_, suffixes in SUFFIXES.items():
            if of_format := [path for path in found if path.name.endswith(suffixes)]:
                forms.append((format_, of_format))
        if not forms:
            raise SourceError(
                f"{table_folder} has no .parquet, .csv, .tsv or .jsonl file: write one, or remove "
                "the folder"
            )
    if len(forms) > 1:
        names = " and ".join(str(paths[0].relative_to(folder)) for _, paths in forms)
        raise SourceError(
            f"{folder} has raw.{table_name} more than once ({names}): keep one form, or list the "
            f"files that belong to it in source.files.{table_name}"
        )
    return [
        FileGroup(tuple(paths), format_)
        for format_, paths_of_form in forms
        for paths in _by_path_columns(folder, paths_of_form)
    ]


def is_pattern(text: str) -> bool:
    """Returns whether a text has wildcards."""
    return bool(_WILDCARDS & set(text))


def fits(name: str, pattern: str) -> bool:
    """Returns whether a path fits a pattern, as in `Path.glob`."""
    if name == pattern:
        return True
    parts = PurePosixPath(pattern).parts
    regex = "".join(
        ("(?:[^/]+/)*" if part == "**" else f"{_part_regex(part)}/") for part in parts[:-1]
    )
    last = "(?:[^/]+/)*[^/]*" if parts[-1:] == ("**",) else _part_regex("".join(parts[-1:]))
    return re.fullmatch(regex + last, name) is not None


def names_table(name: str, table_names: Iterable[str]) -> bool:
    """Returns whether a file's name, or its first folder, is that of a table."""
    first, *others = PurePosixPath(name).parts
    if format_of(name) is None:
        return False
    return any(
        first == table_name if others else first.split(".")[0] == table_name
        for table_name in table_names
    )


def path_columns(name: str) -> dict[str, str]:
    """Columns in the folders of a file's name, such as `dt` in `dt=2026-01-03/part.csv`."""
    folders = Path(name).parts[:-1]
    return dict(part.split("=", 1) for part in folders if "=" in part)


def list_names(folder: Path) -> str:
    """Names of the first files of a folder, for messages."""
    paths = list_files(folder)
    names = [str(path.relative_to(folder)) for path in paths[:10]]
    return (", ".join(names) + (" …" if len(paths) > 10 else "")) or "no files"


def _part_regex(part: str) -> str:
    """A part of a pattern, without slashes, as a regular expression."""
    tokens = re.findall(r"\[!?[^]]+\]|.", part)
    regexes = {"*": "[^/]*", "?": "[^/]"}
    return "".join(
        f"[{'^' if token[1] == '!' else ''}{token[1:-1].removeprefix('!')}]"
        if len(token) > 1
        else regexes.get(token, re.escape(token))
        for token in tokens
    )


def _fitting_files(folder: Path, pattern: str) -> list[Path]:
    path = folder / pattern
    if path.is_file() or not is_pattern(pattern):
        return [path] if path.is_file() else []
    return sorted(
        path
        for path in folder.glob(pattern)
        if path.is_file() and not any(map(is_hidden, path.relative_to(folder).parts))
    )


def _split_groups(
    folder: Path, table_name: str, paths: Sequence[Path], entry: FilesEntry
) -> list[FileGroup]:
    """Groups of the files of an entry by format and columns in their path."""
    by_format: dict[FileFormat, list[Path]] = {}
    for path in paths:
        format_ = entry.format or format_of(path.name)
        if format_ is None:
            known = ", ".join(suffixes[0] for suffixes in SUFFIXES.values())
            raise SourceError(
                f"source.files.{table_name}: the format of {path.relative_to(folder)} is unknown "
                f"(known are {known} and others): write {{pattern: {entry.pattern!r}, format: csv}}"
                ", or parquet or json"
            )
        by_format.setdefault(format_, []).append(path)
    return [
        FileGroup(tuple(group), format_, entry)
        for format_, paths_of_format in by_format.items()
        for group in _by_path_columns(folder, paths_of_format)
    ]


def _by_path_columns(folder: Path, paths: Collection[Path]) -> list[list[Path]]:
    refuse_outside(folder, paths)
    groups: dict[tuple[str, ...], list[Path]] = {}
    columns: dict[str, tuple[str, ...]] = {}
    for path in paths:
        parent = str(path).removesuffix(path.name)
        if parent not in columns:
            columns[parent] = tuple(path_columns(str(path.relative_to(folder))))
        groups.setdefault(columns[parent], []).append(path)
    return list(groups.values())


def format_of(name: str) -> FileFormat | None:
    """The format of a file by the end of its name; None: unknown."""
    for format_, suffixes in SUFFIXES.items():
        if name.lower().endswith(suffixes):
            return format_
    return None

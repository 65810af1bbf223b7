"""Everything that the files of a folder say: their bytes, and Parquet and SQLite decoded."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq


def files_with(folder: Path, text: str, without: tuple[str, ...] = ()) -> list[str]:
    """Files of a folder that have a text in their names, bytes, values or metadata.

    Args:
        folder: is searched with all folders in it.
        text: what is searched for, in any case.
        without: names of folders that are left out.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or set(path.relative_to(folder).parts) & {*without}:
            continue
        name = str(path.relative_to(folder))
        if text.lower() in name.lower() or any(
            text.lower() in part.lower() for part in _contents(path)
        ):
            found.append(name)
    return found


def _contents(path: Path) -> Iterator[str]:
    content = path.read_bytes()
    yield content.decode("latin-1")
    if content[:4] == b"PAR1":
        table = pq.read_table(path, partitioning=None)
        yield str(table.schema.metadata)
        for column in table.columns:
            yield str(column.to_pylist())
    elif content[:15] == b"SQLite format 3":
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            names = db.execute("select name from sqlite_master where type = 'table'").fetchall()
            for (name,) in names:
                yield str(db.execute(f'select * from "{name}"').fetchall())

"""Everything that the files of a folder say: their bytes, and what they have encoded."""

from __future__ import annotations

import gzip
import io
import sqlite3
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import sqlalchemy as sa


def files_with(folder: Path, text: str, without: tuple[str, ...] = ()) -> list[str]:
    """Files of a folder that have a text in their names, bytes, values or metadata.

    Parquet, NumPy arrays of texts, SQLite, gzip, zlib and zip are decoded, also one in another.

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
        parts = _decoded(path.read_bytes(), path)
        if text.lower() in name.lower() or any(text.lower() in part.lower() for part in parts):
            found.append(name)
    return found


def _decoded(content: bytes, path: Path | None = None) -> Iterator[str]:
    """The bytes as text, and the texts that they have encoded; `path` has the bytes, if any."""
    yield content.decode("latin-1")
    if content[:4] == b"PAR1":
        table = pq.read_table(io.BytesIO(content), partitioning=None)
        yield str(table.schema.metadata)
        for column in table.columns:
            yield str(column.to_pylist())
    elif content[:6] == b"\x93NUMPY":
        yield str(np.load(io.BytesIO(content), allow_pickle=False).ravel().tolist())
    elif content[:15] == b"SQLite format 3" and path is not None:
        yield from _decoded_database(path)
    elif content[:2] == b"\x1f\x8b":
        yield from _decoded(gzip.decompress(content))
    elif content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield name
                yield from _decoded(archive.read(name))
    elif content[:1] == b"\x78":
        with suppress(zlib.error):
            yield from _decoded(zlib.decompress(content))


def _decoded_database(path: Path) -> Iterator[str]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        names = db.execute("select name from sqlite_master where type = 'table'").fetchall()
        for (name,) in names:
            for row in db.execute(f'select * from "{name}"'):
                yield str(row)
                for value in row:
                    if isinstance(value, bytes):
                        yield from _decoded(value)


def tables_with(url: str, text: str) -> list[str]:
    """Tables and views of a database, of all schemas but its own, that have a text in their rows.

    Args:
        url: of a PostgreSQL database.
        text: what is searched for.
    """
    engine = sa.create_engine(url)
    names = sa.text(
        "select format('%I.%I', table_schema, table_name) from information_schema.tables "
        "where table_schema not in ('pg_catalog', 'information_schema') order by 1"
    )
    with engine.connect() as db:
        found = [
            name
            for name in db.execute(names).scalars().all()
            if any(text in str(row) for row in db.execute(sa.text(f"select * from {name}")))
        ]
    engine.dispose()
    return found

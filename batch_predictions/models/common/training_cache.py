"""Keeps what a training computes and the next one needs again, by hashes of its inputs and code.

An entry's key is a hash of everything that it is computed from: rows, parameters, the code of this
package and of plugins, and the versions of the libraries. So an entry is what would be computed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from batch_predictions.core.file_hashes import hash_files
from batch_predictions.tables.discovery import PACKAGE, plugins


def content_hash(values: Iterable[object]) -> str:
    """Hash of values, 24 hexadecimal digits; equal values have equal hashes in every process.

    Args:
        values: NumPy arrays, SciPy's CSR matrices, Arrow arrays and tables, dataclasses, mappings
            and sequences of these, and values with a repr that says all, such as numbers, texts
            and dates.

    Raises:
        TypeError: an array is one of Python's objects.
    """
    digest = hashlib.sha256()
    for value in values:
        _update(digest, value)
    return digest.hexdigest()[:24]


def _update(digest: Any, value: Any) -> None:
    # The type and the length come first, so that ["ab"] differs from ["a", "b"].
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError("an array of Python's objects has no bytes to hash")
        is_fortran = value.flags.f_contiguous and not value.flags.c_contiguous
        digest.update(f"array {value.dtype.str} {value.shape} {is_fortran} ".encode())
        digest.update(np.ascontiguousarray(value.T if is_fortran else value).view(np.uint8).data)
    elif isinstance(value, pa.Array | pa.ChunkedArray):
        _update(digest, pa.table({"values": value}))
    elif isinstance(value, pa.Table):
        _update_table(digest, value)
    elif hasattr(value, "indptr"):
        _update(digest, ["csr", value.shape, value.data, value.indices, value.indptr])
    elif is_dataclass(value):
        names = [field.name for field in fields(value)]
        _update(digest, [type(value).__name__, *(getattr(value, name) for name in names)])
    elif isinstance(value, Mapping):
        _update(digest, ["mapping", *sorted(value.items(), key=repr)])
    elif isinstance(value, list | tuple):
        digest.update(f"sequence {len(value)} ".encode())
        for entry in value:
            _update(digest, entry)
    else:
        text = repr(value)
        digest.update(f"{type(value).__name__} {len(text)} {text} ".encode())


def _update_table(digest: Any, table: pa.Table) -> None:
    """Hashes a table as one stream of Arrow.

    The stream has neither offsets of slices nor masks of columns without nulls.
    """
    sink = pa.BufferOutputStream()
    table = table.combine_chunks().replace_schema_metadata(None)
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    buffer = sink.getvalue()
    digest.update(f"table {buffer.size} ".encode())
    digest.update(buffer)


_LIBRARIES = ("numpy", "scipy", "pyarrow", "duckdb", "numba", "lightgbm", "implicit", "torch")


def code_hash() -> str:
    """A hash of the code of this package and of plugins, and of the versions of the libraries."""
    return _hash_code(frozenset(name.split(".")[0] for name in plugins()))


@cache
def _hash_code(plugin_packages: frozenset[str]) -> str:
    folders = [PACKAGE, *(f for name in sorted(plugin_packages) for f in _folders_of(name))]
    files = [
        (str(path.relative_to(folder)), path.read_bytes())
        for folder in folders
        for path in _code_files(folder)
    ]
    return content_hash([files, [(name, _version(name)) for name in _LIBRARIES]])


def _folders_of(name: str) -> Iterator[Path]:
    """The folders of a top-level package, or the one of a module that is in none."""
    module = sys.modules.get(name)
    if paths := getattr(module, "__path__", None):
        yield from map(Path, paths)
    elif file := getattr(module, "__file__", None):
        yield Path(file).parent


def _code_files(folder: Path) -> list[Path]:
    """The Python and SQL of a package; of another folder, its own and that of packages in it.

    A module may import its neighbours, and the working directory has more than code.
    """
    return sorted({*_code_in(folder.glob("*")), *_code_below(folder)})


def _code_below(folder: Path) -> Iterator[Path]:
    is_package = (folder / "__init__.py").exists()
    packages = [folder] if is_package else [p.parent for p in folder.glob("*/__init__.py")]
    for package in packages:
        yield from _code_in(package.rglob("*"))


def _code_in(paths: Iterable[Path]) -> Iterator[Path]:
    return (path for path in paths if path.suffix in (".py", ".sql"))


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


Entry = TypeVar("Entry")

FOLDER = "training_cache"
"""In a home. It may be deleted: the next training takes longer."""
_HASHES = "hashes.json"

logger = logging.getLogger(__name__)


class TrainingCache:
    """Entries of one model's trainings, in memory and in a folder.

    Args:
        folder: has a folder per entry, with the hashes of its files; None: only in memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._entries: dict[str, Any] = {}
        self._used: set[str] = set()

    def key(self, kind: str, inputs: Iterable[object]) -> str:
        """Computes the key under which an entry is stored: a hash of its inputs and of the code.

        Args:
            kind: what it is, such as generators.
            inputs: everything that it is computed from, as `content_hash` takes it.
        """
        return f"{kind}-{content_hash([*inputs, code_hash()])}"

    def get(
        self, key: str, load: Callable[[Path], Entry], *, mark_used: bool = True
    ) -> Entry | None:
        """Returns the entry of a key; None where there is none, or its files are damaged.

        Args:
            key: of the entry.
            load: reads the folder of the entry.
            mark_used: whether `remove_unused` keeps it.
        """
        if key not in self._entries:
            folder = self._intact_folder(key)
            if folder is None:
                return None
            try:
                self._entries[key] = load(folder)
            except (OSError, ValueError, KeyError, TypeError) as error:
                logger.warning("%s cannot be read and is computed again: %s", folder, error)
                return None
        if mark_used:
            self._used.add(key)
        entry: Entry = self._entries[key]
        return entry

    def put(self, key: str, entry: Entry, save: Callable[[Entry, Path], None]) -> Entry:
        """Adds an entry. If its files cannot be written, the next training computes it again.

        Args:
            key: of the entry.
            entry: what was computed.
            save: writes the entry into a folder.
        """
        self._entries[key] = entry
        self._used.add(key)
        if self._folder is not None:
            try:
                self._write(self._folder / key, entry, save)
            except OSError as error:
                logger.warning("%s is not kept for the next training: %s", key, error)
        return entry

    def mark_all_unused(self) -> None:
        """Makes `remove_unused` keep only the entries that are used from now on."""
        self._used.clear()

    def remove_unused(self) -> None:
        """Removes the folders of entries that were not used, and unfinished folders."""
        if self._folder is None or not self._folder.is_dir():
            return
        for folder in self._folder.iterdir():
            if folder.name not in self._used:
                shutil.rmtree(folder, ignore_errors=True)

    def _intact_folder(self, key: str) -> Path | None:
        if self._folder is None:
            return None
        folder = self._folder / key
        try:
            written = json.loads((folder / _HASHES).read_text(encoding="utf-8"))
            hashes = hash_files(folder)
        except (OSError, ValueError):
            return None
        hashes.pop(_HASHES, None)
        return folder if hashes == written else None

    def _write(self, target: Path, entry: Entry, save: Callable[[Entry, Path], None]) -> None:
        draft = target.with_name(f".draft-{os.getpid()}-{uuid.uuid4().hex}")
        draft.mkdir(parents=True)
        try:
            save(entry, draft)
            (draft / _HASHES).write_text(json.dumps(hash_files(draft)), encoding="utf-8")
            # A damaged one; no fsync, for an entry is read only if its files have their hashes.
            shutil.rmtree(target, ignore_errors=True)
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

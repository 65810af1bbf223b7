"""Parts of a training that the next one needs again, found by a hash of what they are made of.

A part is used only if everything that it depends on is equal: rows, parameters, the code of this
package and of plugins, and the versions of the libraries. So it is what would be made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from batch_predictions.discovery import plugins
from batch_predictions.models.common.content_hash import content_hash

Part = TypeVar("Part")

FOLDER = "training_cache"
"""In a home. It may be deleted: the next training takes longer."""
_HASHES = "hashes.json"
_LIBRARIES = ("numpy", "scipy", "pyarrow", "duckdb", "numba", "lightgbm", "implicit", "torch")

logger = logging.getLogger(__name__)


class TrainingCache:
    """Parts of one model's trainings, in memory and in a folder.

    Args:
        folder: has a folder per part, with the hashes of its files; None: only in memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._parts: dict[str, Any] = {}
        self._used: set[str] = set()

    def name(self, kind: str, inputs: Iterable[Any]) -> str:
        """The name of a part.

        Args:
            kind: what it is, such as generators.
            inputs: everything that it is made of, as `content_hash` takes it.
        """
        return f"{kind}-{content_hash([*inputs, code_hash()])}"

    def find(self, name: str, load: Callable[[Path], Part], *, is_use: bool = True) -> Part | None:
        """A part that was made before; None where there is none, or its files are damaged.

        Args:
            name: of the part.
            load: reads its folder.
            is_use: whether `remove_unused` keeps it for this.
        """
        if name not in self._parts and (folder := self._intact_folder(name)) is not None:
            try:
                self._parts[name] = load(folder)
            except (OSError, ValueError, KeyError, TypeError):
                # Its files have their hashes, so that another version has written them.
                return None
        if name not in self._parts:
            return None
        if is_use:
            self._used.add(name)
        part: Part = self._parts[name]
        return part

    def add(self, name: str, part: Part, save: Callable[[Part, Path], None]) -> Part:
        """Keeps a part. Where its files cannot be written, the next training makes it again."""
        self._parts[name] = part
        self._used.add(name)
        if self._folder is not None:
            try:
                self._write(self._folder / name, part, save)
            except OSError as error:
                logger.warning("%s is not kept for the next training: %s", name, error)
        return part

    def forget_uses(self) -> None:
        """`remove_unused` looks at what is used from now on."""
        self._used.clear()

    def remove_unused(self) -> None:
        """Removes the folders of parts that were not used, and those that are not finished."""
        if self._folder is None or not self._folder.is_dir():
            return
        for folder in self._folder.iterdir():
            if folder.name not in self._used:
                shutil.rmtree(folder, ignore_errors=True)

    def _intact_folder(self, name: str) -> Path | None:
        if self._folder is None:
            return None
        folder = self._folder / name
        try:
            hashes = json.loads((folder / _HASHES).read_text(encoding="utf-8"))
            is_intact = hashes == _hash_files(folder)
        except (OSError, ValueError):
            return None
        return folder if is_intact else None

    def _write(self, target: Path, part: Part, save: Callable[[Part, Path], None]) -> None:
        draft = target.with_name(f".draft-{os.getpid()}-{uuid.uuid4().hex}")
        draft.mkdir(parents=True)
        try:
            save(part, draft)
            (draft / _HASHES).write_text(json.dumps(_hash_files(draft)), encoding="utf-8")
            # A damaged one; no fsync, for a part is read only if its files have their hashes.
            shutil.rmtree(target, ignore_errors=True)
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of the files of a folder, by path."""
    hashes = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.name != _HASHES:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                hashes[str(path.relative_to(folder))] = digest
    return hashes


def code_hash() -> str:
    """A hash of the code of this package and of plugins, and of the versions of the libraries."""
    return _code_hash(tuple(plugins()))


@cache
def _code_hash(plugin_modules: tuple[str, ...]) -> str:
    folders = [Path(__file__).resolve().parents[2]]
    # A plugin may import its neighbours.
    files = [getattr(sys.modules.get(name), "__file__", None) for name in plugin_modules]
    folders += [Path(file).resolve().parent for file in files if file]
    code = [
        (str(path.relative_to(folder)), path.read_bytes())
        for folder in folders
        for path in _code_files(folder)
    ]
    return content_hash([code, [(name, _version(name)) for name in _LIBRARIES]])


def _code_files(folder: Path) -> list[Path]:
    """The Python and SQL of a package, or of a folder that is none."""
    find = folder.rglob if (folder / "__init__.py").exists() else folder.glob
    return sorted(path for pattern in ("*.py", "*.sql") for path in find(pattern))


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None

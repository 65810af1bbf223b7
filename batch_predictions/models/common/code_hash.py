"""A hash of the code that trains models, so that a cache never answers for another version."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from batch_predictions.models.common.content_hash import content_hash
from batch_predictions.tables.discovery import PACKAGE, plugins

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

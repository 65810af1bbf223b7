"""Finds what modules declare at their top level: the platform's own by folder, a user's by setting.

A declaration is an instance (`BatchPrediction`, `Training`, `Generator`, `Table`, …) or a subclass
(`Source`, `Forecaster`, …) that stands at the top level of a module. The platform's own modules are
found in their folders; modules of a user's package are named by the setting `plugins`. So adding
one more is adding one file, and no list has to be changed.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from batch_predictions.settings import SettingsError
from batch_predictions.tables import Table, declare

Declared = TypeVar("Declared")

PACKAGE = Path(__file__).parent

_plugins: dict[str, ModuleType] = {}


def load_plugins(names: Sequence[str]) -> None:
    """Imports the modules of the setting `plugins`, and all modules of those that are packages.

    Tables that they declare become tables of the platform at once; everything else is found when
    it is asked for. The working directory is searched too, as `python -m` does.

    Raises:
        SettingsError: a module cannot be imported; the message names it and the cause.
    """
    here = os.getcwd()  # noqa: PTH109
    if names and here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    for name in names:
        for module in _import_all(name):
            _plugins[module.__name__] = module
            for table in _values(module, Table):
                declare(table)


def plugins() -> list[str]:
    """Names of the plugin modules that are loaded, for other processes to load too."""
    return list(_plugins)


def instances(kind: type[Declared], pattern: str) -> list[Declared]:
    """Instances of `kind` at the top level of modules, or in a tuple or list there; each once.

    Args:
        kind: what is looked for.
        pattern: the platform's modules, relative to the package: `predictions/*.py`. Plugins are
            always searched, after them.
    """
    found: dict[int, Declared] = {}
    for module in _modules(pattern):
        for value in _values(module, kind):
            found.setdefault(id(value), value)
    return list(found.values())


def subclasses(kind: Any, pattern: str) -> list[Any]:
    """Concrete subclasses of `kind` that modules define; `pattern` as in `instances`."""
    return [
        value
        for module in _modules(pattern)
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, kind)
        and value is not kind
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
        and not value.__name__.startswith("_")
    ]


def _modules(pattern: str) -> Iterator[ModuleType]:
    for path in sorted(PACKAGE.glob(pattern)):
        if path.stem != "__init__":
            parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
            yield importlib.import_module(".".join(parts))
    yield from list(_plugins.values())


def _values(module: ModuleType, kind: type[Declared]) -> Iterator[Declared]:
    for value in list(vars(module).values()):
        if isinstance(value, kind):
            yield value
        elif isinstance(value, tuple | list):
            yield from _of_kind(value, kind)


def _of_kind(values: Iterable[Any], kind: type[Declared]) -> Iterator[Declared]:
    return (value for value in values if isinstance(value, kind))


def _import_all(name: str) -> list[ModuleType]:
    try:
        module = importlib.import_module(name)
        modules = [module]
        for info in pkgutil.iter_modules(getattr(module, "__path__", ())):
            if not info.name.startswith("_"):
                modules.append(importlib.import_module(f"{name}.{info.name}"))
    except Exception as error:
        raise SettingsError(
            f"plugins names {name}, which cannot be imported: {type(error).__name__}: {error}. "
            "Install its package into this environment, or run where it lies"
        ) from error
    return modules

"""Finds declarations at the top level of modules: the platform's by folder, plugins' by setting.

A declaration is an instance (`BatchPrediction`, `Training`, `Generator`, `Table`, …) or a subclass
(`Source`, `Forecaster`, …) at the top level of a module. The platform's modules are searched by
folder; the setting `plugins` names the modules of a user's package. To add a declaration is to add
a file: there is no list of them.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import sys
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from batch_predictions.settings import SettingsError
from batch_predictions.tables import TABLES, Table, declare

Declared = TypeVar("Declared")

PACKAGE = Path(__file__).parents[1]

_plugins: dict[str, ModuleType] = {}
_of_settings = types.ModuleType("declarations_of_settings")
"""Declarations that a home's settings give, as if a module had them."""


def load_plugins(names: Sequence[str]) -> None:
    """Imports the modules of the setting `plugins`, and all modules of those that are packages.

    Their tables are declared to the platform; `instances` and `subclasses` find the rest later.
    Modules are also searched in the working directory, as `python -m` does.

    Raises:
        SettingsError: a module cannot be imported; the message names it and the cause.
    """
    working_directory = os.getcwd()  # noqa: PTH109
    if names and working_directory not in sys.path and "" not in sys.path:
        sys.path.append(working_directory)
    for name in names:
        for module in _import_all(name):
            _plugins[module.__name__] = module
            for table in _values(module, Table):
                declare(table)


def declare_of_settings(declarations: Sequence[object]) -> None:
    """Replaces the declarations that settings give; `instances` finds them like those of modules.

    Args:
        declarations: of any kind; tables are declared, those of the settings before are forgotten.
    """
    for table in _values(_of_settings, Table):
        TABLES.pop(table.qualified, None)
    vars(_of_settings)["declarations"] = list(declarations)
    for table in _values(_of_settings, Table):
        declare(table)


def is_of_settings(table: Table) -> bool:
    """Returns whether settings declare a table, whose columns change with them."""
    return any(table is value for value in _values(_of_settings, Table))


def plugins() -> list[str]:
    """Names of the plugin modules that are loaded, for other processes to load too."""
    return list(_plugins)


def is_of_plugin(declaration: object) -> bool:
    """Returns whether a declaration is at the top level of a plugin's module."""
    return any(
        declaration is value
        for module in _plugins.values()
        for value in _values(module, type(declaration))
    )


def instances(kind: type[Declared], pattern: str) -> list[Declared]:
    """Distinct instances of `kind` at the top level of modules, also within tuples and lists.

    Args:
        kind: the class of the instances.
        pattern: the platform's modules, relative to the package, such as `predictions/*.py`.
            Plugins are always searched after them.
    """
    by_identity: dict[int, Declared] = {}
    for module in _modules(pattern):
        for value in _values(module, kind):
            by_identity.setdefault(id(value), value)
    return list(by_identity.values())


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


def index_unique(
    values: Iterable[Declared], what: str, attribute: str = "name"
) -> dict[str, Declared]:
    """Values by an attribute that must differ, in their order.

    Args:
        values: declarations or classes.
        what: what they are, in the plural, for the message.
        attribute: name of the attribute.

    Raises:
        ValueError: two values have the same attribute.
    """
    by_attribute: dict[str, Declared] = {}
    for value in values:
        key = getattr(value, attribute)
        if by_attribute.setdefault(key, value) is not value:
            raise ValueError(f"two {what} have the {attribute} {key!r}: rename one")
    return by_attribute


def class_of_kind(classes: Mapping[str, Declared], kind: str, folder: Path, what: str) -> Declared:
    """The class that reads a stored model.

    Args:
        classes: class by kind.
        kind: the kind in the model's manifest.
        folder: the model's folder, for the message.
        what: what the model is, for the message.

    Raises:
        ValueError: no class has the kind, such as one of a plugin that is not loaded.
    """
    if kind not in classes:
        raise ValueError(
            f"{folder}: unknown kind of {what} {kind!r} (known: {', '.join(classes)}). If a plugin "
            "defines it, name its module in the setting plugins"
        )
    return classes[kind]


def _modules(pattern: str) -> Iterator[ModuleType]:
    for path in sorted(PACKAGE.glob(pattern)):
        if path.stem != "__init__":
            parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
            yield importlib.import_module(".".join(parts))
    yield from [*_plugins.values(), _of_settings]


def _values(module: ModuleType, kind: type[Declared]) -> Iterator[Declared]:
    for value in list(vars(module).values()):
        if isinstance(value, kind):
            yield value
        elif isinstance(value, tuple | list):
            yield from _of_kind(value, kind)


def _of_kind(values: Iterable[object], kind: type[Declared]) -> Iterator[Declared]:
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
            "Install its package into this environment, or run in the folder that contains it"
        ) from error
    return modules

"""What a training depends on besides its rows: its code, and the settings that the code reads.

The code is that of the model's folder, or of the plugin that declares the training, and of the
modules of `features/` and of the folders in `models/` that it imports; the files of `models/`
itself store models and do not make them. It counts as the set of its top-level
statements without imports, comments, docstrings and descriptions, so that a file that is moved or
documented trains nothing. Settings are those sections of `MODEL_SECTIONS` that the code names, with
the fields that it names.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batch_predictions.models.model_store import Decision
from batch_predictions.models.training import Training
from batch_predictions.settings import Settings
from batch_predictions.tables.discovery import PACKAGE, plugins

MODEL_SECTIONS = (
    "recommender",
    "recommendations",
    "fallback",
    "sentiment",
    "churn",
    "audiences",
    "demand",
)
SOURCE_FIELDS = ("events", "returns", "exclude_items")
"""Settings of the source that say what its rows mean."""
_PARTS = ("models", "features")
"""Folders of the package whose code makes a model; that of others reads and writes."""
_NAME = "batch_predictions"


@dataclass(frozen=True)
class CodeFile:
    """A file of code without its name: its statements, what it names and what it imports.

    Attributes:
        statements: hashes of its top-level statements.
        names: attributes that it reads, or the words of a query.
        imported: files of the package's models and features that it imports.
    """

    statements: frozenset[str]
    names: frozenset[str]
    imported: frozenset[Path] = frozenset()


@dataclass(frozen=True)
class TrainingInputs:
    """The code and the settings that a training depends on.

    Attributes:
        code: hash of the code; equal code has an equal hash wherever it stands.
        settings: those that the code names, such as `recommender.factors`, as JSON values.
    """

    code: str
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, training: Training, settings: Settings) -> TrainingInputs:
        """Reads the files of a training's code, and the settings that they name.

        Args:
            training: the training.
            settings: of the home.
        """
        own = _own_files(training)
        reached = _reached(own)
        statements = sorted({text for file in reached for text in file.statements})
        sections = {name for path in own for name in _read(path).names} & {*MODEL_SECTIONS}
        names = {name for file in reached for name in file.names}
        read: dict[str, Any] = {}
        for section in sorted(sections):
            values = getattr(settings, section).model_dump(mode="json")
            read |= {f"{section}.{field}": v for field, v in values.items() if field in names}
        source = settings.source.model_dump(mode="json", include={*SOURCE_FIELDS})
        read |= {f"source.{field}": value for field, value in source.items()}
        return cls(_hash("\n".join(statements))[:16], {**read, **training.inputs})

    def describe_changes(self, decision: Decision) -> str | None:
        """Describes what is other than at a training with recorded code; None: nothing is."""
        if changes := changed_settings(decision.settings, self.settings):
            return f"setting {'; '.join(changes)}"
        return None if decision.code == self.code else "its code has changed since it was trained"


def code_of_file(path: Path) -> str:
    """A hash of a file's statements, without imports, comments and docstrings."""
    return _hash("\n".join(sorted(_read(path).statements)))[:16]


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Describes the settings that have changed; those that are new count if they are not default.

    Args:
        before: `TrainingInputs.settings` of an earlier training.
        now: of the next one.
    """
    changes = []
    for name, value in now.items():
        default = before.get(name, _default(name))
        if json.dumps(value, sort_keys=True) != json.dumps(default, sort_keys=True):
            changes.append(f"{name} is {json.dumps(value)}, was {json.dumps(default)}")
    return changes


def _default(name: str) -> Any:
    section, _, field = name.partition(".")
    if section not in (*MODEL_SECTIONS, "source"):
        return None
    default = Settings.model_fields[section].get_default(call_default_factory=True)
    return default.model_dump(mode="json").get(field)


def _own_files(training: Training) -> set[Path]:
    """The files of a model's folder, or of the plugin that declares it."""
    module = sys.modules[inspect.unwrap(training.train).__module__]
    file = Path(inspect.getsourcefile(module) or "")
    if module.__name__.partition(".")[0] != _NAME:
        root = _root_of(file)
        return {file} if root == file else {*_folder_files(root)}
    return {*_folder_files(file.parent), *_plugin_files(module.__name__)}


def _reached(files: Iterable[Path]) -> list[CodeFile]:
    """Files of code, and those of the package's models and features that they import."""
    reached: dict[Path, CodeFile] = {}
    waiting = list(files)
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached[path] = _read(path)
            waiting.extend(reached[path].imported)
    return list(reached.values())


def _folder_files(folder: Path) -> Iterator[Path]:
    """Files of code in a folder and those below it."""
    for path in folder.rglob("*"):
        if path.suffix in (".py", ".sql") and "__pycache__" not in path.parts:
            yield path


def _root_of(file: Path) -> Path:
    """The folder of the outermost package of a plugin's module, or a file outside of packages."""
    root = file
    while (root.parent / "__init__.py").exists():
        root = root.parent
    return root


def _plugin_files(module: str) -> Iterator[Path]:
    """Files of plugins that declare parts of a model, such as a generator of candidates."""
    folder = module.rpartition(".")[0]
    for name in plugins():
        plugin = sys.modules[name]
        for value in vars(plugin).values():
            kinds = inspect.getmro(value if inspect.isclass(value) else type(value))
            if any(kind.__module__.startswith(f"{folder}.") for kind in kinds):
                yield Path(inspect.getsourcefile(plugin) or "")
                break


def _read(path: Path) -> CodeFile:
    return _read_version(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _read_version(path: Path, modified: int) -> CodeFile:
    """A file as of its time of modification."""
    del modified
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".sql":
        lines = (re.sub(r"--.*", "", line) for line in text.splitlines())
        words = " ".join(lines).split()
        return CodeFile(frozenset({_hash(" ".join(words))}), frozenset(re.findall(r"\w+", text)))
    tree = ast.parse(text)
    imported: set[Path] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            imported.update(*map(_files_of, names))
        elif isinstance(node, ast.Import):
            imported.update(*(_files_of(alias.name) for alias in node.names))
    return CodeFile(
        frozenset(_hash(text) for text in map(_dump, tree.body) if text),
        frozenset(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)),
        frozenset(imported),
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _files_of(name: str) -> Iterable[Path]:
    """Files of a module of the package, with the queries beside it."""
    top, *parts = name.split(".")
    is_frame = parts[:1] == ["models"] and len(parts) < 3
    if top != _NAME or not parts or parts[0] not in _PARTS or is_frame:
        return ()
    path = PACKAGE.joinpath(*parts)
    if path.with_suffix(".py").is_file():
        return (path.with_suffix(".py"), *path.parent.glob("*.sql"))
    return [path / "__init__.py"] if (path / "__init__.py").is_file() else ()


def _dump(node: object) -> str:
    """A text of a syntax tree without docstrings and descriptions, alike in all Python versions."""
    if isinstance(node, list):
        return "".join(map(_dump, node))
    if not isinstance(node, ast.AST):
        return repr(node)
    match node:
        case ast.Expr(value=ast.Constant(value=str())):
            return ""
        case ast.Import() | ast.ImportFrom():
            return ""
        case ast.keyword(arg="description"):
            return ""
    fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
    inner = " ".join(f"{name}={_dump(value)}" for name, value in fields if name != "kind")
    return f"({type(node).__name__} {inner})"

"""The layout: stages import one way, modules form a DAG, heavy libraries load inside functions."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import batch_predictions

PACKAGE = Path(batch_predictions.__file__).parent
STAGES = [
    "sources",
    "features",
    "models",
    "inference",
    "predictions",
    "evaluation",
    "serving",
    "automation",
]
GROUND = {
    "jit",
    "discovery",
    "settings",
    "home",
    "partitions",
    "tables",
    "warehouse",
    "model_store",
    "reporting",
}
TOP = {"definitions", "cli"}
"""They know all stages; nothing imports them but commands and Dagster."""
HEAVY = {
    "torch",
    "lightgbm",
    "statsmodels",
    "ray",
    "pandas",
    "implicit",
    "sklearn",
    "scipy",
    "matplotlib",
    "numba",
    "optuna",
    "llvmlite",
    "transformers",
}
COMPILED = {
    "inference/topk/vectors.py",
    "models/demand/kernels/gru_network.py",
    "models/forest/kernels.py",
    "models/recommender/kernels/candidates.py",
    "models/recommender/kernels/neighbours.py",
    "models/recommender/kernels/rules.py",
    "models/recommender/kernels/topk.py",
}
"""Decorators compile when a module is loaded; whoever needs these imports them in a function."""
MODULES = sorted(PACKAGE.rglob("*.py"))


def relative(path: Path) -> str:
    """A module's path within the package, for messages."""
    return str(path.relative_to(PACKAGE))


def dotted(path: Path) -> str:
    """A module's dotted name."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}
NAMES = {dotted(path) for path in MODULES}


def imported_modules(path: Path) -> set[str]:
    """Modules of the package that a file imports, inside functions and for types too."""
    found: set[str] = set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & NAMES
            others = [a for a in node.names if f"{node.module}.{a.name}" not in NAMES]
            found |= submodules | ({node.module} if others else set())
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & NAMES


def place(name: str) -> str:
    """The stage or ground-floor module that a dotted name belongs to."""
    return name.split(".")[1] if "." in name else ""


def imports_at_load(nodes: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that run when a module is loaded; those for type checkers do not."""
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.dump(node.test):
            yield from imports_at_load([*node.body, *node.orelse])
        elif isinstance(node, ast.ClassDef | ast.With):
            yield from imports_at_load(node.body)
        elif isinstance(node, ast.Try):
            yield from imports_at_load([*node.body, *node.orelse, *node.finalbody])


def test_modules_form_a_dag() -> None:
    graph = {dotted(path): imported_modules(path) - {dotted(path)} for path in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle = " <- ".join(error.args[1])
        raise AssertionError(f"modules import each other in a circle: {cycle}") from None


def test_a_stage_imports_only_stages_above_it_and_the_ground_floor() -> None:
    wrong = []
    for path in MODULES:
        own = place(dotted(path))
        if own in TOP or not own:
            continue
        assert own in STAGES or own in GROUND, f"{relative(path)} belongs to no stage"
        above = set(STAGES[: STAGES.index(own) + 1]) if own in STAGES else set()
        below = {n for n in imported_modules(path) if place(n) not in GROUND | above}
        wrong += [f"{relative(path)} imports {name}" for name in sorted(below)]
    assert not wrong, "; ".join(wrong)


def test_heavy_libraries_are_imported_inside_the_functions_that_need_them() -> None:
    wrong = []
    for path in MODULES:
        names = set()
        for node in imports_at_load(TREES[path].body):
            if isinstance(node, ast.ImportFrom):
                names.add((node.module or "").split(".")[0])
            else:
                names |= {alias.name.split(".")[0] for alias in node.names}
        if relative(path) not in COMPILED and names & HEAVY:
            wrong.append(f"{relative(path)} loads {', '.join(sorted(names & HEAVY))}")
    assert not wrong, "; ".join(wrong)


def test_models_and_the_engine_know_nothing_of_dagster() -> None:
    """Assets are thin: a module that imports Dagster holds assets, not algorithms."""
    adapters = {"assets.py", "training.py", "declaration.py"}
    wrong = [
        relative(path)
        for stage in ("models", "inference")
        for path in sorted((PACKAGE / stage).rglob("*.py"))
        if "import dagster" in path.read_text(encoding="utf-8")
        and path.name not in adapters
        and path.parent != PACKAGE / "inference" / "dagster"
    ]
    assert not wrong, wrong


def test_loading_the_code_location_loads_no_heavy_library(tmp_path: Path) -> None:
    script = (
        "import sys, batch_predictions.definitions as d; "
        f"print(sorted(set({sorted(HEAVY)!r}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "BATCH_PREDICTIONS_HOME": str(tmp_path / "home")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_nothing_is_pickled_and_no_asset_asks_for_the_time() -> None:
    clocks = {
        "sources/registry.py",
        "home.py",
        "cli/commands/models.py",
        "serving/release/publish.py",
    }
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        name = relative(path)
        assert "import pickle" not in text and "import joblib" not in text, name
        assert name in clocks or (".now(" not in text and "date.today(" not in text), name


def test_every_folder_says_what_lives_there() -> None:
    silent = [
        relative(path)
        for path in MODULES
        if path.name == "__init__.py" and not ast.get_docstring(TREES[path])
    ]
    assert not silent, silent

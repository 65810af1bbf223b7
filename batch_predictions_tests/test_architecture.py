"""The house: stages import one way, and heavy libraries never at module level."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    "compiling",
    "threads",
    "settings",
    "home",
    "partitions",
    "tables",
    "relations",
    "partition_files",
    "warehouse",
    "model_store",
    "reporting",
}
TOP = {"definitions", "cli", "sentiment_benchmark", "forecast_benchmark"}
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
    "faiss",
    "llvmlite",
    "transformers",
}
COMPILED = {
    "inference/topk/vectors.py",
    "models/demand/gru_net.py",
    "models/forest/kernels.py",
    "models/recommender/kernels.py",
}
"""Decorators compile when a module is loaded; whoever needs these imports them in a function."""
MODULES = sorted(PACKAGE.rglob("*.py"))


def _place(name: str) -> str:
    """The stage or module under the package that a dotted name belongs to."""
    return name.split(".")[1] if "." in name else ""


def _imports(path: Path) -> list[str]:
    """Every module of the package that a file imports, at whatever level."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module)
            if node.module == "batch_predictions":
                found += [f"batch_predictions.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [name for name in found if name.startswith("batch_predictions.")]


def _outside_functions(tree: ast.Module) -> list[ast.Import | ast.ImportFrom]:
    """Imports that run when the module is loaded; those for type checkers do not."""
    found: list[ast.Import | ast.ImportFrom] = []

    def visit(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                found.append(node)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.dump(node.test):
                visit([*node.body, *node.orelse])
            elif isinstance(node, ast.ClassDef | ast.With):
                visit(node.body)
            elif isinstance(node, ast.Try):
                visit([*node.body, *node.orelse, *node.finalbody])

    visit(tree.body)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_stage_imports_only_stages_above_it_and_the_ground_floor(path: Path) -> None:
    place = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if place in TOP or place == "__init__":
        return
    allowed = set(GROUND)
    if place in STAGES:
        allowed |= set(STAGES[: STAGES.index(place) + 1])
    else:
        assert place in GROUND, f"{path} is neither a stage nor a part of the ground floor"
    wrong = sorted({name for name in _imports(path) if _place(name) not in allowed})
    assert not wrong, f"{path.relative_to(PACKAGE)} imports {wrong}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_libraries_are_imported_inside_the_functions_that_need_them(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in _outside_functions(tree):
        if isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
        else:
            names |= {alias.name.split(".")[0] for alias in node.names}
    name = str(path.relative_to(PACKAGE))
    assert name in COMPILED or not names & HEAVY, f"{name} loads {sorted(names & HEAVY)}"


def test_models_and_the_engine_know_nothing_of_dagster() -> None:
    """Assets are thin: a module that imports Dagster holds assets, not algorithms."""
    faces = {"assets.py", "steps.py", "training.py", "declaration.py", "handles.py"}
    for stage in ("models", "inference"):
        for path in (PACKAGE / stage).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert path.name in faces or "import dagster" not in text, path


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
    clocks = {"sources/registry.py", "home.py", "cli/models.py", "serving/releases.py"}
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        name = str(path.relative_to(PACKAGE))
        assert "import pickle" not in text and "import joblib" not in text, name
        assert name in clocks or (".now(" not in text and "date.today(" not in text), name

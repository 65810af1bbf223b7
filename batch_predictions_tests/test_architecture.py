"""The layout: stages import one way, modules form a DAG, heavy libraries load inside functions."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import batch_predictions
from batch_predictions_tests.worlds.programs import run_python

PACKAGE = Path(batch_predictions.__file__).parent
STAGES = [
    "sources",
    "features",
    "models",
    "inference",
    "predictions",
    "evaluation",
    "serving",
    "planning",
    "operations",
    "orchestration",
]
GROUND = ["core", "settings", "tables", "warehouse"]
"""What all stages stand on, each on those before it."""
TOP = {"definitions", "cli"}
"""They may import all stages; no stage imports them."""
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
    "llvmlite",
    "transformers",
}
COMPILED = {
    "models/common/topk/vectors.py",
    "models/common/heaps.py",
    "models/common/vector_ir.py",
    "models/demand/kernels/gru_network.py",
    "models/forest/kernels/banzhaf_kernels.py",
    "models/forest/kernels/trees.py",
    "models/recommender/kernels/candidate_kernels.py",
    "models/recommender/kernels/history_kernels.py",
    "models/recommender/kernels/id_kernels.py",
    "models/recommender/kernels/neighbours.py",
    "models/recommender/kernels/products.py",
    "models/recommender/kernels/sequence_network.py",
    "models/recommender/kernels/topk.py",
    "models/recommender/kernels/vector_products.py",
}
"""Modules of functions that numba compiles; they are imported inside functions."""
MAX_FUNCTION_LINES = 60
"""Longest function outside compiled kernels."""
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
    modules: set[str] = set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & NAMES
            attributes = [a for a in node.names if f"{node.module}.{a.name}" not in NAMES]
            modules |= submodules | ({node.module} if attributes else set())
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return modules & NAMES


def stage_of(name: str) -> str:
    """The stage or ground-floor module of a dotted name."""
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


def folder_of(name: str) -> str:
    """The folder that a module lies in; a package is its own folder."""
    is_package = (PACKAGE.parent / name.replace(".", "/") / "__init__.py").exists()
    return name if is_package else name.rpartition(".")[0]


def test_folders_form_a_dag() -> None:
    """Of a folder that is over its parts, they may import the contract only: `base.py`."""
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        folder = folder_of(dotted(path))
        for name in imported_modules(path):
            other = folder_of(name)
            is_contract = name == f"{other}.base" and folder.startswith(f"{other}.")
            if other != folder and not is_contract:
                graph.setdefault(folder, set()).add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle = " <- ".join(error.args[1])
        raise AssertionError(f"folders import each other in a circle: {cycle}") from None


def test_a_stage_imports_only_stages_above_it_and_the_ground_floor() -> None:
    violations = []
    floors = [*GROUND, *STAGES]
    for path in MODULES:
        stage = stage_of(dotted(path))
        if stage in TOP or not stage:
            continue
        assert stage in floors, f"{relative(path)} belongs to no stage"
        above = set(floors[: floors.index(stage) + 1])
        below = {name for name in imported_modules(path) if stage_of(name) not in above}
        violations += [f"{relative(path)} imports {name}" for name in sorted(below)]
    assert not violations, "; ".join(violations)


def test_operations_do_not_know_dagster() -> None:
    """They read and remove its records through the port in `operations/records.py`."""
    violations = [
        relative(path)
        for stage in ("planning", "operations")
        for path in sorted((PACKAGE / stage).rglob("*.py"))
        if re.search(r"^\s*(import|from) dagster\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert not violations, violations


def test_private_modules_of_dagster_are_imported_in_one_folder() -> None:
    """Each of these modules says what is lost without it."""
    folder = PACKAGE / "orchestration" / "dagster_internals"
    private = re.compile(r"^\s*(import|from) dagster(\._|_shared)", re.MULTILINE)
    users = {path for path in MODULES if private.search(path.read_text(encoding="utf-8"))}
    assert not {relative(path) for path in users if path.parent != folder}
    silent = [
        relative(path) for path in users if "ithout" not in (ast.get_docstring(TREES[path]) or "")
    ]
    assert not silent, silent


def test_no_two_modules_have_one_name() -> None:
    paths: dict[str, list[str]] = {}
    for path in MODULES:
        if path.name not in ("__init__.py", "assets.py", "base.py"):
            paths.setdefault(path.name, []).append(relative(path))
    assert not {name: files for name, files in paths.items() if len(files) > 1}


def test_the_root_keeps_the_definitions_and_the_public_face() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "definitions.py"}


def test_heavy_libraries_are_imported_inside_the_functions_that_need_them() -> None:
    violations = []
    for path in MODULES:
        names = set()
        for node in imports_at_load(TREES[path].body):
            if isinstance(node, ast.ImportFrom):
                names.add((node.module or "").split(".")[0])
            else:
                names |= {alias.name.split(".")[0] for alias in node.names}
        if relative(path) not in COMPILED and names & HEAVY:
            violations.append(f"{relative(path)} loads {', '.join(sorted(names & HEAVY))}")
    assert not violations, "; ".join(violations)


def test_models_and_the_engine_do_not_import_dagster() -> None:
    """Assets are thin: a module that imports Dagster has assets, not algorithms."""
    adapters = {"assets.py", "training_assets.py", "base.py", "model_store.py"}
    violations = [
        relative(path)
        for stage in ("models", "inference")
        for path in sorted((PACKAGE / stage).rglob("*.py"))
        if "import dagster" in path.read_text(encoding="utf-8")
        and path.name not in adapters
        and path.parent != PACKAGE / "inference" / "dagster"
    ]
    assert not violations, violations


def test_loading_the_code_location_loads_no_heavy_library(tmp_path: Path) -> None:
    script = (
        "import sys, batch_predictions.definitions as d; "
        f"print(sorted(set({sorted(HEAVY)!r}) & set(sys.modules)))"
    )
    variables = {**os.environ, "BATCH_PREDICTIONS_HOME": str(tmp_path / "home")}
    assert run_python("-c", script, env=variables, cwd=tmp_path).stdout.strip() == "[]"


def test_the_service_needs_nothing_of_the_warehouse(tmp_path: Path) -> None:
    """Its image has no Dagster, DuckDB, Arrow or numpy."""
    absent = ["dagster", "dagster_duckdb", "duckdb", "pyarrow", *sorted(HEAVY)]
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({absent!r}))\n"
        "import batch_predictions.serving.server.http_app\n"
        "import batch_predictions.cli.commands.serve_command"
    )
    run_python("-c", script, cwd=tmp_path)


def test_nothing_is_pickled_and_no_asset_reads_the_clock() -> None:
    clocks = {
        "operations/alert_state.py",
        "operations/backup/storage.py",
        "sources/source_registry.py",
        "core/process_records.py",
        "cli/commands/backup_command.py",
        "cli/commands/erase_user_command.py",
        "cli/commands/models_command.py",
        "cli/console/pending_erasures.py",
        "serving/http/routes/user_routes.py",
        "serving/release/release_records.py",
    }
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        name = relative(path)
        assert "import pickle" not in text and "import joblib" not in text, name
        assert name in clocks or (".now(" not in text and "date.today(" not in text), name


def test_every_folder_has_a_docstring() -> None:
    missing = [
        relative(path)
        for path in MODULES
        if path.name == "__init__.py" and not ast.get_docstring(TREES[path])
    ]
    assert not missing, missing


def test_functions_are_short() -> None:
    long = [
        f"{relative(path)}:{node.lineno} {node.name}"
        for path in MODULES
        if not {"kernels", "kernels.py"} & set(path.parts)
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert not long, long


def test_no_two_public_classes_have_one_name() -> None:
    paths: dict[str, list[str]] = {}
    for path in MODULES:
        for node in TREES[path].body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                paths.setdefault(node.name, []).append(relative(path))
    assert not {name: files for name, files in paths.items() if len(files) > 1}


def test_paths_reach_duckdb_only_through_path_sql() -> None:
    """DuckDB's table functions take a path as a pattern: `[x]` in a name finds nothing."""
    reader = re.compile(
        r"(?:read_parquet|read_csv|read_csv_auto|read_json\w*|read_ndjson\w*|read_text|read_blob|"
        r"parquet_scan|parquet_\w*metadata|parquet_schema|sniff_csv|\bglob)\((?!\))([^,)]*)"
    )
    allowed = re.compile(r"\{?quote_(?:files|pattern)\(|\{(?:files|pattern)\}|\?$|\$\w+$")
    violations = []
    for path in MODULES:
        nodes = list(ast.walk(TREES[path]))
        parts = {id(part) for n in nodes if isinstance(n, ast.JoinedStr) for part in n.values}
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                text = ast.unparse(node)
            elif (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in parts
            ):
                text = node.value
            else:
                continue
            for match in reader.finditer(text):
                if not allowed.match(match[1]):
                    violations.append(f"{relative(path)}:{node.lineno} {match[0]}")
    assert not violations, violations


def test_paths_that_are_bound_as_patterns_are_escaped() -> None:
    """A module that binds the argument of a table function escapes it."""
    bound = re.compile(r"(?:read_parquet|read_csv|parquet_kv_metadata)\((?:\?|\$\w+)")
    violations = [
        relative(path)
        for path in MODULES
        if bound.search(path.read_text(encoding="utf-8"))
        and "escape_pattern(" not in path.read_text(encoding="utf-8")
    ]
    assert not violations, violations

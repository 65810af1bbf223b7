"""Lets imports that earlier versions taught work for one more version, with a warning."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_PACKAGE = "batch_predictions"
MOVED = {
    "automation": "orchestration",
    "automation.compute_logs": "orchestration.dagster_internals.compute_logs",
    "automation.costs": "orchestration",
    "automation.costs.recorder": "orchestration.cost_handler",
    "automation.event_log": "orchestration.dagster_internals.event_log",
    "automation.postgres_storage": "orchestration.dagster_internals.postgres_storage",
    "cli.command": "cli.console.command",
    "cli.options": "cli.console.options",
    "cli.printing": "cli.console.printing",
    "inference.declaration": "inference.base",
    "models.common.gate": "models.common.promotion_gate",
    "models.recommender.features.candidates": "models.recommender.features.candidate_features",
    "models.recommender.generators.declaration": "models.recommender.generators.base",
}
"""Modules by their earlier name: those of docs and templates, and of a home's dagster.yaml."""


class _MovedModules(MetaPathFinder, Loader):
    """Finds modules by the names that they had."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds a moved module; None for every other name."""
        package, _, name = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == _PACKAGE and name in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        """Puts the module of the new name in place of the old one."""
        new = f"{_PACKAGE}.{MOVED[module.__name__.partition('.')[2]]}"
        if not module.__name__.startswith(f"{_PACKAGE}.automation"):
            warnings.warn(
                f"{module.__name__} is {new} now, and goes with the next version: import what you "
                f"need from {_PACKAGE}, see docs/reference/public_interface.md",
                FutureWarning,
                stacklevel=2,
            )
        sys.modules[module.__name__] = importlib.import_module(new)


def find_moved_modules() -> None:
    """Lets imports of this process find moved modules."""
    if not any(isinstance(finder, _MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(_MovedModules())

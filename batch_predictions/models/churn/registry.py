"""Finds churn estimators: declarations by name, classes by the `kind` in stored models.

They are found in `models/churn/estimators/` and in the modules of the setting `plugins`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from batch_predictions.discovery import instances, subclasses
from batch_predictions.models.churn.base import (
    ChurnEstimator,
    ChurnEstimatorSpec,
    read_manifest,
)

MODULES = "models/churn/estimators/*.py"


def estimator_specs() -> dict[str, ChurnEstimatorSpec[Any]]:
    """Every declared estimator by name, in their order.

    Raises:
        ValueError: two estimators have one name.
    """
    declared = instances(ChurnEstimatorSpec, MODULES)
    specs: dict[str, ChurnEstimatorSpec[Any]] = {}
    for spec in sorted(declared, key=lambda spec: (spec.order, spec.name)):
        if specs.setdefault(spec.name, spec) is not spec:
            raise ValueError(f"two churn estimators are named {spec.name}: rename one")
    return specs


def baseline_names() -> list[str]:
    """Names of the estimators that candidates must beat."""
    return [name for name, spec in estimator_specs().items() if spec.is_baseline]


def candidate_names() -> list[str]:
    """Names of the estimators that may beat the baselines."""
    return [name for name, spec in estimator_specs().items() if not spec.is_baseline]


def estimator_classes() -> dict[str, type[ChurnEstimator]]:
    """The class of every kind.

    Raises:
        ValueError: two classes have the same kind.
    """
    classes: dict[str, type[ChurnEstimator]] = {}
    for estimator_class in subclasses(ChurnEstimator, MODULES):
        kind = estimator_class.kind
        if classes.setdefault(kind, estimator_class) is not estimator_class:
            raise ValueError(f"two classes of churn estimators have the kind {kind}: rename one")
    return classes


def load_estimator(folder: Path, name: str) -> ChurnEstimator:
    """Reads what the `save` of any estimator wrote under a name.

    Raises:
        ValueError: no class has the stored kind; the message says which plugin may be missing.
    """
    kind = read_manifest(folder, name)["kind"]
    classes = estimator_classes()
    if kind not in classes:
        raise ValueError(
            f"{folder}: unknown kind of churn estimator {kind!r} (known: {', '.join(classes)}). "
            "If a plugin defines it, name its module in the setting plugins"
        )
    return classes[kind].load(folder, name)

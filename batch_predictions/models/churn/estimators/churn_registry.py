"""Finds churn estimators: declarations by name, classes by the `kind` in stored models.

They are found in `models/churn/estimators/` and in the modules of the setting `plugins`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from batch_predictions.models.churn.base import ChurnEstimator, ChurnEstimatorSpec, read_manifest
from batch_predictions.tables.discovery import class_of_kind, index_unique, instances, subclasses

MODULES = "models/churn/estimators/*.py"


def estimator_specs() -> dict[str, ChurnEstimatorSpec[Any]]:
    """Every declared estimator by name, in their order.

    Raises:
        ValueError: two estimators have one name.
    """
    declared = instances(ChurnEstimatorSpec, MODULES)
    in_order = sorted(declared, key=lambda spec: (spec.order, spec.name))
    return index_unique(in_order, "churn estimators")


def baseline_names() -> list[str]:
    """Names of the estimators that candidates must beat."""
    return [name for name, spec in estimator_specs().items() if spec.is_baseline]


def candidate_names() -> list[str]:
    """Names of the estimators that may beat the baselines."""
    return [name for name, spec in estimator_specs().items() if not spec.is_baseline]


def estimator_classes() -> dict[str, type[ChurnEstimator]]:
    """Returns the class of every `kind` of stored estimators.

    Raises:
        ValueError: two classes have the same kind.
    """
    return index_unique(subclasses(ChurnEstimator, MODULES), "classes of churn estimators", "kind")


def load_estimator(folder: Path, name: str) -> ChurnEstimator:
    """Reads what the `save` of any estimator wrote under a name.

    Raises:
        ValueError: no class has the stored kind; the message says which plugin may be missing.
    """
    kind = read_manifest(folder, name)["kind"]
    estimator_class = class_of_kind(estimator_classes(), kind, folder, "churn estimator")
    return estimator_class.load(folder, name)

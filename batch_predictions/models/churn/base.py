"""The contract of churn estimators: how one is declared, found, stored and loaded.

An estimator is a module of `models/churn/estimators/`, or of a package that the setting `plugins`
names, with a subclass of `ChurnEstimator` and a `ChurnEstimatorSpec` at its top level.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import pyarrow as pa

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.churn.data.churn_examples import Examples
from batch_predictions.tables.discovery import class_of_kind, index_unique, instances, subclasses

MODULES = "models/churn/estimators/*.py"
Params = TypeVar("Params")


def read_manifest(folder: Path, name: str) -> dict[str, Any]:
    """The values that `ChurnEstimator.write_manifest` wrote, with the key `kind`."""
    manifest: dict[str, object] = json.loads((folder / f"{name}.json").read_text("utf-8"))
    return manifest


class ChurnEstimator(ABC):
    """A fitted estimator, before its scores are calibrated to probabilities."""

    kind: ClassVar[str]
    """Names the class in stored models; the registry finds the class by it."""

    @abstractmethod
    def decision_function(self, rows: pa.Table | pa.RecordBatch) -> Doubles:
        """A score per row, (rows,); a higher score means a higher probability of churn.

        The score of a row must be the same to the bit whatever other rows are in the batch.
        """

    @abstractmethod
    def save(self, folder: Path, name: str) -> None:
        """Writes a manifest (`write_manifest`), and other files whose names begin with `name`."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Reads what `save` wrote."""

    def write_manifest(self, folder: Path, name: str, **values: Any) -> None:
        """Writes `<name>.json` with the kind and further JSON values."""
        manifest = {"kind": self.kind, **values}
        (folder / f"{name}.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")

    read_manifest = staticmethod(read_manifest)


@dataclass(frozen=True)
class FitInputs:
    """The examples, the seed and the other estimators that an estimator is fitted with.

    Attributes:
        examples: customers of past days with their outcomes.
        seed: seed of everything random.
        fit_member: fits another estimator by its name on the same examples, at most once; for
            averages.
    """

    examples: Examples
    seed: int
    fit_member: Callable[[str], ChurnEstimator]


@dataclass(frozen=True)
class ChurnEstimatorSpec(Generic[Params]):
    """Declares an estimator at the top level of its module.

    Attributes:
        name: in `evaluation.model_metrics`.
        fit: fits the estimator. Equal inputs must give equal estimators.
        params: parameters that `fit` receives, an instance of a frozen dataclass.
        is_baseline: whether candidates must beat it; a baseline serves only where none does.
        order: place among the estimators, in metrics and in ties; equal ones in alphabetical order.
    """

    name: str
    fit: Callable[[FitInputs, Params], ChurnEstimator]
    params: Params
    is_baseline: bool = False
    order: int = 1000


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


def load_estimator(folder: Path, name: str) -> ChurnEstimator:
    """Reads what the `save` of any estimator wrote under a name.

    Raises:
        ValueError: no class has the stored kind; the message says which plugin may be missing.
    """
    kind = read_manifest(folder, name)["kind"]
    classes = subclasses(ChurnEstimator, MODULES)
    by_kind = index_unique(classes, "classes of churn estimators", "kind")
    estimator_class: type[ChurnEstimator] = class_of_kind(by_kind, kind, folder, "churn estimator")
    return estimator_class.load(folder, name)

"""The mean of several estimators' scores; by default of logistic regression and LightGBM."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.churn.base import (
    ChurnEstimator,
    ChurnEstimatorSpec,
    FitInputs,
    load_estimator,
    read_manifest,
)


@dataclass(frozen=True)
class AverageParams:
    """Parameters of an average.

    Attributes:
        members: names of the estimators that are averaged; their scores must be log-odds.
    """

    members: tuple[str, ...] = ("logistic", "lightgbm")


@dataclass(frozen=True)
class AverageEstimator(ChurnEstimator):
    """The mean of its members' scores."""

    kind: ClassVar[str] = "average"
    members: tuple[ChurnEstimator, ...]

    @classmethod
    def fit(cls, inputs: FitInputs, params: AverageParams) -> Self:
        """Takes the members that the same training has fitted."""
        return cls(tuple(inputs.fit_member(name) for name in params.members))

    def decision_function(self, rows: pa.Table | pa.RecordBatch) -> Doubles:
        """The mean of the members' scores, (rows,), added in the members' order."""
        total = np.zeros(rows.num_rows)
        for member in self.members:
            total += member.decision_function(rows)
        return total / len(self.members)

    def save(self, folder: Path, name: str) -> None:
        """Writes `<name>.json` with the number of members, and the members as `<name>-<n>`."""
        self.write_manifest(folder, name, parts=len(self.members))
        for number, member in enumerate(self.members):
            member.save(folder, f"{name}-{number}")

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Reads what `save` wrote."""
        count = read_manifest(folder, name)["parts"]
        return cls(tuple(load_estimator(folder, f"{name}-{number}") for number in range(count)))


average = ChurnEstimatorSpec("average", AverageEstimator.fit, AverageParams(), order=50)

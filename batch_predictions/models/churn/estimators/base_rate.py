"""The baseline that gives every customer the share of those who churned."""

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
    read_manifest,
)


@dataclass(frozen=True)
class BaseRateEstimator(ChurnEstimator):
    """The same log-odds of churn for all customers.

    Attributes:
        log_odds: of the share of the training rows that churned.
    """

    kind: ClassVar[str] = "base_rate"
    log_odds: float

    @classmethod
    def fit(cls, inputs: FitInputs, params: None) -> Self:
        """Counts those who churned; half a customer is added to each side."""
        churned = float(inputs.examples.churned.sum())
        stayed = len(inputs.examples) - churned
        return cls(float(np.log((churned + 0.5) / (stayed + 0.5))))

    def decision_function(self, rows: pa.Table | pa.RecordBatch) -> Doubles:
        """Returns the log-odds, (rows,)."""
        return np.full(rows.num_rows, self.log_odds)

    def save(self, folder: Path, name: str) -> None:
        """Writes `<name>.json` with the log-odds."""
        self.write_manifest(folder, name, log_odds=self.log_odds)

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Reads what `save` wrote."""
        return cls(read_manifest(folder, name)["log_odds"])


base_rate = ChurnEstimatorSpec("base_rate", BaseRateEstimator.fit, None, is_baseline=True, order=0)

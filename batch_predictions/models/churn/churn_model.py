"""The churn model that serves: an estimator with its calibration, stored in open formats.

Estimators are fitted by their declared names; their scores are calibrated to probabilities on a
later cut-off than those of fitting.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.churn.base import (
    ChurnEstimator,
    FitInputs,
    estimator_specs,
    load_estimator,
)
from batch_predictions.models.churn.data.churn_examples import Examples
from batch_predictions.models.common.calibration import Method, ProbabilityCalibration

MANIFEST_FILE = "churn.json"
CALIBRATION_FILE = "calibration.npy"
ESTIMATOR_NAME = "margin"
"""The names of the estimator's files begin with this."""


@dataclass(frozen=True)
class ChurnModel:
    """Predicts the probability that a customer churns.

    Attributes:
        estimator, calibration: None where there was too little data to train.
        unserved_reason: why there is no estimator; None where there is one.
    """

    estimator: ChurnEstimator | None
    calibration: ProbabilityCalibration | None
    unserved_reason: str | None = None

    @classmethod
    def calibrate(cls, estimator: ChurnEstimator, examples: Examples, method: Method) -> Self:
        """Builds a model of an estimator, calibrated on examples that it was not fitted on."""
        scores = estimator.decision_function(examples.rows)
        return cls(estimator, ProbabilityCalibration.fit(method, scores, examples.churned))

    def probabilities(self, rows: pa.Table | pa.RecordBatch) -> Doubles:
        """The probability of churn of each row of features, (rows,)."""
        assert self.estimator is not None and self.calibration is not None, self.unserved_reason
        return self.calibration.probabilities(self.estimator.decision_function(rows))

    def save(self, folder: Path) -> None:
        """Writes `churn.json`, `calibration.npy` and the estimator's files."""
        manifest = {
            "why_not": self.unserved_reason,
            "calibration": self.calibration.method if self.calibration else None,
        }
        (folder / MANIFEST_FILE).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        if self.estimator is not None and self.calibration is not None:
            self.estimator.save(folder, ESTIMATOR_NAME)
            knots = np.stack([self.calibration.knots, self.calibration.values])
            np.save(folder / CALIBRATION_FILE, knots, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        manifest = json.loads((folder / MANIFEST_FILE).read_text("utf-8"))
        if manifest["calibration"] is None:
            return cls(None, None, manifest["why_not"])
        knots, values = np.load(folder / CALIBRATION_FILE, allow_pickle=False)
        calibration = ProbabilityCalibration(manifest["calibration"], knots, values)
        return cls(load_estimator(folder, ESTIMATOR_NAME), calibration)


class EstimatorTrainer:
    """Fits estimators on the same examples, each at most once.

    Args:
        examples: customers of past days with their outcomes.
        seed: seed of everything random.
    """

    def __init__(self, examples: Examples, seed: int) -> None:
        self._inputs = FitInputs(examples, seed, fit_member=self.fit)
        self._fitted: dict[str, ChurnEstimator] = {}

    def fit(self, name: str) -> ChurnEstimator:
        """Fits the estimator of a name, or returns it if it was fitted before.

        Raises:
            ValueError: no estimator has this name; the message lists the known ones.
        """
        if name not in self._fitted:
            specs = estimator_specs()
            if name not in specs:
                raise ValueError(
                    f"there is no churn estimator {name!r}: choose from {', '.join(specs)}"
                )
            self._fitted[name] = specs[name].fit(self._inputs, specs[name].params)
        return self._fitted[name]

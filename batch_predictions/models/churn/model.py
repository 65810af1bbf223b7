"""A churn model: a margin and its calibration, stored in open formats."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from batch_predictions.models.churn.calibration import ProbabilityCalibration
from batch_predictions.models.churn.estimators import ChurnEstimator, load_estimator
from batch_predictions.models.churn.features import Doubles


@dataclass(frozen=True)
class ChurnModel:
    """What scores customers; without a margin it has learned nothing, and says why."""

    margin: ChurnEstimator | None
    calibration: ProbabilityCalibration | None
    unserved_reason: str | None = None

    def probabilities(self, rows: pa.Table | pa.RecordBatch) -> Doubles:
        """The probability of churn of each row of features."""
        assert self.margin is not None and self.calibration is not None, self.unserved_reason
        return self.calibration.probabilities(self.margin.margins(rows))

    def save(self, folder: Path) -> None:
        """`churn.json`, the margin's files and the calibration's knots."""
        about = {
            "why_not": self.unserved_reason,
            "calibration": self.calibration.method if self.calibration else None,
        }
        (folder / "churn.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
        if self.margin is not None and self.calibration is not None:
            self.margin.save(folder, "margin")
            knots = np.stack([self.calibration.knots, self.calibration.values])
            np.save(folder / "calibration.npy", knots, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        about = json.loads((folder / "churn.json").read_text("utf-8"))
        if about["calibration"] is None:
            return cls(None, None, about["why_not"])
        knots, values = np.load(folder / "calibration.npy", allow_pickle=False)
        calibration = ProbabilityCalibration(about["calibration"], knots, values)
        return cls(load_estimator(folder, "margin"), calibration)

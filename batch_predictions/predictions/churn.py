"""Who of the active customers will buy nothing in the coming days, every day."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import pyarrow as pa

from batch_predictions.inference.declaration import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext
from batch_predictions.inference.validation import Check
from batch_predictions.models.churn.model import ChurnModel
from batch_predictions.reporting import new_axes
from batch_predictions.tables import CHURN_SCORES
from batch_predictions.warehouse import Warehouse, as_date

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ChurnScorer:
    """The champion's calibrated probability, from the day's features."""

    version: ClassVar[str] = "1"
    uses_gpu: ClassVar[bool] = False
    # Numpy and LightGBM let go of the interpreter's lock.
    workers: ClassVar[str] = "threads"

    def __init__(self, model: ChurnModel) -> None:
        self.model = model

    @classmethod
    def open(cls, opening: ScorerContext) -> Self:
        """Opens the model."""
        assert opening.model is not None
        return cls(ChurnModel.load(opening.model))

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Probabilities of customers (the columns of features.churn_features)."""
        count = rows.num_rows
        if self.model.unserved_reason is None:
            probabilities = pa.array(self.model.probabilities(rows))
            excluded = pa.nulls(count, pa.string())
        else:
            probabilities = pa.nulls(count, pa.float64())
            excluded = pa.array([self.model.unserved_reason] * count, pa.string())
        return pa.RecordBatch.from_pydict(
            {
                "user_id": rows["user_id"],
                "churn_probability": probabilities,
                "days_inactive": rows["days_inactive"],
                EXCLUDED: excluded,
            }
        )


def plot(warehouse: Warehouse, day: str) -> Figure | None:
    """Customers by probability of churn."""
    found = warehouse.query(
        "select churn_probability from predictions.churn_scores where date = $date",
        {"date": as_date(day)},
    )
    if not found.num_rows:
        return None
    values = found["churn_probability"].to_numpy()
    figure, ax = new_axes(
        f"{len(values):,} active customers, {values.sum():,.0f} of them expected to go, {day}"
    )
    ax.hist(values, np.linspace(0, 1, 41), color="#4c78a8")
    ax.set_yscale("log")
    ax.set_xlabel("probability of churn", fontsize=9)
    ax.set_ylabel("customers", fontsize=9)
    return figure


churn_scores = BatchPrediction(
    table=CHURN_SCORES,
    key=("user_id",),
    rows="select * exclude (date) from features.churn_features where date = $date",
    scorer=ChurnScorer,
    model="churn",
    checks=(
        Check(
            "probabilities",
            "Every probability is a number between 0 and 1.",
            """select count(*) from new_rows
                where (churn_probability between 0 and 1) is not true""",
        ),
    ),
    plot=plot,
    kinds=frozenset({"lightgbm", "duckdb"}),
)

"""Churn probabilities of the active customers, every day; other users have a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa

from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED
from batch_predictions.inference.validation import Check
from batch_predictions.models.queries.feature_encoder import WEEKDAY
from batch_predictions.predictions.audience_plots import plot_churn_probabilities
from batch_predictions.predictions.query_predictions import QueryScorer
from batch_predictions.settings import Settings
from batch_predictions.tables import CHURN_SCORES


class ChurnScorer(QueryScorer):
    """The champion's calibrated probability of churn, from the day's features."""

    version: ClassVar[str] = "2"

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Probabilities of customers (the columns of features.churn_history)."""
        count = rows.num_rows
        if self.model.unserved_reason is None:
            probabilities = pa.array(self.model.predict(rows)["probability"])
            excluded = pa.nulls(count, pa.string())
        else:
            probabilities = pa.nulls(count, pa.float64())
            excluded = pa.array([self.model.unserved_reason] * count, pa.string())
        return pa.RecordBatch.from_pydict(
            {
                "user_id": rows["user_id"],
                "churn_probability": probabilities,
                "days_inactive": rows["churn_days_since"].cast(pa.int64()),
                EXCLUDED: excluded,
            }
        )


def parameters(settings: Settings) -> Mapping[str, Any]:
    """Returns the days without a purchase after which a customer is not scored."""
    return {"active_days": settings.churn.active_days}


churn_scores = BatchPrediction(
    table=CHURN_SCORES,
    key=("user_id",),
    rows=f"""
        select * exclude (date), (isodow($date::DATE) - 1)::DOUBLE as {WEEKDAY}
        from features.churn_history where date = $date
    """,
    eligible="""
        select user_id, 'no purchase in the last ' || $active_days::INTEGER
            || ' days (churn.active_days)' as reason
        from features.user_segments where date = $date
    """,
    scorer=ChurnScorer,
    model="churn",
    parameters=parameters,
    checks=(
        Check(
            "probabilities",
            "Every probability is a number between 0 and 1.",
            """select count(*) from new_rows
                where (churn_probability between 0 and 1) is not true""",
        ),
    ),
    plot=plot_churn_probabilities,
    kinds=frozenset({"lightgbm", "duckdb"}),
)

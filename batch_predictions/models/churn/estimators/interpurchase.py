"""Baseline: logistic regression on recency, visits and the intervals between visits."""

from __future__ import annotations

from batch_predictions.models.churn.base import ChurnEstimatorSpec
from batch_predictions.models.churn.data.churn_features import INTERPURCHASE_COLUMNS
from batch_predictions.models.churn.estimators.logistic import LogisticEstimator, LogisticParams

interpurchase_baseline = ChurnEstimatorSpec(
    "rhythm",
    LogisticEstimator.fit,
    LogisticParams(INTERPURCHASE_COLUMNS),
    is_baseline=True,
    order=20,
)

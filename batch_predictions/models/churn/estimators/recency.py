"""Baseline: logistic regression on the days since the newest purchase."""

from __future__ import annotations

from batch_predictions.models.churn.base import ChurnEstimatorSpec
from batch_predictions.models.churn.data.churn_features import RECENCY_COLUMNS
from batch_predictions.models.churn.estimators.logistic import LogisticEstimator, LogisticParams

recency_baseline = ChurnEstimatorSpec(
    "recency", LogisticEstimator.fit, LogisticParams(RECENCY_COLUMNS), is_baseline=True, order=10
)

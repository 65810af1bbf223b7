"""Customers whose churn depends on one known feature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from batch_predictions.models.churn.data.churn_examples import Examples
from batch_predictions.models.churn.data.churn_features import AGE, ALL_COLUMNS


def make_examples(seed: int, number: int = 1500, feature: str | None = "spend_trend") -> Examples:
    """Customers whose log-odds of churn fall with one feature, and rise a little with recency.

    Without a feature, all have the same log-odds.
    """
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        name: random.gamma(2, 3, number)
        for name in ALL_COLUMNS
        if name not in (AGE, "spend_trend", "visit_trend")
    }
    columns["spend_trend"], columns["visit_trend"] = random.normal(size=(2, number))
    columns["user_id"] = [f"u{n:05d}" for n in range(number)]
    columns["age_bracket"] = random.choice(["25-34", "unknown"], number)
    columns["gender"] = random.choice(["f", "m", "unknown"], number)
    columns["gap_sd"] = np.where(random.random(number) < 0.1, np.nan, columns["gap_sd"])
    rows = pa.table(columns)
    log_odds = np.full(number, -2.0)
    if feature is not None:
        values = rows[feature].to_numpy()
        if feature != "spend_trend":
            values = np.log1p(values)
        standardised = (values - values.mean()) / values.std()
        log_odds = -2.0 - 2.0 * standardised + 0.1 * rows["days_inactive"].to_numpy()
    churned = (random.random(number) < 1 / (1 + np.exp(-log_odds))).astype(np.float64)
    return Examples(rows, churned)

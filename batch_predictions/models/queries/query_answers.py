"""Answers about a tested model: its calibration, its strongest features, and examples."""

from __future__ import annotations

from typing import Any

import numpy as np

from batch_predictions.features.history.history_sql import history_keys
from batch_predictions.models.queries.query_estimators import trees_in
from batch_predictions.models.queries.query_examples import QueryExamples
from batch_predictions.models.queries.query_metrics import predicted_and_seen, tenths
from batch_predictions.models.queries.query_model import QueryModel
from batch_predictions.models.queries.query_selection import QuerySelection


def count_positives(test: QueryExamples) -> int:
    """Number of examples with a value other than 0."""
    return int((np.nan_to_num(test.target) != 0).sum())


def calibration_rows(model: QueryModel, test: QueryExamples) -> list[dict[str, float]]:
    """Means of what was predicted and of what happened, by tenths of the predictions."""
    predicted, seen = predicted_and_seen(model, test)
    return [
        {"predicted": float(predicted[rows].mean()), "observed": float(seen[rows].mean())}
        for rows in tenths(predicted)
    ]


def strongest_features(selection: QuerySelection) -> list[dict[str, Any]]:
    """Features by their share in the trees' gain, the largest first; empty without trees."""
    models = (selection.tested, selection.best_trees)
    for model in models:
        trees = trees_in(model.estimator) if model else None
        if model and trees:
            shares = zip(model.encoder.names, trees.gains, strict=False)
            rows = [
                {"feature": name, "meaning": model.describe(name), "share": share}
                for name, share in shares
                if share > 0
            ]
            return sorted(rows, key=lambda row: -float(row["share"]))
    return []


def example_rows(model: QueryModel, test: QueryExamples, n: int) -> list[dict[str, Any]]:
    """Some entities with what was predicted, what happened and why, spread over the predictions."""
    predicted, seen = predicted_and_seen(model, test)
    places = np.unique(np.linspace(0, len(test) - 1, n).round().astype(int))
    chosen = np.argsort(predicted, kind="stable")[places][::-1]
    rows = test.rows.take(chosen)
    reasons = model.reasons(rows)
    return [
        {
            **{key: rows[key][number].as_py() for key in history_keys(model.query)},
            "predicted": float(predicted[place]),
            "observed": float(seen[place]),
            "reason": reasons[number],
        }
        for number, place in enumerate(chosen)
    ]

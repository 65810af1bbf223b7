"""Metrics of predictive queries, by what is predicted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from batch_predictions.core.arrays import Doubles, Int64s
from batch_predictions.features.history.history_sql import history_keys
from batch_predictions.models.common.calibration import MIN_PROBABILITY
from batch_predictions.models.common.intervals import Row
from batch_predictions.models.common.probability_metrics import (
    AUC,
    BRIER,
    ECE,
    LIFT,
    EvaluatedModel,
)
from batch_predictions.models.common.ranking_metrics import ndcg
from batch_predictions.models.queries.first_events import first_event_losses
from batch_predictions.models.queries.query_examples import QueryExamples, outcomes
from batch_predictions.models.queries.query_model import QueryModel
from batch_predictions.settings.predictive_query import PredictiveQuery

DEVIANCE, MSE, LOG_LOSS, NDCG_K = "poisson_deviance", "mse", "log_loss", "ndcg"
MIN_MEAN_SHARE = 0.01
"""Smaller means than this share of the overall one count as it in the deviance."""


def gate_metric(query: PredictiveQuery, *, is_never_negative: bool) -> tuple[str, bool]:
    """Name of the metric that decides, and whether lower values are better.

    Poisson's deviance is consistent for means, as the squared error is (Gneiting 2011, "Making and
    Evaluating Point Forecasts"), but grows with the size of an error, not with its square: one
    entity a hundred times as large as others does not decide alone.
    """
    task = query.target.task
    if task == "mean":
        return (DEVIANCE if is_never_negative else MSE), True
    return (NDCG_K, False) if task == "top" else (LOG_LOSS, True)


def unit_values(model: QueryModel, test: QueryExamples) -> Doubles:
    """The deciding metric of every entity of a test day, (entities,).

    Args:
        model: the model that is judged.
        test: examples; those of a `top` are the rows of pairs, sorted by entity.
    """
    features, task = model.encoder.transform(test.rows), model.query.target.task
    if task == "mean":
        means = model.means(features)
        return np.square(means - test.target) if model.floor is None else deviances(means, test)
    if task == "first":
        return first_event_losses(model.survival(features), test.target, model.interval_ends)
    probabilities = model.probabilities(features)
    if task == "top":
        return list_scores(model.query, test, probabilities)
    return log_losses(probabilities, outcomes(model.query, test.target))


def log_losses(probabilities: Doubles, happened: Doubles) -> Doubles:
    """Minus the logarithm of the probability of each outcome, 0 or 1, (n,)."""
    of_outcome = np.where(happened > 0, probabilities, 1 - probabilities)
    return -np.log(np.maximum(of_outcome, MIN_PROBABILITY))


def deviances(means: Doubles, test: QueryExamples) -> Doubles:
    """Poisson's deviance of each expected value of a target of 0 or more, (entities,)."""
    target = test.target
    means = np.maximum(means, max(MIN_MEAN_SHARE * float(target.mean()), 1e-12))
    ratio = np.where(target > 0, target, 1.0) / means
    return np.where(target > 0, 2 * (target * np.log(ratio) - target + means), 2 * means)


def list_scores(query: PredictiveQuery, test: QueryExamples, scores: Doubles) -> Doubles:
    """NDCG@k of each entity that has a value in its window, (entities,).

    Args:
        query: a `top`.
        test: rows of pairs, sorted by entity.
        scores: of the pairs; of equal ones the first value in alphabetical order comes first.
    """
    k = query.target.k
    starts = entity_starts(query, test)
    ends = np.append(starts[1:], len(test))
    values = []
    for start, end in zip(starts, ends, strict=True):
        relevant = test.target[start:end] > 0
        if relevant.any():
            order = np.argsort(-scores[start:end], kind="stable")[:k]
            hits = np.zeros(k, bool)
            hits[: len(order)] = relevant[order]
            values.append(ndcg(hits[None], np.array([relevant.sum()]))[0])
    return np.array(values)


def entity_starts(query: PredictiveQuery, test: QueryExamples) -> Int64s:
    """First row of each entity of a `top`, (entities,)."""
    if not len(test):
        return np.zeros(0, np.int64)
    keys = test.rows[history_keys(query)[0]].to_numpy()
    return np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])).astype(np.int64)


def predicted_and_seen(model: QueryModel, test: QueryExamples) -> tuple[Doubles, Doubles]:
    """Predicted values or probabilities, and the values or the 0 or 1 that happened, (n,) each."""
    predicted = model.predict(test.rows)
    if model.query.target.task == "mean":
        return predicted["value"], test.target
    return predicted["probability"], outcomes(model.query, test.target)


def tenths(predicted: Doubles) -> list[Int64s]:
    """Rows by tenths of what was predicted, the lowest first; fewer groups for few rows."""
    order = np.argsort(predicted, kind="stable")
    return [rows for rows in np.array_split(order, 10) if len(rows)]


def describe(models: Mapping[str, QueryModel], test: QueryExamples) -> list[Row]:
    """Further metrics of every model on a test day, rows of `evaluation.model_metrics`."""
    return [
        {
            "candidate": name,
            "metric": metric,
            "value": float(value),
            "lower": None,
            "upper": None,
            "n": len(test),
        }
        for name, model in models.items()
        for metric, value in _further_metrics(model, test)
        if np.isfinite(value)
    ]


def _further_metrics(model: QueryModel, test: QueryExamples) -> Iterator[tuple[str, float]]:
    task, predicted = model.query.target.task, model.predict(test.rows)
    if task == "mean":
        error = np.abs(predicted["value"] - test.target)
        yield "mse", float(np.square(error).mean())
        yield "mae", float(error.mean())
        yield "wape", float(error.sum() / np.abs(test.target).sum())
        yield "predicted_to_seen", float(predicted["value"].sum() / test.target.sum())
        if "lower" in predicted:
            inside = (test.target >= predicted["lower"]) & (test.target <= predicted["upper"])
            yield "coverage_80", float(inside.mean())
        return
    happened = outcomes(model.query, test.target)
    if happened.any() and not happened.all():
        evaluated = EvaluatedModel(happened, predicted["probability"])
        values = evaluated.compute_metrics(np.ones((1, len(test))))
        for metric in (AUC, LIFT, BRIER, ECE):
            yield metric, float(values[metric][0])

"""Candidates and baselines of a predictive query, by what is predicted."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from batch_predictions.features.history.event_measures import query_measure
from batch_predictions.models.queries.linear_estimators import (
    ColumnEstimator,
    ExampleMatrix,
    LinearEstimator,
)
from batch_predictions.models.queries.query_estimators import AverageOfEstimators, QueryCandidate
from batch_predictions.models.queries.tree_estimator import Objective, TreeEstimator
from batch_predictions.settings.predictive_query import PredictiveQuery

TWEEDIE = "lightgbm_tweedie"
"""Trees with Tweedie's deviance, which multiply the decayed mean."""


def query_candidates(
    query: PredictiveQuery,
    names: Sequence[str],
    seed: int,
    *,
    is_never_negative: bool,
    intervals: int,
) -> list[QueryCandidate]:
    """The candidates and baselines that are compared for a query.

    Args:
        query: what is predicted.
        names: of the features that there are.
        seed: of the trees.
        is_never_negative: whether no target is below 0: trees then multiply the decayed mean.
        intervals: number of intervals of the time to the first event; 0 for other tasks.
    """
    places = {name: place for place, name in enumerate(names)}
    if query.target.task == "mean":
        baselines = list(_mean_baselines(query, places))
        if is_never_negative:
            offset = _by_name(baselines, "decayed_mean", "mean")
            return [*baselines, _trees(TWEEDIE, "tweedie", seed, offset)]
        trees = _trees("lightgbm", "regression", seed)
    else:
        baselines = list(_log_odds_baselines(query, places, intervals))
        trees = _trees("lightgbm", "binary", seed)
    return [*baselines, trees, _average("average", trees, baselines[-1])]


def offset_of(
    candidates: Sequence[QueryCandidate], fitted: ExampleMatrix, later: ExampleMatrix
) -> LinearEstimator | None:
    """The offset of trees that multiply one; None where trees predict the mean itself."""
    if not any(candidate.name == TWEEDIE for candidate in candidates):
        return None
    offset = _by_name(candidates, "decayed_mean", "mean").fit(fitted, later)
    assert isinstance(offset, LinearEstimator)
    return offset


def _by_name(candidates: Sequence[QueryCandidate], *names: str) -> QueryCandidate:
    """The first of the names that there is."""
    by_name = {candidate.name: candidate for candidate in candidates}
    return next(by_name[name] for name in names if name in by_name)


def _trees(
    name: str, objective: Objective, seed: int, offset: QueryCandidate | None = None
) -> QueryCandidate:
    @functools.lru_cache(maxsize=1)
    def fit(fitted: ExampleMatrix, later: ExampleMatrix) -> TreeEstimator:
        base = offset.fit(fitted, later) if offset else None
        assert base is None or isinstance(base, LinearEstimator)
        return TreeEstimator.fit(fitted, later, objective, seed, offset=base)

    return QueryCandidate(name, fit)


def _average(name: str, trees: QueryCandidate, linear: QueryCandidate) -> QueryCandidate:
    return QueryCandidate(
        name,
        lambda fitted, later: AverageOfEstimators(
            (trees.fit(fitted, later), linear.fit(fitted, later))
        ),
    )


def _linear(name: str, columns: Sequence[int], logistic: bool, intervals: int) -> QueryCandidate:
    @functools.lru_cache(maxsize=1)
    def fit(fitted: ExampleMatrix, later: ExampleMatrix) -> LinearEstimator:
        return LinearEstimator.fit(fitted, columns, is_logistic=logistic, intervals=intervals)

    return QueryCandidate(name, fit, is_baseline=True)


def _column(name: str, column: int) -> QueryCandidate:
    def fit(fitted: ExampleMatrix, later: ExampleMatrix) -> ColumnEstimator:
        return ColumnEstimator(column, float(fitted.target.mean()))

    return QueryCandidate(name, fit, is_baseline=True)


def _own_columns(query: PredictiveQuery, places: dict[str, int]) -> list[int]:
    return [places[name] for name, _, _ in query_measure(query).columns() if name in places]


def _mean_baselines(query: PredictiveQuery, places: dict[str, int]) -> Iterator[QueryCandidate]:
    name = query.name
    yield _linear("mean", (), False, 0)
    for baseline, column in {
        "last_period": f"{name}_{query.days}d",
        "year_before": f"{name}_year_ago",
    }.items():
        if column in places:
            yield _column(baseline, places[column])
    for baseline, column in {
        "decayed_mean": f"{name}_decayed_56d",
        "mean_of_a_year": f"{name}_364d",
    }.items():
        if column in places:
            yield _linear(baseline, (places[column],), False, 0)
    yield _linear("linear", _own_columns(query, places), False, 0)


def _log_odds_baselines(
    query: PredictiveQuery, places: dict[str, int], intervals: int
) -> Iterator[QueryCandidate]:
    name = query.name
    popularity = f"{query.target.expression.removesuffix('_id')}_{name}_28d"
    common = [places[popularity]] if query.target.task == "top" and popularity in places else []
    yield _linear("popularity" if common else "base_rate", common, True, intervals)
    for baseline, column in {
        "recency": f"{name}_days_since",
        "last_period": f"{name}_{query.days}d",
        "decayed_mean": f"{name}_decayed_56d",
    }.items():
        if column in places:
            yield _linear(baseline, [places[column], *common], True, intervals)
    yield _linear("linear", [*_own_columns(query, places), *common], True, intervals)

"""Fits the candidates of a predictive query on past windows, calibrated on a later one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from batch_predictions.features.history.history_sql import History
from batch_predictions.models.common.calibration import PlattCalibration
from batch_predictions.models.queries.feature_encoder import FeatureEncoder
from batch_predictions.models.queries.first_events import expand
from batch_predictions.models.queries.linear_estimators import ExampleMatrix
from batch_predictions.models.queries.query_candidates import offset_of, query_candidates
from batch_predictions.models.queries.query_estimators import QueryCandidate, trees_in
from batch_predictions.models.queries.query_examples import (
    QueryExamples,
    QueryWindows,
    query_windows,
)
from batch_predictions.models.queries.query_model import (
    PredictionInterval,
    QueryModel,
)
from batch_predictions.settings.predictive_query import PredictiveQuery

MIN_EXAMPLES = 5
"""Examples of each use without which no model is trained."""
MIN_TESTED = 20
"""Tested entities from which trees are candidates: fewer do not say what is chance."""
MAX_SNAPSHOT_SHARE = 0.5
"""Share of the trees' gain from which an attribute without a past is left out: it may have been
written after what is predicted."""

Progress = Callable[[str], None]
ReadExamples = Callable[[dt.date], QueryExamples]


class CandidateTrainer:
    """Fits the candidates of a query on past windows; the examples of a day are read once.

    Args:
        query: what is predicted.
        history: the features.
        read: reads the examples of a past day.
        seed: of everything random.
        progress: receives log lines.

    Attributes:
        candidates: those that were fitted last.
    """

    def __init__(
        self,
        query: PredictiveQuery,
        history: History,
        read: ReadExamples,
        seed: int,
        progress: Progress,
    ) -> None:
        self.query, self.history, self.seed, self.progress = query, history, seed, progress
        self._read = read
        self._examples: dict[dt.date, QueryExamples] = {}
        self.candidates: list[QueryCandidate] = []
        self._left_out: list[str] = []

    def examples(self, day: dt.date) -> QueryExamples:
        """The examples of a past day."""
        if day not in self._examples:
            self._examples[day] = self._read(day)
            self.progress(f"{len(self._examples[day]):,} examples as of {day}")
        return self._examples[day]

    def find_shortage(self, windows: QueryWindows) -> str | None:
        """Explains why there are too few examples; None where there are enough."""
        fitted = QueryExamples.concat([self.examples(day) for day in windows.fit_days])
        assert windows.test_day is not None
        uses = {
            "fitting": fitted,
            "calibration": self.examples(windows.calibration_day),
            "test": self.examples(windows.test_day),
        }
        for use, examples in uses.items():
            known = examples.target[~np.isnan(examples.target)]
            if len(known) < MIN_EXAMPLES or known.min() == known.max():
                which = "without differences" if len(known) >= MIN_EXAMPLES else "with a value"
                return (
                    f"no model was trained: of {len(examples):,} examples for {use}, "
                    f"{len(known):,} are {which}; {MIN_EXAMPLES} with different values are needed"
                )
        return None

    def fit_all(self, windows: QueryWindows) -> tuple[dict[str, QueryModel], list[str]]:
        """Every candidate by name; names of attributes that were left out."""
        fitted, later = self._split(windows)
        models = self._fit(self._encoder(fitted), fitted, later)
        suspects = [
            name
            for name, share in snapshot_shares(models, self.history).items()
            if share > MAX_SNAPSHOT_SHARE
        ]
        if suspects:
            self.progress(explain_left_out(suspects))
            models = self._fit(self._encoder(fitted, suspects), fitted, later)
        self._left_out = suspects
        return models, suspects

    def refit(self, name: str, first: dt.date, through: dt.date) -> tuple[str, QueryModel]:
        """The candidate of a name, fitted on windows that end one window later.

        Where these windows lack what it needs, such as a column that varies or targets of 0 or
        more, the last candidate that they allow is fitted.

        Returns:
            The candidate that was fitted, and its model.
        """
        windows = query_windows(self.query, first, through, with_test=False)
        assert windows is not None
        fitted, later = self._split(windows)
        encoder = self._encoder(fitted, self._left_out)
        models = self._fit(encoder, fitted, later, only=name)
        if name not in models:
            last = self.candidates[-1].name
            self.progress(f"{name} cannot be fitted on the newest windows: {last} serves")
            name, models = last, self._fit(encoder, fitted, later, only=last)
        return name, models[name]

    def _split(self, windows: QueryWindows) -> tuple[QueryExamples, QueryExamples]:
        fitted = QueryExamples.concat([self.examples(day) for day in windows.fit_days])
        later = self.examples(windows.calibration_day)
        if self.query.target.task == "first":
            return fitted, later
        return fitted.known(), later.known()

    def _encoder(self, fitted: QueryExamples, without: Sequence[str] = ()) -> FeatureEncoder:
        return FeatureEncoder.fit(
            fitted.rows,
            [*self.history.features(), *(["price"] if "price" in self.history.attributes else [])],
            [name for name in self.history.attributes if name != "price"],
            has_weekday=self.query.days % 7 != 0,
            without=without,
        )

    def _fit(
        self,
        encoder: FeatureEncoder,
        fitted: QueryExamples,
        later: QueryExamples,
        only: str | None = None,
    ) -> dict[str, QueryModel]:
        """Fits and calibrates the candidates, or one of them."""
        query, words = self.query, self.history.features()
        is_nonnegative = bool(min(np.nanmin(fitted.target), np.nanmin(later.target)) >= 0)
        base = QueryModel(query, encoder, words=words, floor=0.0 if is_nonnegative else None)
        train = ExampleMatrix(encoder.transform(fitted.rows), fitted.target)
        valid = ExampleMatrix(encoder.transform(later.rows), later.target)
        n_intervals = 0
        if query.target.task == "first":
            ends = base.interval_ends
            train, valid, n_intervals = expand(train, ends), expand(valid, ends), len(ends)
        self.candidates = query_candidates(
            query,
            encoder.names,
            self.seed,
            is_never_negative=is_nonnegative,
            intervals=n_intervals,
        )
        if len(later) < MIN_TESTED:
            self.candidates = [c for c in self.candidates if c.is_baseline]
        interval = self._interval(train, valid)
        models = {}
        for candidate in self.candidates:
            if only in (None, candidate.name):
                estimator = candidate.fit(train, valid)
                model = replace(base, estimator=estimator, interval=interval)
                models[candidate.name] = _calibrate(model, valid)
        return models

    def _interval(self, train: ExampleMatrix, valid: ExampleMatrix) -> PredictionInterval | None:
        """The interval of a mean; None for other tasks."""
        if self.query.target.task != "mean":
            return None
        offset = offset_of(self.candidates, train, valid)
        return PredictionInterval.fit(train, valid, offset, self.seed)


def _calibrate(model: QueryModel, valid: ExampleMatrix) -> QueryModel:
    """Log-odds become probabilities on the later examples; means stay as they are."""
    assert model.estimator is not None
    if model.query.target.task == "mean":
        return model
    scores = model.estimator.predict(valid.features)
    return replace(model, calibration=PlattCalibration.fit(scores, valid.target))


def snapshot_shares(models: Mapping[str, QueryModel], history: History) -> dict[str, float]:
    """Share of the trees' gain of each attribute of users and items, the largest first."""
    shares: dict[str, float] = {}
    for model in models.values():
        trees = trees_in(model.estimator)
        for name, share in zip(model.encoder.names, trees.gains if trees else (), strict=False):
            if name.partition("[")[0] in history.attributes:
                shares[name] = max(shares.get(name, 0.0), share)
    return dict(sorted(shares.items(), key=lambda entry: -entry[1]))


def explain_left_out(names: Sequence[str]) -> str:
    """Explains in a sentence why attributes were left out."""
    return (
        f"{' and '.join(names)} of the newest snapshot had more than half of the trees' gain: left "
        "out, since its values of today may have been written after what is predicted"
    )

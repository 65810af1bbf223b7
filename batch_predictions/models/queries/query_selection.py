"""Selects the model of a predictive query: candidates are compared on the newest past window.

Means are judged by the squared error, probabilities by the log loss, first events by the likelihood
of their day or of none: proper scores, which are best for those who say what they expect. The lists
of a `top` are judged by NDCG. A candidate serves if the 95 % interval of its paired gain over the
best baseline is above zero; it is then fitted again on newer windows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from batch_predictions.features.history.history_sql import History
from batch_predictions.models.common.calibration import ProbabilityCalibration
from batch_predictions.models.common.intervals import Row
from batch_predictions.models.common.promotion_gate import GateResult, paired_gate
from batch_predictions.models.queries.feature_encoder import FeatureEncoder
from batch_predictions.models.queries.first_events import expand
from batch_predictions.models.queries.query_candidates import offset_of, query_candidates
from batch_predictions.models.queries.query_estimators import (
    ExampleMatrix,
    QueryCandidate,
    trees_in,
)
from batch_predictions.models.queries.query_examples import (
    MIN_HISTORY,
    QueryExamples,
    QueryWindows,
    query_windows,
)
from batch_predictions.models.queries.query_metrics import describe, gate_metric, unit_values
from batch_predictions.models.queries.query_model import (
    MIN_PROBABILITY,
    PredictionInterval,
    QueryModel,
)
from batch_predictions.settings.predictive_query import PredictiveQuery

UNTRAINED = "untrained"
MIN_EXAMPLES = 5
"""Examples of each use without which no model is trained."""
MIN_TESTED = 20
"""Tested entities from which trees are candidates: fewer do not say what is chance."""
MAX_SNAPSHOT_SHARE = 0.5
"""Share of the trees' gain from which an attribute without a past is left out: it may have been
written after what is predicted."""

Progress = Callable[[str], None]
ReadExamples = Callable[[dt.date], QueryExamples]


@dataclass(frozen=True)
class QuerySelection:
    """The result of the selection of a query's model.

    Attributes:
        model: the model that serves.
        candidate: its name; `untrained` if there was too little data.
        beats_baseline: whether a candidate passed.
        why: the decision in a sentence.
        metrics: rows of `evaluation.model_metrics`.
        gate: the comparison; None if there was too little data.
        test: the examples of the newest past window.
        tested: the model that was tested on them, of the candidate that serves.
        best_trees: the best tested model with trees, whether or not it serves.
        snapshot_shares: share in the trees' gain of each attribute that has no past.
        left_out: features that were left out since they have no past and too large a share.
        windows: the past days.
    """

    model: QueryModel
    candidate: str
    beats_baseline: bool
    why: str
    metrics: list[Row] = field(default_factory=list)
    gate: GateResult | None = None
    test: QueryExamples | None = None
    tested: QueryModel | None = None
    best_trees: QueryModel | None = None
    snapshot_shares: Mapping[str, float] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    windows: QueryWindows | None = None


def select_query_model(
    query: PredictiveQuery,
    history: History,
    read: ReadExamples,
    first: dt.date | None,
    through: dt.date,
    seed: int,
    progress: Progress = lambda text: None,
    *,
    refit: bool = True,
) -> QuerySelection:
    """Compares candidates and baselines on the newest past window and fits the winner.

    Args:
        query: what is predicted.
        history: the features.
        read: reads the examples of a past day.
        first: day of the oldest event; None without any.
        through: last day whose events are known.
        seed: of everything random.
        progress: receives log lines.
        refit: whether the winner is fitted again through the newest window; False: the model that
            was tested is returned.
    """
    window = query.starts_in + query.days
    test_windows = first and query_windows(query, first, through, with_test=True)
    if first is None or not test_windows or test_windows.test_day is None:
        found = "there are none" if first is None else f"the first is of {first}"
        return _untrained(
            query,
            f"no model was trained: {3 * window + MIN_HISTORY} days of the events are needed, "
            f"three windows and {MIN_HISTORY} days; {found}",
        )
    trainer = _Trainer(query, history, read, seed, progress)
    if shortage := trainer.find_shortage(test_windows):
        return _untrained(query, shortage)
    models, left_out = trainer.fit_all(test_windows)
    test = trainer.examples(test_windows.test_day)
    test = test if query.target.task == "first" else test.known()
    values = {name: unit_values(model, test) for name, model in models.items()}
    metric, lower_is_better = gate_metric(
        query, is_never_negative=next(iter(models.values())).floor is not None
    )
    baselines = [c.name for c in trainer.candidates if c.is_baseline]
    gate = paired_gate(values, baselines, metric=metric, lower_is_better=lower_is_better, seed=seed)
    progress(gate.why)
    tested = models[gate.serving]
    shares = _snapshot_shares(models, history)
    model = trainer.refit(gate.serving, first, through) if refit else tested
    metrics = [*gate.metrics, *describe(models, test)]
    why = gate.why + (f"; {_explain_left_out(left_out)}" if left_out else "")
    return QuerySelection(
        model,
        gate.serving,
        gate.beats_baseline,
        why,
        metrics,
        gate,
        test,
        tested,
        _best_trees(models, gate),
        shares,
        tuple(left_out),
        test_windows,
    )


class _Trainer:
    """Fits the candidates of a query on past windows; the examples of a day are read once."""

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
        left_out: list[str] = []
        encoder = self._encoder(fitted, left_out)
        models = self._fit(encoder, fitted, later)
        suspects = [
            name
            for name, share in _snapshot_shares(models, self.history).items()
            if share > MAX_SNAPSHOT_SHARE
        ]
        if suspects:
            self.progress(_explain_left_out(suspects))
            models = self._fit(self._encoder(fitted, suspects), fitted, later)
        self._left_out = suspects
        return models, suspects

    def refit(self, name: str, first: dt.date, through: dt.date) -> QueryModel:
        """The candidate of a name, fitted on windows that end one window later."""
        windows = query_windows(self.query, first, through, with_test=False)
        assert windows is not None
        fitted, later = self._split(windows)
        encoder = self._encoder(fitted, self._left_out)
        return self._fit(encoder, fitted, later, only=name)[name]

    def _split(self, windows: QueryWindows) -> tuple[QueryExamples, QueryExamples]:
        fitted = QueryExamples.concat([self.examples(day) for day in windows.fit_days])
        later = self.examples(windows.calibration_day)
        if self.query.target.task == "first":
            return fitted, later
        return fitted.known(), later.known()

    def _encoder(self, fitted: QueryExamples, without: Sequence[str]) -> FeatureEncoder:
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
        is_nonnegative = bool(np.nanmin(fitted.target) >= 0)
        base = QueryModel(query, encoder, words=words, floor=0.0 if is_nonnegative else None)
        train = ExampleMatrix(encoder.transform(fitted.rows), fitted.target, tuple(encoder.names))
        valid = ExampleMatrix(encoder.transform(later.rows), later.target, train.names)
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
    calibration = ProbabilityCalibration.fit("platt", scores, valid.target, MIN_PROBABILITY)
    return replace(model, calibration=calibration)


def _snapshot_shares(models: Mapping[str, QueryModel], history: History) -> dict[str, float]:
    """Share of the trees' gain of each attribute of users and items, the largest first."""
    shares: dict[str, float] = {}
    for model in models.values():
        trees = trees_in(model.estimator)
        for name, share in zip(model.encoder.names, trees.gains if trees else (), strict=False):
            if name.partition("[")[0] in history.attributes:
                shares[name] = max(shares.get(name, 0.0), share)
    return dict(sorted(shares.items(), key=lambda entry: -entry[1]))


def _best_trees(models: Mapping[str, QueryModel], gate: GateResult) -> QueryModel | None:
    if not gate.gains:
        return None
    return models[max(gate.gains, key=lambda name: gate.gains[name].mean)]


def _explain_left_out(names: Sequence[str]) -> str:
    return (
        f"{' and '.join(names)} of the newest snapshot had more than half of the trees' gain: left "
        "out, since its values of today may have been written after what is predicted"
    )


def _untrained(query: PredictiveQuery, why: str) -> QuerySelection:
    """A model without an estimator, whose entities are excluded with the reason."""
    return QuerySelection(QueryModel(query, unserved_reason=why), UNTRAINED, False, why)

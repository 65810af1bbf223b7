"""Selects the model of a predictive query: candidates are compared on the newest past window.

Means are judged by Poisson's deviance, or by the squared error where values are below 0,
probabilities by the log loss, first events by the likelihood of their day or of none: proper
scores, which are best for those who say what they expect. The lists of a `top` are judged by NDCG.
A candidate serves if the 95 % interval of its paired gain over the best baseline is above zero; it
is then fitted again on newer windows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from batch_predictions.features.history.history_sql import History
from batch_predictions.models.common.intervals import Row
from batch_predictions.models.common.promotion_gate import GateResult, paired_gate
from batch_predictions.models.queries.candidate_trainer import (
    CandidateTrainer,
    Progress,
    ReadExamples,
    explain_left_out,
    snapshot_shares,
)
from batch_predictions.models.queries.query_examples import (
    MIN_HISTORY,
    QueryExamples,
    QueryWindows,
    query_windows,
)
from batch_predictions.models.queries.query_metrics import describe, gate_metric, unit_values
from batch_predictions.models.queries.query_model import QueryModel
from batch_predictions.settings.predictive_query import PredictiveQuery

UNTRAINED = "untrained"


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
    first: dt.date,
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
        first: day of the oldest event.
        through: last day whose events are known.
        seed: of everything random.
        progress: receives log lines.
        refit: whether the winner is fitted again through the newest window; False: the model that
            was tested is returned.
    """
    windows = query_windows(query, first, through, with_test=True)
    if windows is None or windows.test_day is None:
        return untrained(query, _explain_short_history(query, first))
    trainer = CandidateTrainer(query, history, read, seed, progress)
    if shortage := trainer.find_shortage(windows):
        return untrained(query, shortage)
    models, left_out = trainer.fit_all(windows)
    test = trainer.examples(windows.test_day)
    test = test if query.target.task == "first" else test.known()
    gate = _compare(query, trainer, models, test, seed)
    progress(gate.why)
    serving, model = gate.serving, models[gate.serving]
    if refit:
        serving, model = trainer.refit(gate.serving, first, through)
    return QuerySelection(
        model,
        serving,
        gate.beats_baseline,
        gate.why + (f"; {explain_left_out(left_out)}" if left_out else ""),
        [*gate.metrics, *describe(models, test)],
        gate,
        test,
        models[gate.serving],
        _best_trees(models, gate),
        snapshot_shares(models, history),
        tuple(left_out),
        windows,
    )


def _compare(
    query: PredictiveQuery,
    trainer: CandidateTrainer,
    models: Mapping[str, QueryModel],
    test: QueryExamples,
    seed: int,
) -> GateResult:
    """Compares all candidates on the test day."""
    is_never_negative = next(iter(models.values())).floor is not None
    metric, lower_is_better = gate_metric(query, is_never_negative=is_never_negative)
    return paired_gate(
        {name: unit_values(model, test) for name, model in models.items()},
        [candidate.name for candidate in trainer.candidates if candidate.is_baseline],
        metric=metric,
        lower_is_better=lower_is_better,
        seed=seed,
    )


def _explain_short_history(query: PredictiveQuery, first: dt.date) -> str:
    needed = 3 * (query.starts_in + query.days) + MIN_HISTORY
    return (
        f"no model was trained: {needed} days of the events are needed, three windows and "
        f"{MIN_HISTORY} days; the first is of {first}"
    )


def _best_trees(models: Mapping[str, QueryModel], gate: GateResult) -> QueryModel | None:
    if not gate.gains:
        return None
    return models[max(gate.gains, key=lambda name: gate.gains[name].mean)]


def untrained(query: PredictiveQuery, why: str) -> QuerySelection:
    """A model without an estimator, whose entities are excluded with the reason."""
    return QuerySelection(QueryModel(query, unserved_reason=why), UNTRAINED, False, why)

"""Chooses by past origins, never by fit: each series' champion, and whether it may serve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from batch_predictions.models.demand.evaluation import Backtest
from batch_predictions.models.demand.model import DemandModel
from batch_predictions.models.demand.panel import Panel


@dataclass(frozen=True)
class Contest:
    """How candidates are compared.

    Attributes:
        candidates: names of families (see `families.make`), in the order of the table.
        horizon: columns ahead; the longest sum that is calibrated, too.
        origins: past origins; every: columns between them; fits: how often over the origins each
            method is fitted.
        baseline: what the champion must beat.
        max_bias: largest |bias| of a champion, as a share of demand.
        options: parameters of methods by name, e.g. {"gru": {"epochs": 5}}.
        seed: of everything random.
    """

    candidates: tuple[str, ...] = (
        "mean28_weekday",
        "seasonal_naive",
        "linear_promotions",
        "linear_regression",
        "sarima",
        "lightgbm",
        "gru",
        "average",
    )
    horizon: int = 14
    origins: int = 6
    every: int = 14
    fits: int = 1
    baseline: str = "mean28_weekday"
    max_bias: float = 0.05
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    seed: int = 7


@dataclass(frozen=True)
class Figure:
    """One row of the table of candidates."""

    candidate: str
    metric: str
    value: float
    lower: float
    upper: float
    n: int


@dataclass(frozen=True)
class Selected:
    """What came of a contest.

    Attributes:
        model: the winner, fitted on all columns, with calibrated quantiles; None: the gate refused
            it, serve `fallback`.
        fallback: the baseline, fitted and calibrated.
        winner: name of the best candidate, `chosen` for a champion per series.
        why: the decision in a sentence.
        figures: every candidate's metrics, strong baselines first.
        backtest: forecasts and actuals of the past origins, for plots.
    """

    model: DemandModel | None
    fallback: DemandModel
    winner: str
    why: str
    figures: list[Figure]
    backtest: Backtest


def select(
    panel: Panel, contest: Contest, progress: Callable[[str], None] = lambda text: None
) -> Selected:
    """Runs the contest and fits the winner on the whole panel."""
    raise NotImplementedError

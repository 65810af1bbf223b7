"""Chooses by past origins, never by fit: each series' champion, and whether it may serve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from batch_predictions.models.common.bootstrap import Interval
from batch_predictions.models.demand import metrics
from batch_predictions.models.demand.backtest import Backtest, backtest, origins_of
from batch_predictions.models.demand.base import Forecaster
from batch_predictions.models.demand.conformal import LEVELS, ConformalCalibration
from batch_predictions.models.demand.forecasters.ensembles import (
    AverageForecaster,
    PerSeriesSelector,
)
from batch_predictions.models.demand.model import DemandModel
from batch_predictions.models.demand.panel import Doubles, Integers, Panel
from batch_predictions.models.demand.registry import MEMBERS, make

CANDIDATES = (
    "mean28_weekday",
    "seasonal_naive",
    "linear_promotions",
    "linear_regression",
    "sarima",
    "sarima_promotions",
    "lightgbm",
    "gru",
    "average",
)
"""Strong baselines first."""
CHOSEN, DRAWN = PerSeriesSelector.kind, 3.0
"""A series' own record counts as much as everyone's after so many origins."""
GAIN = "wape_sum_gain"


@dataclass(frozen=True)
class BacktestConfig:
    """How candidates are compared.

    Attributes:
        candidates: names that `families.make` knows, in the order of the table.
        horizon: columns ahead; the longest sum that is calibrated, too.
        origins: past origins; at least 3.
        every: columns between origins.
        fits: how often over the origins each method is fitted.
        baseline: what the winner must beat.
        max_bias: largest |bias| of a winner, as a share of demand.
        options: parameters of methods by name, e.g. {"gru": {"steps": 200}}.
        seed: of everything random.
    """

    candidates: tuple[str, ...] = CANDIDATES
    horizon: int = 14
    origins: int = 6
    step_size: int = 14
    fits: int = 1
    baseline: str = "mean28_weekday"
    max_bias: float = 0.05
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    seed: int = 7


@dataclass(frozen=True)
class MetricValue:
    """One row of the table of candidates."""

    candidate: str
    metric: str
    value: float
    lower: float
    upper: float
    n: int


@dataclass(frozen=True)
class SelectedForecaster:
    """What came of a contest.

    Attributes:
        model: the winner, fitted on all columns, with calibrated quantiles; None: the gate refused
            it, serve `fallback`.
        fallback: the baseline, fitted and calibrated.
        winner: name of the best candidate, `chosen` for a champion per series.
        why: the decision in a sentence.
        figures: every candidate's metrics, in the order of the candidates.
        backtest: forecasts and actuals of the past origins, for plots; `chosen` is among them.
    """

    model: DemandModel | None
    fallback: DemandModel
    winner: str
    why: str
    figures: list[MetricValue]
    backtest: Backtest


def select(
    panel: Panel, contest: BacktestConfig, progress: Callable[[str], None] = lambda text: None
) -> SelectedForecaster:
    """Runs the contest and fits the winner on the whole panel.

    Raises:
        ValueError: the panel is too short for the origins.
    """
    origins = origins_of(panel.columns, contest.horizon, contest.origins, contest.step_size)
    if origins[0] < 2 * panel.period:
        raise ValueError(
            f"{panel.columns} columns are too few for {contest.origins} origins "
            f"{contest.step_size} apart with a horizon of {contest.horizon}"
        )
    candidates = tuple(dict.fromkeys((contest.baseline, *contest.candidates)))
    options = _with_horizon(contest, candidates)
    singles = _singles(candidates)
    makers = {name: _maker(name, options, contest.seed) for name in singles}
    tested = backtest(panel, makers, origins, contest.horizon, fits=contest.fits, progress=progress)
    forecasts = dict(tested.forecasts)
    if AverageForecaster.kind in candidates:
        forecasts[AverageForecaster.kind] = np.mean([forecasts[each] for each in MEMBERS], axis=0)
    forecasts = {name: forecasts[name] for name in candidates}
    forecasts[CHOSEN], champions = choose(forecasts, tested.actual)
    tested = Backtest(tested.origins, tested.actual, forecasts, tested.scale, tested.spread)
    figures, found = table(tested, contest.baseline, contest.seed)
    winner, passed, why = decide(found, contest)
    fitted: dict[str, Forecaster] = {}

    def fit(name: str) -> Forecaster:
        if name == AverageForecaster.kind:
            return AverageForecaster(name, [fit(each) for each in MEMBERS])
        if name not in fitted:
            fitted[name] = make(name, options, contest.seed).fit(panel)
            progress(f"{name}: fitted on all {panel.columns} columns")
        return fitted[name]

    def model(name: str) -> DemandModel:
        calibration = ConformalCalibration.of(forecasts[name], tested.actual)
        if name != CHOSEN:
            return DemandModel(fit(name), calibration)
        default = best_overall(forecasts, tested.actual, candidates)
        mine = {each: candidates[place] for each, place in zip(panel.ids, champions, strict=True)}
        members = [fit(each) for each in sorted({*mine.values(), default})]
        return DemandModel(PerSeriesSelector(CHOSEN, members, mine, default=default), calibration)

    fallback = model(contest.baseline)
    return SelectedForecaster(
        model(winner) if passed else None, fallback, winner, why, figures, tested
    )


def choose(forecasts: dict[str, Doubles], actual: Doubles) -> tuple[Doubles, Integers]:
    """Forecasts by each series' champion of the origins before, and the champions after all.

    At the first origin nothing is known: the first candidate, the baseline, forecasts.
    """
    names = list(forecasts)
    losses = np.stack([_losses(forecasts[name], actual) for name in names])
    found = np.empty_like(actual)
    stacked = np.stack([forecasts[name] for name in names])
    columns = np.arange(actual.shape[1])
    for origin in range(actual.shape[0]):
        champions = _champions(losses[:, :origin])
        found[origin] = stacked[champions, origin, columns]
    return found, _champions(losses)


def _losses(forecast: Doubles, actual: Doubles) -> Doubles:
    """Absolute error of columns plus that of their sum, (origins, n)."""
    error = np.nan_to_num(forecast - actual, nan=0.0)
    return np.asarray(np.abs(error).sum(axis=2) + np.abs(error.sum(axis=2)))


def _champions(losses: Doubles) -> Integers:
    """The best candidate of each series by losses (candidates, origins, n), its own record drawn
    to everyone's: a few days of luck make no champion."""
    number, n = losses.shape[1], losses.shape[2]
    if number == 0:
        return np.zeros(n, np.int64)
    mine, everyone = losses.sum(axis=1), losses.sum(axis=(1, 2))
    typical = mine.mean(axis=0)
    ratio = everyone / max(everyone.mean(), 1e-12)
    drawn = mine + DRAWN / number * typical * ratio[:, None]
    return np.asarray(drawn.argmin(axis=0))


def best_overall(
    forecasts: dict[str, Doubles], actual: Doubles, candidates: tuple[str, ...]
) -> str:
    """The candidate with the smallest loss over everything."""
    return min(candidates, key=lambda name: _losses(forecasts[name], actual).sum())


def table(
    tested: Backtest, baseline: str, seed: int
) -> tuple[list[MetricValue], dict[str, dict[str, Interval]]]:
    """Every candidate's metrics; `wape_sum_gain` is the baseline's WAPE of the sum less its own.

    Quantiles of an origin are calibrated on the origins before it, from the third on.
    """
    actual = tested.actual
    reference = metrics.wape_sum(tested.forecasts[baseline], actual)
    found: dict[str, dict[str, Interval]] = {}
    for name, forecast in tested.forecasts.items():
        of_sum = metrics.wape_sum(forecast, actual)
        sums = {
            metrics.WAPE: metrics.wape(forecast, actual),
            metrics.WAPE_SUM: of_sum,
            metrics.BIAS: metrics.bias(forecast, actual),
            metrics.RMSSE: metrics.rmsse(forecast, actual, tested.scale),
            metrics.MASE: metrics.mase(forecast, actual, tested.spread),
            **judged_quantiles(forecast, actual),
        }
        found[name] = {metric: each.interval(seed) for metric, each in sums.items()}
        found[name][GAIN] = metrics.difference(reference, of_sum, seed)
    figures = [
        MetricValue(name, metric, each.mean, each.lower, each.upper, each.n)
        for name, values in found.items()
        for metric, each in values.items()
    ]
    return figures, found


def judged_quantiles(
    forecast: Doubles, actual: Doubles, least: int = 2
) -> dict[str, metrics.RatioMetric]:
    """Pinball loss and coverage where at least `least` origins went before."""
    number = actual.shape[0]
    if number <= least:
        return {}
    made = np.stack(
        [
            ConformalCalibration.of(forecast[:each], actual[:each]).quantiles(forecast[each])
            for each in range(least, number)
        ]
    )
    came = actual[least:]
    at = {level: place for place, level in enumerate(LEVELS)}
    return {
        metrics.PINBALL: metrics.pinball(made, came, LEVELS),
        metrics.COVERAGE_80: metrics.coverage(made[..., at[0.1]], made[..., at[0.9]], came),
        metrics.COVERAGE_90: metrics.coverage(made[..., at[0.05]], made[..., at[0.95]], came),
    }


def decide(found: dict[str, dict[str, Interval]], contest: BacktestConfig) -> tuple[str, bool, str]:
    """The winner by WAPE of the sum among those of small bias, whether it passed, and why."""
    rivals = [name for name in found if name != contest.baseline]
    fair = [name for name in rivals if abs(found[name][metrics.BIAS].mean) <= contest.max_bias]
    if not fair:
        least = min(rivals, key=lambda each: abs(found[each][metrics.BIAS].mean), default=None)
        if least is None:
            return contest.baseline, False, "there is no candidate beside the baseline"
        return (
            least,
            False,
            f"every candidate's bias is beyond {contest.max_bias:.0%}; the least is {least}'s, "
            f"{found[least][metrics.BIAS].mean:+.1%}",
        )
    winner = min(fair, key=lambda name: found[name][metrics.WAPE_SUM].mean)
    gain, mine = found[winner][GAIN], found[winner]
    said = (
        f"{winner}: WAPE of the {contest.horizon}-day sum {mine[metrics.WAPE_SUM].mean:.3f}, "
        f"{gain.mean:+.3f} ({gain.lower:+.3f} to {gain.upper:+.3f}) below {contest.baseline}, "
        f"bias {mine[metrics.BIAS].mean:+.1%}"
    )
    return winner, gain.lower > 0, said if gain.lower > 0 else f"{said}: not surely better"


def _singles(candidates: tuple[str, ...]) -> list[str]:
    """Candidates and members of the average, each once."""
    wanted = [each for each in candidates if each != AverageForecaster.kind]
    if AverageForecaster.kind in candidates:
        wanted += MEMBERS
    return list(dict.fromkeys(wanted))


def _with_horizon(
    contest: BacktestConfig, candidates: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Options in which the global models learn the contest's horizon."""
    return {
        name: {
            **({"horizon": contest.horizon} if name in MEMBERS else {}),
            **contest.options.get(name, {}),
        }
        for name in (*candidates, *MEMBERS)
    }


def _maker(name: str, options: dict[str, dict[str, Any]], seed: int) -> Callable[[], Forecaster]:
    return lambda: make(name, options, seed)

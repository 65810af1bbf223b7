"""Selects the forecaster of a panel by its errors at past origins, and decides if it serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from batch_predictions.core.arrays import Int64s
from batch_predictions.models.demand import demand_metrics, demand_registry
from batch_predictions.models.demand.backtest import (
    MSE_SUM_GAIN,
    Backtest,
    CandidateMetrics,
    backtest_origins,
    evaluate_candidates,
    run_backtest,
)
from batch_predictions.models.demand.base import Forecaster
from batch_predictions.models.demand.conformal import ConformalCalibration
from batch_predictions.models.demand.data.panel import Panel
from batch_predictions.models.demand.demand_model import (
    DemandModel,
    best_overall,
    forecast_by_champions,
)
from batch_predictions.models.demand.forecasters.ensembles import (
    AverageForecaster,
    PerSeriesSelector,
    SelectorParams,
)
from batch_predictions.settings import DemandSettings

BASELINES = ("mean28_weekday", "seasonal_naive", "mean")
"""Candidates of every training; the winner must beat the best of them."""
PER_SERIES = PerSeriesSelector.kind
"""Name of the candidate that forecasts each series by its best other candidate."""

Progress = Callable[[str], None]
"""Called with a line of text."""


@dataclass(frozen=True)
class SelectedForecaster:
    """The result of the selection of a panel's forecaster.

    Attributes:
        model: the winner, fitted on all columns, with calibrated quantiles; None where it did not
            pass the gate: then `fallback` serves.
        fallback: the best baseline, fitted and calibrated.
        baseline: its name.
        winner: name of the best candidate; `chosen` where each series has its own.
        why: the decision in a sentence.
        metrics: metrics of every candidate, in the order of the candidates; `chosen` comes last.
        backtest: forecasts of every candidate at the past origins, and what was observed.
    """

    model: DemandModel | None
    fallback: DemandModel
    baseline: str
    winner: str
    why: str
    metrics: CandidateMetrics
    backtest: Backtest

    @property
    def serving(self) -> str:
        """Name of the candidate that serves: the winner, or the best baseline."""
        return self.winner if self.model else self.baseline


def candidate_names(config: DemandSettings) -> tuple[str, ...]:
    """The baselines and the candidates, each once; of equally good ones the first one wins."""
    return tuple(dict.fromkeys((*BASELINES, *config.candidates)))


def select(
    panel: Panel, config: DemandSettings, progress: Progress = lambda text: None
) -> SelectedForecaster:
    """Compares the candidates at past origins and fits the winner on the whole panel.

    Args:
        panel: the series of one level.
        config: candidates, horizon, and number and distance of the origins.
        progress: receives lines for the log.

    Raises:
        ValueError: the panel is too short for the origins, or a candidate or one of its options is
            unknown.
    """
    origins = backtest_origins(panel.n_columns, config.horizon, config.origins, config.origin_days)
    if origins[0] < 2 * panel.period:
        raise ValueError(
            f"{panel.n_columns} columns are too few for {config.origins} origins "
            f"{config.origin_days} columns apart with a horizon of {config.horizon}"
        )
    backtest = _backtest_candidates(panel, config, origins, progress)
    selected, champions = forecast_by_champions(backtest.forecasts, backtest.actual)
    backtest = replace(backtest, forecasts={**backtest.forecasts, PER_SERIES: selected})
    candidate_metrics = evaluate_candidates(
        backtest,
        BASELINES,
        config.seed,
        config.lead_time_days + config.review_days,
        config.service_level,
    )
    baseline = best_baseline(candidate_metrics)
    winner, passed, why = decide(candidate_metrics, config)
    fitted: dict[str, Forecaster] = {}

    def calibrated(forecaster: Forecaster) -> DemandModel:
        forecasts = backtest.forecasts[forecaster.name]
        return DemandModel(forecaster, ConformalCalibration.fit(forecasts, backtest.actual))

    fallback = calibrated(_fit(baseline, panel, config, fitted, progress))
    model = None
    if passed and winner == PER_SERIES:
        model = calibrated(_fit_selector(panel, config, backtest, champions, fitted, progress))
    elif passed:
        model = calibrated(_fit(winner, panel, config, fitted, progress))
    return SelectedForecaster(model, fallback, baseline, winner, why, candidate_metrics, backtest)


def best_baseline(candidate_metrics: CandidateMetrics) -> str:
    """The baseline with the least squared error of the sum; of equal ones the first."""
    return min(
        (name for name in BASELINES if name in candidate_metrics),
        key=lambda name: candidate_metrics[name][demand_metrics.MSE_SUM].mean,
    )


def decide(candidate_metrics: CandidateMetrics, config: DemandSettings) -> tuple[str, bool, str]:
    """The candidate with the least squared error of the sum among those with a small bias.

    It passes the gate where the whole interval of its gain over the best baseline is above 0. The
    squared error is a proper score of a mean; the absolute one would prefer medians, such as 0 for
    what sells rarely.

    Returns:
        winner: name of the best candidate.
        passed: whether it may serve.
        why: the decision in a sentence.
    """
    baseline = best_baseline(candidate_metrics)
    rivals = [name for name in candidate_metrics if name not in BASELINES]
    if not rivals:
        return baseline, False, f"{baseline} serves: there are only baselines"
    bias = {name: candidate_metrics[name][demand_metrics.BIAS].mean for name in rivals}
    unbiased = [name for name in rivals if abs(bias[name]) <= config.max_bias]
    if not unbiased:
        least_biased = min(rivals, key=lambda name: abs(bias[name]))
        why = (
            f"{baseline} serves: the bias of every candidate exceeds {config.max_bias:.0%}; "
            f"the smallest is {bias[least_biased]:+.1%} ({least_biased})"
        )
        return least_biased, False, why
    winner = min(unbiased, key=lambda name: candidate_metrics[name][demand_metrics.MSE_SUM].mean)
    metrics = candidate_metrics[winner]
    error, gain = metrics[demand_metrics.MSE_SUM].mean, metrics[MSE_SUM_GAIN]
    figures = (
        f"squared error of the {config.horizon}-day sum {error:.3f} of the squared sums, a gain "
        f"of {gain.mean:+.3f} over {baseline} (95 % interval {gain.lower:+.3f} to "
        f"{gain.upper:+.3f}), WAPE {metrics[demand_metrics.WAPE_SUM].mean:.3f}, bias "
        f"{bias[winner]:+.1%}"
    )
    if gain.lower > 0:
        return winner, True, f"{winner}: {figures}"
    verdict = "worse" if gain.upper < 0 else "not significantly better"
    return winner, False, f"{baseline} serves: {winner}, the best, is {verdict}: {figures}"


def make_candidate(name: str, config: DemandSettings) -> Forecaster:
    """An unfitted candidate with the options, seed and horizon of the configuration."""
    return demand_registry.make(
        name,
        config.options,
        seed=config.seed,
        horizon=config.horizon,
        sarima_backend=config.sarima_backend,
    )


def _backtest_candidates(
    panel: Panel, config: DemandSettings, origins: Sequence[int], progress: Progress
) -> Backtest:
    """Forecasts of the candidates at past origins; members of averages are fitted only once."""
    # All are made before anything is fitted, so that a wrong name or option fails at once.
    candidates = {name: make_candidate(name, config) for name in candidate_names(config)}
    averages = {
        name: forecaster
        for name, forecaster in candidates.items()
        if isinstance(forecaster, AverageForecaster)
    }
    names = [name for name in candidates if name not in averages]
    names += [member.name for average in averages.values() for member in average.members]
    makers = {name: partial(make_candidate, name, config) for name in dict.fromkeys(names)}
    backtest = run_backtest(
        panel, makers, origins, config.horizon, n_fits=config.fits, progress=progress
    )
    forecasts = dict(backtest.forecasts)
    for name, average in averages.items():
        forecasts[name] = average.combine([forecasts[member.name] for member in average.members])
    return replace(backtest, forecasts={name: forecasts[name] for name in candidates})


def _fit(
    name: str,
    panel: Panel,
    config: DemandSettings,
    fitted: dict[str, Forecaster],
    progress: Progress,
) -> Forecaster:
    """A candidate fitted on the whole panel; `fitted` keeps those that several models share."""
    if name in fitted:
        return fitted[name]
    forecaster = make_candidate(name, config)
    if isinstance(forecaster, AverageForecaster):
        forecaster.members = [
            _fit(member.name, panel, config, fitted, progress) for member in forecaster.members
        ]
    else:
        forecaster.fit(panel)
        progress(f"{name}: fitted on all {panel.n_columns} columns")
    fitted[name] = forecaster
    return forecaster


def _fit_selector(
    panel: Panel,
    config: DemandSettings,
    backtest: Backtest,
    champions: Int64s,
    fitted: dict[str, Forecaster],
    progress: Progress,
) -> PerSeriesSelector:
    """The champions of the series, fitted on the whole panel."""
    candidates = candidate_names(config)
    default = best_overall(backtest.forecasts, backtest.actual, candidates)
    champion_of_series = {
        series: candidates[champion] for series, champion in zip(panel.ids, champions, strict=True)
    }
    members = [
        _fit(name, panel, config, fitted, progress)
        for name in sorted({*champion_of_series.values(), default})
    ]
    return PerSeriesSelector(
        SelectorParams(default), name=PER_SERIES, members=members, champions=champion_of_series
    )

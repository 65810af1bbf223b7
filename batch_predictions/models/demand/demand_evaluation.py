"""Metrics of candidates over the origins of a backtest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from batch_predictions.models.common.bootstrap import Interval
from batch_predictions.models.demand import demand_metrics
from batch_predictions.models.demand.backtest import Backtest
from batch_predictions.models.demand.conformal import QUANTILE_LEVELS, ConformalCalibration
from batch_predictions.models.demand.data.panel import Doubles

CandidateMetrics: TypeAlias = Mapping[str, Mapping[str, Interval]]
"""Value and interval by candidate and metric, both in their order in the tables."""

WAPE_SUM_GAIN = "wape_sum_gain"
"""WAPE of the sum of the baseline minus that of the candidate; positive values are better."""

MIN_CALIBRATION_ORIGINS = 2
"""Past origins that are needed to calibrate the quantiles of an origin."""


def evaluate_candidates(backtest: Backtest, baseline: str, seed: int) -> CandidateMetrics:
    """Computes every candidate's metrics with 95 % bootstrap intervals over series.

    Args:
        backtest: forecasts of all candidates, and observed values.
        baseline: the candidate over which WAPE_SUM_GAIN is computed.
        seed: of the bootstrap samples.
    """
    actual = backtest.actual
    reference = demand_metrics.wape_sum(backtest.forecasts[baseline], actual)
    metrics_of_candidate: dict[str, dict[str, Interval]] = {}
    for name, forecast in backtest.forecasts.items():
        wape_sum = demand_metrics.wape_sum(forecast, actual)
        ratios = {
            demand_metrics.WAPE: demand_metrics.wape(forecast, actual),
            demand_metrics.WAPE_SUM: wape_sum,
            demand_metrics.BIAS: demand_metrics.bias(forecast, actual),
            demand_metrics.RMSSE: demand_metrics.rmsse(forecast, actual, backtest.naive_mse),
            demand_metrics.MASE: demand_metrics.mase(forecast, actual, backtest.naive_mae),
            **evaluate_quantiles(forecast, actual),
        }
        metrics_of_candidate[name] = {
            **{metric: ratio.interval(seed) for metric, ratio in ratios.items()},
            WAPE_SUM_GAIN: demand_metrics.difference(reference, wape_sum, seed),
        }
    return metrics_of_candidate


def evaluate_quantiles(forecast: Doubles, actual: Doubles) -> dict[str, demand_metrics.RatioMetric]:
    """Pinball loss and coverage, with the quantiles of an origin calibrated on earlier origins.

    Empty where there are fewer than three origins.
    """
    n_origins = actual.shape[0]
    if n_origins <= MIN_CALIBRATION_ORIGINS:
        return {}
    quantiles = np.stack(
        [
            ConformalCalibration.fit(forecast[:origin], actual[:origin]).quantiles(forecast[origin])
            for origin in range(MIN_CALIBRATION_ORIGINS, n_origins)
        ]
    )
    observed = actual[MIN_CALIBRATION_ORIGINS:]

    def quantile(level: float) -> Doubles:
        return quantiles[..., QUANTILE_LEVELS.index(level)]

    return {
        demand_metrics.PINBALL: demand_metrics.pinball(quantiles, observed, QUANTILE_LEVELS),
        demand_metrics.COVERAGE_80: demand_metrics.coverage(quantile(0.1), quantile(0.9), observed),
        demand_metrics.COVERAGE_90: demand_metrics.coverage(
            quantile(0.05), quantile(0.95), observed
        ),
    }

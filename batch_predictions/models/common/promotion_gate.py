"""The gate of trainings: is a candidate significantly better than the best baseline?"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.common.intervals import (
    Interval,
    Row,
    bootstrap_interval,
    metric_row,
    paired_difference,
)


@dataclass(frozen=True)
class GateResult:
    """The gate's decision, with the figures that it is based on.

    Attributes:
        serving: what serves: the best candidate that passed, else the best baseline.
        beats_baseline: whether a candidate passed.
        why: the decision in a sentence, with figures.
        metrics: rows of `evaluation.model_metrics`: the mean of every candidate and baseline with
            its interval, and `<metric>_gain`, a candidate's paired gain over the best baseline.
        gains: the paired gain of every candidate over the best baseline; positive is better.
        metric: what was compared.
        lower_is_better: whether the metric is an error.
    """

    serving: str
    beats_baseline: bool
    why: str
    metrics: list[Row]
    gains: Mapping[str, Interval]
    metric: str = "error"
    lower_is_better: bool = True


def paired_gate(
    values: Mapping[str, Doubles],
    baselines: str | Collection[str],
    *,
    metric: str = "error",
    lower_is_better: bool = True,
    seed: int = 7,
) -> GateResult:
    """Compares candidates with the best baseline on the same units of a hold-out.

    A candidate passes if the 95 % bootstrap interval of its paired gain is above zero. The best
    candidate that passes serves; if none passes, the best baseline serves.

    Args:
        values: one value per unit (user, series, review), by the name of the candidate or baseline.
        baselines: names among `values` that a candidate must beat.
        metric: name of the values, for rows and messages.
        lower_is_better: true for errors, false for scores such as NDCG.
        seed: of the bootstrap samples.

    Raises:
        ValueError: a baseline has no values, there are no units, or lengths differ.
    """
    names = [baselines] if isinstance(baselines, str) else list(baselines)
    missing = [name for name in names if name not in values]
    if missing or not names:
        raise ValueError(f"paired_gate: no values for the baselines {missing or names}")
    if not all(len(unit_values) for unit_values in values.values()):
        raise ValueError("paired_gate: there are no units to compare on")
    sign = -1.0 if lower_is_better else 1.0
    best_baseline = max(names, key=lambda name: sign * float(values[name].mean()))
    candidates = [name for name in values if name not in names]
    gains = {
        name: paired_difference(sign * values[name], sign * values[best_baseline], seed)
        for name in candidates
    }
    winner = best_significant(gains)
    metrics = [
        metric_row(name, metric, bootstrap_interval(unit_values, seed))
        for name, unit_values in values.items()
    ]
    metrics += [metric_row(name, f"{metric}_gain", gain) for name, gain in gains.items()]
    why = _explain(values, best_baseline, gains, winner, metric)
    return GateResult(
        winner or best_baseline,
        winner is not None,
        why,
        metrics,
        gains,
        metric,
        lower_is_better,
    )


def best_significant(gains: Mapping[str, Interval]) -> str | None:
    """The candidate with the largest gain among those whose interval is above 0; None without any.

    The first one wins a tie.
    """
    passed = {name: gain.mean for name, gain in gains.items() if gain.lower > 0}
    return max(passed, key=lambda name: passed[name]) if passed else None


def _explain(
    values: Mapping[str, Doubles],
    baseline: str,
    gains: Mapping[str, Interval],
    winner: str | None,
    metric: str,
) -> str:
    """Explains in a sentence whether the best candidate or a baseline serves, with figures."""
    baseline_figure = f"{baseline} ({metric} {values[baseline].mean():.4g})"
    if not gains:
        return f"{baseline_figure} serves: there are only baselines"
    name = winner or max(gains, key=lambda name: gains[name].mean)
    gain = gains[name]
    figures = (
        f"{metric} {values[name].mean():.4g}, a gain of {gain.mean:+.4g} over the best baseline, "
        f"{baseline_figure} (95 % interval {gain.lower:+.4g} to {gain.upper:+.4g}, n = {gain.n:,})"
    )
    if winner:
        return f"{winner} serves: {figures}"
    return f"{baseline} serves: the best candidate, {name}, is not significantly better: {figures}"

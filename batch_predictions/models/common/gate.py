"""The gate that every training may use: does a candidate beat the best baseline beyond chance?"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from batch_predictions.models.common.bootstrap import (
    Doubles,
    Interval,
    Row,
    bootstrap_interval,
    metric_row,
    paired_difference,
)


@dataclass(frozen=True)
class GateResult:
    """What the gate decided.

    Attributes:
        chosen: the candidate that serves: the best one that passed, else the best baseline.
        beats_baseline: whether a candidate passed.
        why: the decision in a sentence, with its figures.
        metrics: rows of `evaluation.model_metrics`: every candidate's mean with its interval, and
            `<metric>_gain`, its paired gain over the best baseline.
        gains: the paired gain of every candidate over the best baseline; positive is better.
        metric: what was compared.
        lower_is_better: whether the metric is an error.
    """

    chosen: str
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

    A candidate passes where the 95 % bootstrap interval of its paired gain lies above zero. Of
    those that pass the best serves; where none does, the best baseline.

    Args:
        values: by candidate, baselines included, one value per unit (user, series, review): its
            error, or its score.
        baselines: names among `values` that a candidate must beat.
        metric: what the values are, for rows and messages.
        lower_is_better: errors; false for scores such as NDCG.
        seed: of the bootstrap samples.

    Raises:
        ValueError: a baseline has no values, there are no units, or lengths differ.
    """
    names = [baselines] if isinstance(baselines, str) else list(baselines)
    missing = [name for name in names if name not in values]
    if missing or not names:
        raise ValueError(f"paired_gate: no values for the baselines {missing or names}")
    if not all(len(errors) for errors in values.values()):
        raise ValueError("paired_gate: there are no units to compare on")
    sign = -1.0 if lower_is_better else 1.0
    best_baseline = max(names, key=lambda name: sign * float(values[name].mean()))
    candidates = [name for name in values if name not in names]
    gains = {
        name: paired_difference(sign * values[name], sign * values[best_baseline], seed)
        for name in candidates
    }
    passed = [name for name in candidates if gains[name].lower > 0]
    chosen = max(passed, key=lambda name: gains[name].mean) if passed else best_baseline
    metrics = [
        metric_row(name, metric, bootstrap_interval(errors, seed))
        for name, errors in values.items()
    ]
    metrics += [metric_row(name, f"{metric}_gain", gain) for name, gain in gains.items()]
    why = _explain(values, best_baseline, gains, chosen, metric)
    return GateResult(chosen, bool(passed), why, metrics, gains, metric, lower_is_better)


def _explain(
    values: Mapping[str, Doubles],
    baseline: str,
    gains: Mapping[str, Interval],
    chosen: str,
    metric: str,
) -> str:
    """The decision in a sentence."""
    baseline_figure = f"{baseline} ({metric} {values[baseline].mean():.4g})"
    if not gains:
        return f"{baseline_figure} serves: there is no candidate beside the baselines"
    name = chosen if chosen in gains else max(gains, key=lambda name: gains[name].mean)
    gain = gains[name]
    figures = (
        f"{metric} {values[name].mean():.4g}, a gain of {gain.mean:+.4g} over the best baseline, "
        f"{baseline_figure} (95 % interval {gain.lower:+.4g} to {gain.upper:+.4g}, n = {gain.n:,})"
    )
    if chosen in gains:
        return f"{chosen} serves: {figures}"
    return (
        f"{baseline} serves: the best candidate, {name}, does not beat it beyond chance: {figures}"
    )

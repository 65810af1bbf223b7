"""The decision about the recommender that serves, in a sentence with its figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from batch_predictions.models.common.bootstrap import Interval
from batch_predictions.models.common.ranking_metrics import NDCG, NDCG_20
from batch_predictions.models.recommender.data.splits import Holdout
from batch_predictions.models.recommender.training.ranking_evaluation import Evaluation

Gains: TypeAlias = Mapping[str, Interval]
"""Paired differences to the best baseline, by metric."""


def explain_selection(
    serving: str,
    evaluations: Mapping[str, Evaluation],
    baseline: str,
    gains: Mapping[str, Gains],
    holdout: Holdout,
) -> str:
    """Explains in a sentence which recommender serves, with its figures.

    Args:
        serving: name of the candidate that serves.
        evaluations: metrics of all candidates, by name.
        baseline: name of the best baseline.
        gains: differences of the combined recommenders to the baseline, by name and metric.
        holdout: on which all were evaluated.
    """
    baseline_ndcg = mean_ndcg(evaluations[baseline])
    if not gains:
        return (
            f"{baseline} serves: it is the best baseline with NDCG@10 {baseline_ndcg:.4f} over "
            f"{_describe_users(holdout)}, and no combination of several generators was trained."
        )
    figures = "; ".join(
        f"{name} has NDCG@10 {mean_ndcg(evaluations[name]):.4f}, a difference of "
        f"{gain[NDCG].mean:+.4f} (95 % interval {gain[NDCG].lower:+.4f} to {gain[NDCG].upper:+.4f})"
        f", and in NDCG@20 of {gain[NDCG_20].mean:+.4f} ({gain[NDCG_20].lower:+.4f} to "
        f"{gain[NDCG_20].upper:+.4f}){_describe_worse(gain)}"
        for name, gain in gains.items()
    )
    compared = f"{baseline} has NDCG@10 {baseline_ndcg:.4f} over {_describe_users(holdout)}; "
    if serving == baseline:
        names = " nor ".join(gains)
        neither = f"neither {names} beats" if len(gains) > 1 else f"{names} does not beat"
        return (
            f"{baseline} serves: {neither} this best baseline beyond chance: {compared}{figures}."
        )
    return f"{serving} serves: it beats the best baseline, {baseline}: {compared}{figures}."


def explain_missing_users(holdout: Holdout, holdout_days: int) -> str:
    """Explains why the hold-out has no users."""
    if holdout.split == "leave_out":
        return "nothing could be evaluated, since no user has two items of which to hide one"
    if len(holdout.train) == 0:
        return (
            f"nothing could be evaluated, since there are no rows before the hold-out of "
            f"{holdout_days} days, which begins after {holdout.as_of}"
        )
    if holdout.users_without_new:
        return (
            f"nothing could be evaluated, since {holdout.users_without_new:,} of the users known "
            f"by {holdout.as_of} were active after it and none took anything new"
        )
    return (
        f"nothing could be evaluated, since no user known by {holdout.as_of} was active in the "
        f"{holdout_days} days after it"
    )


def mean_ndcg(evaluation: Evaluation) -> float:
    """NDCG@10, averaged over users."""
    return float(evaluation.per_user[NDCG].mean())


def _describe_users(holdout: Holdout) -> str:
    n = len(holdout.users)
    users = "1 user" if n == 1 else f"{n:,} users"
    if holdout.split == "leave_out":
        return f"{users} with items held out (the data has no times)"
    if holdout.split == "leave_newest":
        return f"{users} with their newest items held out"
    left_out = ""
    if holdout.users_without_new:
        left_out = f", {holdout.users_without_new:,} who took nothing new left out"
    return f"{users} active after {holdout.as_of}{left_out}"


def _describe_worse(gains: Gains) -> str:
    """The metrics that are worse than the baseline's beyond chance, if any."""
    worse = [metric for metric, gain in gains.items() if gain.upper < 0]
    return f", and a lower {' and '.join(worse)}" if worse else ""

"""The plot of a parameter search: what the budget bought."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from batch_predictions.models.recommender.training.parameter_search import Trial
from batch_predictions.warehouse.plot_style import REFERENCE, legend_outside, new_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_search(trials: Sequence[Trial]) -> Figure | None:
    """NDCG@20 of every setting over that of the declared ones, by generator; None without trials.

    Settings are compared with the declared ones of their own round, on the same users.
    """
    if not trials:
        return None
    figure, ax = new_axes(
        "NDCG@20 of each setting, relative to the declared one",
        "settings in the order of their trial; large: the last round",
        "ratio",
    )
    names = list(dict.fromkeys(trial.name for trial in trials))
    start = 0
    for name in names:
        tried = [trial for trial in trials if trial.name == name]
        declared = {trial.users: trial.ndcg for trial in tried if trial.is_declared}
        places = range(start, start + len(tried))
        ratios = [
            trial.ndcg / declared[trial.users] if declared[trial.users] > 0 else 1.0
            for trial in tried
        ]
        # The last round has the most users, and decides.
        most = max(trial.users for trial in tried)
        sizes = [34 if trial.users == most else 10 for trial in tried]
        ax.scatter(places, ratios, s=sizes, label=f"{name}: best {_best(tried, ratios, most)}")
        start += len(tried)
    ax.axhline(1.0, color=REFERENCE, linewidth=0.8)
    legend_outside(ax)
    return figure


def _best(trials: Sequence[Trial], ratios: Sequence[float], users: int) -> str:
    """Returns the best trial of the last round, and its gain over the declared setting."""
    last = [(ratio, trial) for ratio, trial in zip(ratios, trials, strict=True)]
    ratio, trial = max((pair for pair in last if pair[1].users == users), key=lambda pair: pair[0])
    if trial.is_declared:
        return "as declared"
    shown = ", ".join(
        f"{key} {value:g}" if type(value) in (int, float) else f"{key} {value}"
        for key, value in trial.setting.items()
    )
    return f"{shown} ({ratio - 1:+.0%})"

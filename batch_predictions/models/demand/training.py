"""What is stored of a week's training: a model for each level of series, or why there is none.

Items and totals of categories differ in size a hundredfold, so each level has a contest, a
champion and quantiles of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np

from batch_predictions.models.common.bootstrap import Interval, Row, metric_row
from batch_predictions.models.demand.model import DemandModel
from batch_predictions.models.demand.panel import Panel
from batch_predictions.models.demand.panel_builder import PanelSpec
from batch_predictions.models.demand.selection import BacktestConfig, SelectedForecaster, select

UNTRAINED = "untrained"
FILE = "demand.json"


@dataclass(frozen=True)
class DemandModels:
    """Models by level, and how rows become their panels."""

    frame: PanelSpec
    models: Mapping[str, DemandModel] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Writes the frame, and each model in a folder of its level."""
        folder.mkdir(parents=True, exist_ok=True)
        text = {"frame": self.frame.model_dump(mode="json"), "levels": sorted(self.models)}
        (folder / FILE).write_text(json.dumps(text, indent=2, sort_keys=True) + "\n")
        for level, model in self.models.items():
            model.save(folder / level)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        text = json.loads((folder / FILE).read_text())
        models = {level: DemandModel.load(folder / level) for level in text["levels"]}
        return cls(PanelSpec.model_validate(text["frame"]), models)


@dataclass(frozen=True)
class LevelSelection:
    """What came of the contests of all levels."""

    models: DemandModels
    chosen: str
    beats_baseline: bool
    why: str
    metrics: list[Row]
    selected: Mapping[str, SelectedForecaster]


def possible_origins(panel: Panel, contest: BacktestConfig, min_days: int) -> int:
    """How many past origins the longest series has room for, at most those asked for."""
    room = _longest(panel) - contest.horizon - min_days
    return min(contest.origins, room // contest.step_size + 1) if room >= 0 else 0


def select_levels(
    panels: Mapping[str, Panel],
    frame: PanelSpec,
    contest: BacktestConfig,
    min_days: int,
    progress: Callable[[str], None],
) -> LevelSelection:
    """Runs the contest of each level; a level without a series that is long enough has no model.

    Args:
        panels: the series of each level; the first level with a model names the decision.
        frame: how they were made.
        contest: how candidates are compared; of fewer origins where series are shorter.
        min_days: days that an origin must have behind it.
        progress: told what is going on.
    """
    found: dict[str, SelectedForecaster] = {}
    reasons: list[str] = []
    for level, panel in panels.items():
        origins = possible_origins(panel, contest, min_days)
        if not origins:
            needed = min_days + contest.horizon
            reasons.append(
                f"{level}: nothing was learned, the longest of {len(panel)} series has "
                f"{_longest(panel)} days, and {needed} are needed"
            )
            continue

        def said(text: str, level: str = level) -> None:
            progress(f"{level}: {text}")

        found[level] = select(panel, replace(contest, origins=origins), said)
        reasons.append(f"{level}: {found[level].why}")
    serving = {level: each.model or each.fallback for level, each in found.items()}
    first = next(iter(found), None)
    metrics: list[Row] = []
    for level, each in found.items():
        for figure in each.figures:
            interval = Interval(figure.value, figure.lower, figure.upper, figure.n)
            # The first level's metrics have their own names, those of others are marked.
            metric = figure.metric if level == first else f"{level}_{figure.metric}"
            metrics.append(metric_row(figure.candidate, metric, interval))
    return LevelSelection(
        models=DemandModels(frame, serving),
        chosen=_served(found[first], contest) if first else UNTRAINED,
        beats_baseline=any(each.model is not None for each in found.values()),
        why="; ".join(reasons) or "nothing was sold in the last 84 days",
        metrics=metrics,
        selected=found,
    )


def _served(selected: SelectedForecaster, contest: BacktestConfig) -> str:
    return selected.winner if selected.model else contest.baseline


def _longest(panel: Panel) -> int:
    return int(np.isfinite(panel.y).sum(axis=1).max(initial=0))

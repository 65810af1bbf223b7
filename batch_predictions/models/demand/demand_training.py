"""Selects and stores a demand model for each level of series.

The units of items and the totals of categories differ by orders of magnitude, so each level has
its own candidates, winner and quantiles.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from batch_predictions.models.common.intervals import Row, metric_row
from batch_predictions.models.demand.data.panel import Panel
from batch_predictions.models.demand.data.panel_builder import PanelSpec
from batch_predictions.models.demand.demand_model import DemandModel
from batch_predictions.models.demand.demand_selection import SelectedForecaster, select
from batch_predictions.settings import DemandSettings

UNTRAINED = "untrained"
"""Candidate that is recorded where no level had a series that is long enough."""
MODELS_FILE = "demand.json"


@dataclass(frozen=True)
class DemandModels:
    """The models of all levels, and how rows become their panels."""

    panel_spec: PanelSpec
    models: Mapping[str, DemandModel] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Writes the panel's specification (key `frame`), and each model in a folder by level."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "frame": self.panel_spec.model_dump(mode="json"),
            "levels": sorted(self.models),
        }
        (folder / MODELS_FILE).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
        for level, model in self.models.items():
            model.save(folder / level)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        content = json.loads((folder / MODELS_FILE).read_text())
        models = {level: DemandModel.load(folder / level) for level in content["levels"]}
        return cls(PanelSpec.model_validate(content["frame"]), models)


@dataclass(frozen=True)
class LevelSelection:
    """The selections of all levels.

    Attributes:
        models: the models that serve.
        candidate: the candidate that serves the first level with a model; `untrained` if none has.
        beats_baseline: whether the winner of any level passed the gate.
        why: the decisions of all levels in a line.
        metrics: rows of `evaluation.model_metrics`; the names of metrics begin with the level,
            except those of the first level with a model.
        selected: the selection of each level that was trained.
    """

    models: DemandModels
    candidate: str
    beats_baseline: bool
    why: str
    metrics: list[Row]
    selected: Mapping[str, SelectedForecaster]


def count_origins(panel: Panel, config: DemandSettings) -> int:
    """The number of past origins that the longest series has columns for, at most the configured.

    Args:
        panel: the series.
        config: the number and distance of origins, and the days that must be known at one.
    """
    spare_columns = _longest_history(panel) - config.horizon - config.min_days
    if spare_columns < 0:
        return 0
    return min(config.origins, spare_columns // config.origin_days + 1)


def select_levels(
    panels: Mapping[str, Panel],
    panel_spec: PanelSpec,
    config: DemandSettings,
    progress: Callable[[str], None],
) -> LevelSelection:
    """Selects a forecaster for each level; a level whose series are all too short has no model.

    Args:
        panels: the series of each level.
        panel_spec: how the panels were built.
        config: how candidates are compared; with fewer origins where the series are shorter.
        progress: called with a line of text.
    """
    selected: dict[str, SelectedForecaster] = {}
    reasons: list[str] = []
    for level, panel in panels.items():
        origins = count_origins(panel, config)
        if not origins:
            reasons.append(
                f"{level}: not trained, the longest of {len(panel)} series has "
                f"{_longest_history(panel)} days and {config.min_days + config.horizon} are needed"
            )
            continue

        def level_progress(text: str, level: str = level) -> None:
            progress(f"{level}: {text}")

        level_config = config.model_copy(update={"origins": origins})
        selected[level] = select(panel, level_config, level_progress)
        reasons.append(f"{level}: {selected[level].why}")
    first = next(iter(selected), None)
    serving = {level: result.model or result.fallback for level, result in selected.items()}
    return LevelSelection(
        models=DemandModels(panel_spec, serving),
        candidate=selected[first].serving if first else UNTRAINED,
        beats_baseline=any(result.model is not None for result in selected.values()),
        why="; ".join(reasons)
        or (f"no series has {config.min_days} days of history and a sale in the last 84 days"),
        metrics=_metric_rows(selected),
        selected=selected,
    )


def _metric_rows(selected: Mapping[str, SelectedForecaster]) -> list[Row]:
    rows: list[Row] = []
    for position, (level, result) in enumerate(selected.items()):
        prefix = f"{level}_" if position else ""
        for candidate, candidate_metrics in result.metrics.items():
            for metric, interval in candidate_metrics.items():
                rows.append(metric_row(candidate, prefix + metric, interval))
    return rows


def _longest_history(panel: Panel) -> int:
    """Observed columns of the longest series."""
    return int(np.isfinite(panel.y).sum(axis=1).max(initial=0))

"""Declarations of models that are trained every week, and the results of their trainings."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from batch_predictions.models.common.promotion_gate import GateResult
from batch_predictions.models.common.ranking_metrics import NDCG
from batch_predictions.settings import Settings
from batch_predictions.tables import INTERACTIONS, ITEMS, USERS, Table
from batch_predictions.tables.discovery import index_unique, instances
from batch_predictions.warehouse import Warehouse

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Trained:
    """The result of a training, before it is stored.

    Attributes:
        write: writes the model's files into a folder.
        candidate: the candidate that serves, or the best baseline.
        beats_baseline: whether it passed the gate.
        parameters: JSON values that the model was trained with.
        why: the gate's decision in a sentence.
        metrics: rows of `evaluation.model_metrics`.
        plotted: the metric of the plot.
        lower_is_better: whether that metric is an error.
        figures: functions that draw further plots, by name.
    """

    write: Callable[[Path], None]
    candidate: str
    beats_baseline: bool
    parameters: dict[str, Any]
    why: str
    metrics: list[dict[str, Any]]
    plotted: str = NDCG
    lower_is_better: bool = False
    figures: Mapping[str, Callable[[], Figure | None]] = field(default_factory=dict)

    @classmethod
    def from_gate(
        cls,
        gate: GateResult,
        write: Callable[[Path], None],
        parameters: Mapping[str, Any] | None = None,
    ) -> Trained:
        """The result of a training whose candidate `paired_gate` selected.

        Args:
            gate: the decision, with the metrics of all candidates.
            write: writes the model's files into a folder.
            parameters: JSON values that the model was trained with; SQL binds them as
                `$model_<name>`.
        """
        return cls(
            write=write,
            candidate=gate.serving,
            beats_baseline=gate.beats_baseline,
            parameters=dict(parameters or {}),
            why=gate.why,
            metrics=[dict(row) for row in gate.metrics],
            plotted=gate.metric,
            lower_is_better=gate.lower_is_better,
        )


Train: TypeAlias = Callable[[Warehouse, Settings, dt.date, Callable[[str], None]], Trained]


def _history_days(settings: Settings) -> int:
    return settings.recommender.history_days


@dataclass(frozen=True)
class Training:
    """A model that is trained every week.

    Attributes:
        name: the model's name, in `model_version`s, settings and the asset `models/<name>`.
        description: of the asset, for the UI.
        train: fits on rows through a day and evaluates against baselines.
        tables: daily raw tables that it reads; it is trained again when their rows change.
        extra_tables: further tables that it reads, for lineage.
        kinds: badges in the UI.
        history_days: days of `tables` that it reads, the training's last day included.
    """

    name: str
    description: str
    train: Train
    tables: tuple[Table, ...] = (INTERACTIONS,)
    extra_tables: tuple[Table, ...] = (ITEMS, USERS)
    kinds: frozenset[str] = frozenset({"python", "numpy"})
    history_days: Callable[[Settings], int] = _history_days


def trainings() -> dict[str, Training]:
    """Every declared training by name, those of plugins included.

    Raises:
        ValueError: two trainings have one name.
    """
    return index_unique(instances(Training, "models/*/assets.py"), "trainings")

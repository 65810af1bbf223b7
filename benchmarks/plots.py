"""Draws every plot of the platform from a home: the pictures of docs/reference/plots.md.

    batch-predictions run --from 2026-11-01 --date 2026-11-28     # four weeks of the demo
    python benchmarks/plots.py HOME docs/images/plots [NAME …]

The models of the home's newest week are trained again, without being stored, for the plots of
their trainings. Use a copy of a home: trainings write to its cache. With names of pictures, only
these are drawn.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from common import log

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from batch_predictions.settings import Settings
    from batch_predictions.tables import Table
    from batch_predictions.warehouse import Warehouse

Draw: TypeAlias = "Callable[[Warehouse, str], Figure | None]"
TRAININGS = (
    ("churn", "plot"),
    ("demand", "error by horizon"),
    ("demand", "coverage"),
    ("expected_spend", "calibration"),
)
"""Model and name of the plots of trainings on the page: one of each kind that the demo has."""


def plots_of_tables() -> Iterator[tuple[str, Table, Draw]]:
    """Name, table and drawing of each declared plot of a table's partition."""
    from batch_predictions.evaluation.assets import plot_intervals
    from batch_predictions.evaluation.drift.drift_plots import plot_drift, plot_histograms
    from batch_predictions.evaluation.metric_plots import METRIC_PLOTS, plot_metrics
    from batch_predictions.features.base import FeatureTable
    from batch_predictions.inference.base import BatchPrediction
    from batch_predictions.tables import DRIFT, HISTOGRAMS, REALIZED_METRICS
    from batch_predictions.tables.discovery import instances

    declared: list[FeatureTable | BatchPrediction] = [
        *instances(FeatureTable, "features/declared_features.py"),
        *instances(BatchPrediction, "predictions/*.py"),
    ]
    for declaration in declared:
        if declaration.plot:
            yield declaration.table.name, declaration.table, declaration.plot
    yield "realized_metrics", REALIZED_METRICS, plot_intervals
    for plot in METRIC_PLOTS:
        yield plot.name, REALIZED_METRICS, partial(_draw_metrics, plot_metrics, plot)
    yield "histograms", HISTOGRAMS, plot_histograms
    yield "drift", DRIFT, plot_drift


def _draw_metrics(draw: Any, plot: Any, warehouse: Warehouse, day: str) -> Figure | None:
    figure: Figure | None = draw(warehouse, plot, day)
    return figure


def picture_of_training(model: str, plot: str) -> str:
    """The name of a training's picture."""
    return f"{model}_{plot}".replace(" ", "_")


def figures(settings: Settings, names: list[str]) -> Iterator[tuple[str, Figure | None]]:
    """Name and figure of each plot of a table's newest partition, and of the newest trainings."""
    from batch_predictions.models.training import trainings
    from batch_predictions.models.training_assets import training_plots
    from batch_predictions.warehouse import Warehouse

    warehouse = Warehouse.of(settings)
    for name, table, draw in plots_of_tables():
        newest = max(warehouse.partitions(table), default=None)
        if newest and (not names or name in names):
            yield name, draw(warehouse, newest)
    trained_through = warehouse.query(
        "select model, max(trained_through) as day from evaluation.model_metrics group by model"
    ).to_pylist()
    for model, day in (tuple(row.values()) for row in trained_through):
        wanted = {
            plot: picture_of_training(model, plot) for name, plot in TRAININGS if name == model
        }
        wanted = {plot: name for plot, name in wanted.items() if not names or name in names}
        if wanted:
            plots = training_plots(trainings()[model].train(warehouse, settings, day, log))
            for plot, name in wanted.items():
                yield name, plots[plot]() if plot in plots else None


def main() -> None:
    """Writes the pictures and prints their sizes."""
    home, folder, *names = sys.argv[1:]
    os.environ["BATCH_PREDICTIONS_HOME"] = home
    from batch_predictions.planning.declarations import load_declarations
    from batch_predictions.settings import Settings
    from batch_predictions.warehouse.plot_style import figure_png

    settings = Settings.load(Path(home))
    load_declarations(settings)
    for name, figure in figures(settings, names):
        if figure is None:
            print(f"{name}: nothing to draw", flush=True)
            continue
        image = figure_png(figure)
        Path(folder, f"{name}.png").write_bytes(image)
        print(f"{name}: {len(image):,} bytes", flush=True)


if __name__ == "__main__":
    main()

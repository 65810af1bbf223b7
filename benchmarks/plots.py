"""Draws every plot of the platform from a home, as docs/plots.md shows them.

    python benchmarks/plots.py HOME FOLDER [NAME …]

The models of the home's newest week are trained again, without being stored, for the plots of their
trainings. Use a copy of a home: trainings write to its cache.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from common import log

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from batch_predictions.settings import Settings

Draw: TypeAlias = "Callable[[], Figure | None]"


def plots_of_assets(settings: Settings) -> Iterator[tuple[str, Draw]]:
    """Name and drawing of each plot that is drawn from tables, of their newest partition."""
    from batch_predictions.evaluation.assets import plot_intervals
    from batch_predictions.evaluation.drift.drift_plots import plot_drift, plot_histograms
    from batch_predictions.evaluation.metric_plots import METRIC_PLOTS, plot_metrics
    from batch_predictions.features.base import FeatureTable
    from batch_predictions.inference.base import BatchPrediction
    from batch_predictions.tables import DRIFT, HISTOGRAMS, REALIZED_METRICS
    from batch_predictions.tables.discovery import instances
    from batch_predictions.warehouse import Warehouse

    warehouse = Warehouse.of(settings)
    declared: list[FeatureTable | BatchPrediction] = [
        *instances(FeatureTable, "features/declared_features.py"),
        *instances(BatchPrediction, "predictions/*.py"),
    ]
    plots: list[tuple[str, Any, Any]] = [
        (declaration.table.name, declaration.table, declaration.plot)
        for declaration in declared
        if declaration.plot
    ]
    plots += [
        ("realized_metrics", REALIZED_METRICS, plot_intervals),
        ("histograms", HISTOGRAMS, plot_histograms),
        ("drift", DRIFT, plot_drift),
    ]
    for plot in METRIC_PLOTS:
        draw = lambda warehouse, day, plot=plot: plot_metrics(warehouse, plot, day)  # noqa: E731
        plots.append((plot.name, REALIZED_METRICS, draw))
    for name, table, draw in plots:
        newest = max(warehouse.partitions(table), default=None)
        if newest:
            yield name, lambda draw=draw, newest=newest: draw(warehouse, newest)  # type: ignore[misc]


def plots_of_trainings(settings: Settings) -> Iterator[tuple[str, Draw]]:
    """Name and drawing of each plot of a training, of the home's newest one."""
    from batch_predictions.models.training import trainings
    from batch_predictions.models.training_assets import training_plots
    from batch_predictions.warehouse import Warehouse

    warehouse = Warehouse.of(settings)
    newest = warehouse.query(
        "select model, max(trained_through) as day from evaluation.model_metrics group by model"
    ).to_pylist()
    for row in newest:
        training = trainings().get(row["model"])
        if training:
            trained = training.train(warehouse, settings, row["day"], log)
            for name, draw in training_plots(trained).items():
                yield f"{training.name}_{name}", draw


def main() -> None:
    """Writes the pictures and prints their sizes."""
    home, folder, *names = sys.argv[1:]
    os.environ["BATCH_PREDICTIONS_HOME"] = home
    from batch_predictions.planning.declarations import load_declarations
    from batch_predictions.settings import Settings
    from batch_predictions.warehouse.plot_style import figure_png

    settings = Settings.load(Path(home))
    load_declarations(settings)
    for plots in (plots_of_assets, plots_of_trainings):
        for name, draw in plots(settings):
            if not names or name in names:
                figure = draw()
                image = figure_png(figure) if figure else b""
                if image:
                    Path(folder, f"{name}.png").write_bytes(image)
                print(f"{name}: {len(image):,} bytes", flush=True)


if __name__ == "__main__":
    main()

"""The daily assets `evaluation/histograms` and `evaluation/drift`."""

from __future__ import annotations

import dagster as dg

from batch_predictions.evaluation.daily_asset import daily_evaluation_asset
from batch_predictions.evaluation.drift.compute import compute_drift, drift_tables
from batch_predictions.evaluation.drift.drift_plots import plot_drift, plot_histograms
from batch_predictions.evaluation.drift.histograms import compute_histograms
from batch_predictions.models.model_store import ModelStore
from batch_predictions.tables import DRIFT, HISTOGRAMS
from batch_predictions.tables.partitions import Partitions


def histograms_asset(partitions: Partitions) -> dg.AssetsDefinition:
    """A daily asset `evaluation/histograms` over all features and predictions."""
    return daily_evaluation_asset(
        HISTOGRAMS,
        partitions,
        drift_tables(),
        lambda warehouse, settings, day: compute_histograms(
            warehouse, ModelStore.of(settings), day
        ),
        plot_histograms,
    )


def drift_asset(partitions: Partitions) -> dg.AssetsDefinition:
    """A daily asset `evaluation/drift`, which reads the histograms of its day only."""
    return daily_evaluation_asset(
        DRIFT,
        partitions,
        [HISTOGRAMS],
        lambda warehouse, settings, day: compute_drift(warehouse, day),
        plot_drift,
    )

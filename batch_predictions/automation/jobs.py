"""The jobs that schedules start and that `batch-predictions run` chains, one per partitioning."""

from __future__ import annotations

import dagster as dg

from batch_predictions.partitions import daily, weekly

INGEST_GROUPS = ("sources",)
NIGHTLY_GROUPS = ("features", "predictions", "serving")

ingest = dg.define_asset_job(
    "ingest",
    dg.AssetSelection.groups(*INGEST_GROUPS),
    partitions_def=daily,
    description="Raw rows of a day, so that Monday's training finds Sunday's.",
)
weekly_training = dg.define_asset_job(
    "weekly_training",
    dg.AssetSelection.groups("models"),
    partitions_def=weekly,
    description="Trains every model through the week's Sunday and decides which version serves.",
)
nightly = dg.define_asset_job(
    "nightly",
    dg.AssetSelection.groups(*INGEST_GROUPS, *NIGHTLY_GROUPS),
    partitions_def=daily,
    description="A day from end to end: raw rows, features, predictions, release.",
)
JOBS = (ingest, weekly_training, nightly)

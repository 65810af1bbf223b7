"""Removes what is not kept: old runs, unused models, shards, tiles, partitions, posted rows."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from batch_predictions.core.home_bucket import bucket_of
from batch_predictions.features.tiles.building import remove_old_tiles
from batch_predictions.inference.cleanup import remove_old_partitions
from batch_predictions.models.model_store import ModelStore
from batch_predictions.operations.records import RUNS_AT_ONCE, RunRecords
from batch_predictions.operations.retention.model_retention import remove_old_models
from batch_predictions.operations.retention.partition_retention import (
    remove_old_partitions_of_tables,
    remove_records_of_removed_partitions,
)
from batch_predictions.operations.retention.removed_queries import remove_undeclared_queries
from batch_predictions.serving.store.pointer import Release, all_releases
from batch_predictions.serving.store.store import Store
from batch_predictions.settings import Settings
from batch_predictions.sources.posted_rows.posted_retention import remove_ingested_posted_rows
from batch_predictions.sources.shrinkage import remove_old_previous
from batch_predictions.warehouse import Warehouse


@dataclass
class PruneResult:
    """Counts of what pruning removed.

    Attributes:
        runs: Dagster runs, with their events and logs.
        model_versions: versions of models, by name.
        inference_partitions: partitions of the engine's shards and results.
        tiles: files of tiles that only a backfill of old days would read.
        table_partitions: partitions of features, predictions and metrics.
        posted_rows: events and sign-ups that the warehouse has.
        queries: predictive queries that the settings have not declared for
            `retention.removed_query_days`, with all that they left.
    """

    runs: int
    model_versions: list[str]
    inference_partitions: int
    tiles: int
    table_partitions: int = 0
    posted_rows: int = 0
    queries: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """Returns the result as a dictionary of JSON values."""
        return asdict(self)


def prune(
    settings: Settings,
    records: RunRecords,
    now: float | None = None,
    *,
    all_runs: bool = False,
) -> PruneResult:
    """Removes what is older than the retention settings keep.

    Args:
        settings: of the home.
        records: Dagster's, of the home.
        now: seconds since the epoch; None: the present.
        all_runs: whether all old runs are removed; else the oldest hundred, which bounds the time
            that a night spends.
    """
    now = time.time() if now is None else now
    keep_days = settings.retention.run_days
    runs = removed = records.remove_old_runs(keep_days, now)
    while all_runs and removed == RUNS_AT_ONCE:
        removed = records.remove_old_runs(keep_days, now)
        runs += removed
    partitions = remove_old_partitions(
        settings.home / "inference",
        settings.inference.keep_days,
        now,
        settings.inference.keep_partitions,
        records.unfinished_runs(),
    )
    bucket = bucket_of(settings.home)
    if bucket is not None:
        bucket.remove_shared(_before(now, settings.inference.keep_days))
    warehouse = Warehouse.of(settings)
    queries = remove_undeclared_queries(settings, dt.datetime.fromtimestamp(now, dt.UTC).date())
    remove_old_previous(settings.home, now)
    table_partitions = remove_old_partitions_of_tables(warehouse, settings, now)
    tiles = remove_old_tiles(warehouse, now)
    with Store.of(settings) as store, store.read() as db:
        releases = all_releases(db)
    warehouse.vacuum(
        _before(now, settings.retention.version_days), [release.manifest for release in releases]
    )
    # After the partitions: if this process is killed between, the next one finds the records.
    remove_records_of_removed_partitions(warehouse, settings, records)
    return PruneResult(
        runs,
        remove_old_models(
            ModelStore.of(settings), warehouse, settings, _released_versions(releases)
        ),
        partitions,
        tiles,
        table_partitions,
        remove_ingested_posted_rows(warehouse, settings, now),
        queries,
    )


def _before(now: float, days: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(now, dt.UTC) - dt.timedelta(days=days)


def _released_versions(releases: Sequence[Release]) -> set[str]:
    """Versions of models whose predictions a release has."""
    return {
        version
        for release in releases
        for entry in release.manifest["tables"].values()
        for version in entry["model_versions"]
    }


def prune_and_log(settings: Settings, records: RunRecords, log: Callable[[str], None]) -> None:
    """Prunes at the end of a run, and logs what was removed.

    Args:
        settings: of the home.
        records: Dagster's, of the home.
        log: takes a line of text.
    """
    removed = prune(settings, records)
    if removed.queries:
        log(
            f"removed {', '.join(removed.queries)}, with all predictions and models: the settings "
            f"have not declared them for {settings.retention.removed_query_days} days"
        )
    if any((removed.runs, removed.model_versions, removed.table_partitions, removed.posted_rows)):
        log(
            f"removed {removed.runs} Dagster runs older than {settings.retention.run_days} days, "
            f"{len(removed.model_versions)} models that no day needs, "
            f"{removed.table_partitions} old partitions of features, predictions and metrics and "
            f"{removed.posted_rows} posted rows that the warehouse has (retention.*)"
        )

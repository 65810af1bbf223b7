"""The release of a day as a Dagster asset: what applications look up from then on."""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.
import datetime as dt
from collections.abc import Sequence
from typing import Any

import dagster as dg

from batch_predictions.inference.declaration import BatchPrediction, asset_key_of
from batch_predictions.partitions import Partitions, newest_ended_week
from batch_predictions.reporting import OWNERS, markdown
from batch_predictions.serving.release.publish import Release, publish
from batch_predictions.serving.store.schema import Store
from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse, as_date


def release_asset(
    predictions: Sequence[BatchPrediction], partitions: Partitions
) -> dg.AssetsDefinition:
    """A daily asset `serving/release` that publishes every released prediction at once."""
    released = [(table, each.cadence) for each in predictions for table in each.released_tables]

    @dg.asset(
        name="release",
        key_prefix="serving",
        description="All predictions of a day under one release, to which applications are moved "
        "at once: they see the whole old release or the whole new one.",
        group_name="serving",
        kinds={"sqlite"},
        owners=OWNERS,
        partitions_def=partitions.daily,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[
            dg.AssetDep(
                asset_key_of(table),
                partition_mapping=newest_ended_week if cadence == "weekly" else None,
            )
            for table, cadence in released
        ],
    )
    def release(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
    ) -> None:
        days = sorted(context.partition_keys)
        # Older days of a range would be pruned at once.
        skipped = days[: -settings.serving.keep_releases]
        # What has never been made is a use case that this source does not feed.
        never = [table.name for table, _ in released if not warehouse.partitions(table)]
        if len(never) == len(released):
            context.log.warning("nothing was predicted yet, so there is nothing to release")
            return
        store = Store.of(settings)
        try:
            for day in days[len(skipped) :]:
                made = publish(
                    store,
                    warehouse,
                    as_date(day),
                    [table for table, _ in released],
                    keep=settings.serving.keep_releases,
                    now=_began(context),
                    optional=never,
                )
                context.log.info(f"release {made.release_id}: {made.note}")
                context.add_asset_metadata(_metadata(made), partition_key=day)
        finally:
            store.close()
        for day in skipped:
            note = f"not published: only the newest {settings.serving.keep_releases} days are kept"
            context.add_asset_metadata({"note": note}, partition_key=day)

    return release


def _began(context: dg.AssetExecutionContext) -> dt.datetime:
    """When the run was created, UTC: a release's `created_at`, which nothing is computed from."""
    record = context.instance.get_run_record_by_id(context.run_id)
    assert record is not None
    return record.create_timestamp.astimezone(dt.UTC)


def _metadata(made: Release) -> dict[str, Any]:
    tables = made.manifest["tables"]
    rows = [
        (name, each["rows"], ", ".join(each["model_versions"])) for name, each in tables.items()
    ]
    return {
        "release_id": made.release_id,
        "current": made.current,
        "note": made.note,
        "dagster/partition_row_count": sum(each["rows"] for each in tables.values()),
        "tables": dg.MetadataValue.md(markdown(["table", "rows", "model versions"], rows)),
    }

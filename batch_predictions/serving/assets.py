"""The asset `serving/release`: publishes a day's predictions for lookups."""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.
import datetime as dt
from collections.abc import Collection, Sequence

import dagster as dg

from batch_predictions.inference.base import BatchPrediction, asset_key_of
from batch_predictions.serving.release.context_tables import ContextChoice
from batch_predictions.serving.release.publish import publish
from batch_predictions.serving.sinks.sync import sync_sinks
from batch_predictions.serving.store.pointer import Release
from batch_predictions.serving.store.store import Store
from batch_predictions.settings import Settings
from batch_predictions.tables import Table
from batch_predictions.tables.partitions import Partitions, newest_ended_week
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.reporting import OWNERS, markdown

IS_DELIVERED = "is_delivered"
RELEASE_KEY = dg.AssetKey(["serving", "release"])


def release_asset(
    predictions: Sequence[BatchPrediction], partitions: Partitions
) -> dg.AssetsDefinition:
    """The daily asset `serving/release`, which publishes all released predictions together."""
    released = [
        (table, prediction.cadence)
        for prediction in predictions
        for table in prediction.released_tables
    ]

    @dg.asset(
        name="release",
        key_prefix="serving",
        description="One release with all predictions of a day. Lookups switch to it atomically: "
        "they read the old release or the new one, complete.",
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
        check_specs=[
            dg.AssetCheckSpec(
                IS_DELIVERED,
                asset=RELEASE_KEY,
                description="Every sink, and the export to serving.release_dir, has the release.",
            )
        ],
    )
    def release(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
    ) -> dg.MaterializeResult:
        # A table without any partition belongs to a use case that the source has no data for.
        empty = [table.name for table, _ in released if not warehouse.partitions(table)]
        if len(empty) == len(released):
            context.log.warning("there are no predictions yet, so there is nothing to publish")
        else:
            _publish_days(context, warehouse, settings, [table for table, _ in released], empty)
        return _deliver(context, settings)

    return release


def _publish_days(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    settings: Settings,
    tables: Sequence[Table],
    optional: Collection[str],
) -> None:
    """Publishes the partitions of a run that are not pruned immediately, oldest first."""
    keep = settings.serving.keep_releases
    days = sorted(context.partition_keys)
    for day in days[:-keep]:
        note = f"not published: only the newest {keep} days are kept"
        context.add_asset_metadata({"note": note}, partition_key=day)
    with Store.of(settings) as store:
        for day in days[-keep:]:
            published = publish(
                store,
                warehouse,
                as_date(day),
                tables,
                keep=keep,
                now=_run_created_at(context),
                optional=optional,
                context=ContextChoice.of(settings),
            )
            context.log.info(f"release {published.release_id}: {published.note}")
            for name, earlier in published.earlier_days.items():
                context.log.warning(f"{name} was not made for {day}: its rows of {earlier} serve")
            context.add_asset_metadata(_metadata(published), partition_key=day)


def _deliver(context: dg.AssetExecutionContext, settings: Settings) -> dg.MaterializeResult[None]:
    """Brings sinks and the export to the served release; one that fails is a failed check."""
    results = sync_sinks(settings)
    for result in results:
        if result.error:
            context.log.warning(result.error)
        else:
            context.log.info(
                f"{result.release_id} is {'written to' if result.is_new else 'there already:'} "
                f"{result.location}"
            )
    errors = [result.error for result in results if result.error]
    check = dg.AssetCheckResult(
        check_name=IS_DELIVERED,
        passed=not errors,
        # `status` has the sinks themselves, which a later run may have written.
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(errors) or f"{len(results)} have the release",
    )
    is_checked = bool(context.selected_asset_check_keys)
    return dg.MaterializeResult(check_results=[check] if is_checked else [])


def _run_created_at(context: dg.AssetExecutionContext) -> dt.datetime:
    """Returns the run's creation time in UTC, which becomes the release's `created_at`."""
    record = context.instance.get_run_record_by_id(context.run_id)
    assert record is not None
    return record.create_timestamp.astimezone(dt.UTC)


def _metadata(published: Release) -> dict[str, object]:
    tables = published.manifest["tables"]
    rows = [
        (name, entry["partition"], entry["rows"], ", ".join(entry["model_versions"]))
        for name, entry in tables.items()
    ]
    return {
        "release_id": published.release_id,
        "current": published.current,
        "note": published.note,
        "dagster/partition_row_count": sum(entry["rows"] for entry in tables.values()),
        "earlier_days": published.earlier_days,
        "tables": dg.MetadataValue.md(
            markdown(["table", "partition", "rows", "model versions"], rows)
        ),
    }

"""The raw tables as assets: a day or week of the source, checked and accounted for."""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.
from pathlib import Path

import dagster as dg

from batch_predictions.home import HomeError, read_state
from batch_predictions.partitions import Partitions
from batch_predictions.reporting import CADENCE, OWNERS, record_materializations, table_metadata
from batch_predictions.settings import Settings
from batch_predictions.sources.ingest import IngestResult, ingest
from batch_predictions.sources.registry import source_of
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse

CHECK = "all_rows_accounted_for"


def raw_asset(table: Table, partitions: Partitions) -> dg.AssetsDefinition:
    """An asset `raw/<table>` that ingests days of the source, or weeks of a table known ahead."""
    is_weekly = table.partition == "week"

    @dg.asset(
        name=table.name,
        key_prefix="raw",
        description=table.description,
        partitions_def=partitions.weekly_ahead if table.ahead else partitions.daily,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name="sources",
        kinds={"duckdb", "parquet"},
        owners=OWNERS,
        tags={CADENCE: "weekly"} if is_weekly else None,
        metadata=table_metadata(table),
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=dg.AssetKey(["raw", table.name]),
                description="Rows read = rows accepted + rows in quarantine, in every partition.",
            )
        ],
    )
    def raw(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
    ) -> dg.MaterializeResult:
        state = read_state(Path(warehouse.home))
        if state is None:
            raise HomeError(f"{warehouse.home} has not begun: run `batch-predictions run`")
        source = source_of(settings.source, state)
        if table not in source.tables():
            context.log.info(f"source {source.kind} has no {table.name}: its partitions are empty")
        ingested = ingest(warehouse, source, table, context.partition_keys, state)
        for day, each in ingested.items():
            if each.superseded:
                context.log.info(f"raw.{table.name} is newer than {day}: it stays as it is")
            if each.counts.quarantined:
                context.log.warning(
                    f"{each.counts.quarantined} of {each.counts.read} rows of {table.name} on "
                    f"{day} were refused: see raw.quarantine"
                )
        record_materializations(
            context,
            warehouse,
            {day: each.written for day, each in ingested.items()},
            extra={day: _figures(each) for day, each in ingested.items()},
        )
        return dg.MaterializeResult(check_results=[_accounted(ingested)])

    return raw


def _figures(each: IngestResult) -> dict[str, int]:
    counts = each.counts
    return {
        "rows_read": counts.read,
        "rows_accepted": counts.accepted,
        "rows_quarantined": counts.quarantined,
        "rows_added_here": each.added,
    }


def _accounted(ingested: dict[str, IngestResult]) -> dg.AssetCheckResult:
    """One result for all days: it lists those that fail."""
    counts = {day: each.counts for day, each in ingested.items()}
    failing = [
        day
        for day, each in ingested.items()
        if each.counts.read != each.counts.accepted + each.counts.quarantined
        # What was accepted is what the file holds, unless a newer snapshot stayed.
        or (not each.superseded and each.written.rows != each.counts.accepted + each.added)
    ]
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=not failing,
        metadata={
            "days": len(counts),
            "read": sum(each.read for each in counts.values()),
            "accepted": sum(each.accepted for each in counts.values()),
            "quarantined": sum(each.quarantined for each in counts.values()),
            "failing_days": dg.MetadataValue.json(failing),
        },
    )

"""The raw tables as Dagster assets, with a check that no row of the source is lost."""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from batch_predictions.core.home import HomeError, read_state
from batch_predictions.settings import Settings
from batch_predictions.sources.base import Source
from batch_predictions.sources.ingest import IngestResult, ingest
from batch_predictions.sources.posted_rows.feedback import FeedbackSource
from batch_predictions.sources.shrinkage import describe_kept
from batch_predictions.sources.source_registry import source_of
from batch_predictions.tables import FEEDBACK, USER_ALIASES, Table, user_columns
from batch_predictions.tables.partitions import Partitions
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.reporting import (
    CADENCE,
    OWNERS,
    markdown,
    record_materializations,
    table_metadata,
)
from batch_predictions.warehouse.usual_check import check_is_usual, usual_check_specs

CHECK = "all_rows_accounted_for"


def raw_asset(table: Table, partitions: Partitions) -> dg.AssetsDefinition:
    """The asset `raw/<table>`, which ingests partitions of the source."""
    has_users = table != USER_ALIASES and bool(user_columns(table))

    @dg.asset(
        name=table.name,
        key_prefix="raw",
        description=table.description,
        partitions_def=partitions.weekly_ahead if table.ahead else partitions.daily,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[dg.AssetKey(["raw", USER_ALIASES.name])] if has_users else None,
        group_name="sources",
        kinds={"duckdb", "parquet"},
        owners=OWNERS,
        tags={CADENCE: "weekly"} if table.partition == "week" else None,
        metadata=table_metadata(table),
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=dg.AssetKey(["raw", table.name]),
                description="Rows read = rows accepted + rows in quarantine, in every partition.",
            ),
            *usual_check_specs(table),
        ],
    )
    def raw(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
    ) -> dg.MaterializeResult:
        state = read_state(Path(warehouse.home))
        if state is None:
            raise HomeError(f"{warehouse.home} is not initialised: run `batch-predictions run`")
        source = source_of(settings, state)
        if table == FEEDBACK:
            source = FeedbackSource.of(source)
        if table not in source.tables():
            context.log.info(f"source {source.kind} has no {table.name}: the partitions are empty")
        results = ingest(warehouse, source, table, context.partition_keys, state)
        for day, result in results.items():
            if result.is_superseded:
                context.log.info(f"raw.{table.name} has a snapshot newer than {day}: it is kept")
        for warning in _warnings(table, results):
            context.log.warning(warning)
        newest = max(results)
        extra = {day: _row_metadata(result) for day, result in results.items()}
        extra[newest] |= _source_columns(source, table)
        record_materializations(
            context,
            warehouse,
            {day: result.write_result for day, result in results.items()},
            extra=extra,
        )
        checks = [_check_result(results)]
        if usual_check_specs(table):
            checks.append(check_is_usual(warehouse, settings, table, newest))
        return dg.MaterializeResult(check_results=checks)

    return raw


def _warnings(table: Table, results: dict[str, IngestResult]) -> Iterator[str]:
    """Yields warnings about rows that are kept or refused, and unread values, of all days."""
    kept = {day: result.kept for day, result in results.items() if result.kept}
    for reason in sorted({part.reason for part in kept.values()}):
        yield describe_kept(table, {d: part for d, part in kept.items() if part.reason == reason})
    counts = {day: result.counts for day, result in results.items()}
    refused = {day: day_counts.quarantined for day, day_counts in counts.items()}
    days = [day for day, number in refused.items() if number]
    if days:
        read = sum(day_counts.read for day_counts in counts.values())
        span = days[0] if len(days) == 1 else f"{len(days)} days, {days[0]} to {days[-1]}"
        yield (
            f"{sum(refused.values()):,} of {read:,} rows of {table.name} were refused ({span}): "
            "see raw.quarantine"
        )
    nulled: Counter[str] = Counter()
    for day_counts in counts.values():
        nulled.update(day_counts.nulled)
    for column, number in nulled.items():
        yield (
            f"{number:,} values of {table.name}.{column} could not be read and are empty: see "
            "`batch-predictions check-source`"
        )


def _row_metadata(result: IngestResult) -> dict[str, object]:
    """Counts of rows, shown in the UI; `values_not_read` by column, `rows_kept` of before."""
    return {
        "rows_read": result.counts.read,
        "rows_accepted": result.counts.accepted,
        "rows_quarantined": result.counts.quarantined,
        "rows_filtered": result.counts.filtered,
        "rows_deduplicated": result.counts.deduplicated,
        "rows_merged": result.counts.merged,
        "rows_added_by_commands": result.manual_rows,
        "rows_posted": result.posted_rows,
        "rows_kept": result.kept.rows if result.kept else 0,
        "values_not_read": dg.MetadataValue.json(result.counts.nulled),
    }


def _source_columns(source: Source, table: Table) -> dict[str, object]:
    """Metadata of the source's columns that each column is read from: lineage of raw tables."""
    mapping = source.column_mapping(table) if table in source.tables() else {}
    if not mapping:
        return {}
    rows = [(column.name, mapping.get(column.name)) for column in table.columns]
    text = markdown(["column", "column of the source"], [row for row in rows if row[1]])
    return {"source_columns": dg.MetadataValue.md(text)}


def _check_result(results: dict[str, IngestResult]) -> dg.AssetCheckResult:
    """One result for all days; it lists the days whose rows do not add up."""
    counts = [result.counts for result in results.values()]
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=all(_adds_up(result) for result in results.values()),
        metadata={
            "days": len(results),
            "read": sum(day.read for day in counts),
            "accepted": sum(day.accepted for day in counts),
            "quarantined": sum(day.quarantined for day in counts),
            "failing_days": dg.MetadataValue.json(
                [day for day, result in results.items() if not _adds_up(result)]
            ),
        },
    )


def _adds_up(result: IngestResult) -> bool:
    """Returns whether all rows that were read are in the written file or in the quarantine."""
    counts = result.counts
    added = result.manual_rows + result.posted_rows
    is_file_complete = result.write_result.rows == counts.accepted + added
    return counts.read == counts.accepted + counts.quarantined and (
        is_file_complete or result.is_superseded
    )

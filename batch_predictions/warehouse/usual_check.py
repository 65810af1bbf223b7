"""The asset check `is_usual`: the newest day of a table is like the same weekdays before it."""

from __future__ import annotations

import dagster as dg

from batch_predictions.settings import Settings
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.usual_days import compare_day

IS_USUAL = "is_usual"


def usual_check_specs(table: Table) -> list[dg.AssetCheckSpec]:
    """The check of a table by day or week; other tables have nothing to compare."""
    if not table.is_periodic:
        return []
    return [
        dg.AssetCheckSpec(
            IS_USUAL,
            asset=dg.AssetKey([table.schema, table.name]),
            description="Rows, empty values and ranges of the newest partition are like those of "
            "the same weekday in the weeks before (settings `checks`).",
        )
    ]


def check_is_usual(
    warehouse: Warehouse, settings: Settings, table: Table, partition: str, unusual: str = ""
) -> dg.AssetCheckResult:
    """Warns where a partition is unusual; passes where there is too little to compare with.

    Args:
        warehouse: with the partition.
        settings: what is usual.
        table: the table.
        partition: `YYYY-MM-DD`.
        unusual: what else is unusual, found by the caller.
    """
    comparison = compare_day(warehouse, table, as_date(partition), settings.checks)
    told = str(comparison) if comparison else "too few weeks or rows to compare with"
    metadata = {"rows": comparison.rows, "usual_rows": comparison.median} if comparison else {}
    return dg.AssetCheckResult(
        check_name=IS_USUAL,
        asset_key=dg.AssetKey([table.schema, table.name]),
        passed=not unusual and (comparison is None or comparison.is_usual),
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{partition}: {'; '.join(filter(None, [unusual, told]))}",
        metadata=metadata,
    )

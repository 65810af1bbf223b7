"""A daily table of `evaluation` as a Dagster asset, which needs none of its inputs."""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.
import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import dagster as dg
import pyarrow as pa

from batch_predictions.settings import Settings
from batch_predictions.tables import Table
from batch_predictions.tables.partitions import Partitions
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.reporting import OWNERS, record_materializations, table_metadata

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def daily_evaluation_asset(
    table: Table,
    partitions: Partitions,
    reads: Iterable[Table],
    compute: Callable[[Warehouse, Settings, dt.date], pa.Table],
    plot: Callable[[Warehouse, str], "Figure | None"],
    metadata: Callable[[Warehouse, str], Mapping[str, object]] = lambda warehouse, day: {},
) -> dg.AssetsDefinition:
    """Builds the daily asset `evaluation/<table>`, which needs none of its inputs.

    Args:
        table: that it writes, by day.
        partitions: of the home.
        reads: tables that it reads where they have a day, for lineage.
        compute: the rows of a day, without its date.
        plot: of the newest day of a run.
        metadata: of the newest day of a run, if its rows have changed.
    """

    @dg.asset(
        name=table.name,
        key_prefix=table.schema,
        description=table.description,
        group_name="evaluation",
        kinds={"duckdb", "parquet"},
        owners=OWNERS,
        partitions_def=partitions.daily,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[dg.AssetKey([read.schema, read.name]) for read in dict.fromkeys(reads)],
        metadata=table_metadata(table),
    )
    def evaluation(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
    ) -> None:
        results = {
            day: warehouse.replace_partition(table, day, compute(warehouse, settings, as_date(day)))
            for day in context.partition_keys
        }
        newest = max(results)
        record_materializations(
            context,
            warehouse,
            results,
            extra={newest: metadata(warehouse, newest)} if results[newest].changed else None,
            plot=lambda: plot(warehouse, newest),
        )

    return evaluation

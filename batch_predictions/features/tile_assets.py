"""Tiles as Dagster assets."""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.
import dagster as dg

from batch_predictions.features.asset_arguments import asset_arguments
from batch_predictions.features.sql.demand_sql import parameters
from batch_predictions.features.tiles.base import Tile
from batch_predictions.features.tiles.building import tile_problems, write_tile
from batch_predictions.features.tiles.tile_fingerprints import RawDays
from batch_predictions.settings import Settings
from batch_predictions.sources.written_partitions import lost_partitions, unread_partitions
from batch_predictions.tables import INTERACTIONS
from batch_predictions.tables.partitions import Partitions
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.column_lineage import table_lineage
from batch_predictions.warehouse.reporting import record_materializations


def tile_asset(tile: Tile, partitions: Partitions) -> dg.AssetsDefinition:
    """A daily asset `tiles/<table>`; it also makes what its readers need of earlier days."""
    table = tile.table

    @dg.asset(
        **asset_arguments(table, tile.sql, partitions),
        deps=[dg.AssetKey(name.split(".")) for name in tile.upstreams],
    )
    def compute_tile(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
    ) -> None:
        days = sorted(context.partition_keys)
        names = {INTERACTIONS.qualified, *tile.upstreams}
        problems = lost_partitions(warehouse, names, "date", days)
        problems += unread_partitions(warehouse, names, "date", days[-1])
        problems += tile_problems(warehouse, settings, names, days)
        raw_days = RawDays(warehouse, parameters(warehouse, settings), as_date(days[-1]))
        if not raw_days.hashes:
            problems.append(
                f"it would have no rows of {days[-1]}, since there is no partition of "
                "raw/interactions up to that day: materialize it first, or use "
                "`batch-predictions run`"
            )
        if problems:
            name = tile.name.replace(".", "/")
            raise dg.Failure(f"{name}: {'; '.join(problems)}", allow_retries=False)
        results, others = write_tile(raw_days, tile, days)
        if others:
            context.log.info(f"{table.qualified}: {len(others)} earlier spans, {others[0]} first")
        record_materializations(
            context,
            warehouse,
            results,
            lineage=lambda: table_lineage(warehouse, tile.name, tile.sql),
        )

    return compute_tile

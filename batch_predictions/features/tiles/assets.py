"""Tiles as Dagster assets."""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.
import dagster as dg

from batch_predictions.features.queries import parameters
from batch_predictions.features.tiles.building import outdated_tiles, write_tile
from batch_predictions.features.tiles.declaration import TILES, Tile
from batch_predictions.features.tiles.fingerprints import RawDays
from batch_predictions.features.versions import query_version
from batch_predictions.partitions import Partitions
from batch_predictions.reporting import OWNERS, record_materializations, table_metadata
from batch_predictions.settings import Settings
from batch_predictions.sources.written_partitions import lost_partitions, unread_partitions
from batch_predictions.tables import INTERACTIONS
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.schema_sql import tables_in


def tile_asset(tile: Tile, partitions: Partitions) -> dg.AssetsDefinition:
    """A daily asset `tiles/<table>`; it also makes what its readers need of earlier days."""
    table = tile.table
    upstreams = sorted(tables_in(tile.sql) - {table.qualified})

    @dg.asset(
        name=table.name,
        key_prefix=table.schema,
        description=table.description,
        group_name="features",
        kinds={"duckdb", "parquet"},
        owners=OWNERS,
        partitions_def=partitions.daily,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[dg.AssetKey(name.split(".")) for name in upstreams],
        metadata=table_metadata(table),
        code_version=query_version(tile.sql),
    )
    def compute_tile(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
    ) -> None:
        days = sorted(context.partition_keys)
        raw_days = RawDays(warehouse, parameters(settings), as_date(days[-1]))
        read = [TILES[name] for name in upstreams if name in TILES]
        problems = lost_partitions(warehouse, [INTERACTIONS.qualified], "date", days)
        problems += unread_partitions(warehouse, [INTERACTIONS.qualified], "date", days[-1])
        problems += outdated_tiles(raw_days, read, days)
        if problems:
            name = table.qualified.replace(".", "/")
            raise dg.Failure(f"{name}: {'; '.join(problems)}", allow_retries=False)
        results, others = write_tile(raw_days, tile, days)
        if others:
            context.log.info(
                f"{table.qualified}: {len(others)} earlier spans made, {others[0]} to {others[-1]}"
            )
        record_materializations(context, warehouse, results)

    return compute_tile

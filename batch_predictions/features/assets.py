"""Feature tables as Dagster assets: one row per user, item or series and day."""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.
import hashlib

import dagster as dg

from batch_predictions.features.declaration import FeatureTable
from batch_predictions.partitions import Partitions
from batch_predictions.reporting import OWNERS, record_materializations, table_metadata
from batch_predictions.settings import Settings
from batch_predictions.tables import TABLES
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.schema_sql import tables_in


def feature_asset(feature: FeatureTable, partitions: Partitions) -> dg.AssetsDefinition:
    """A daily asset `features/<table>` that replaces a day's partition by its query's rows."""
    table, query = feature.table, feature.sql
    draw = feature.plot

    @dg.asset(
        name=table.name,
        key_prefix=table.schema,
        description=table.description,
        group_name="features",
        kinds={"duckdb", "parquet"},
        owners=OWNERS,
        partitions_def=partitions.daily,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[
            dg.AssetDep(
                dg.AssetKey(name.split(".")),
                partition_mapping=partitions.known_ahead if TABLES[name].ahead else None,
            )
            for name in sorted(tables_in(query))
        ],
        metadata=table_metadata(table),
        code_version=query_version(query),
    )
    def compute_feature(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
    ) -> None:
        parameters = feature.parameters(warehouse, settings)
        results = {
            day: warehouse.replace_partition(
                table, day, query, {**parameters, "date": as_date(day)}
            )
            for day in context.partition_keys
        }
        record_materializations(
            context,
            warehouse,
            results,
            plot=(lambda: draw(warehouse, max(results))) if draw else None,
        )

    return compute_feature


def query_version(query: str) -> str:
    """A hash of the query, so that the UI shows which partitions an older query wrote."""
    return hashlib.sha256(query.encode()).hexdigest()[:12]

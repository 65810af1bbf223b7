"""Features as Dagster assets: one row per user, item or series and day."""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from batch_predictions.features import demand as demand_series
from batch_predictions.features import plots
from batch_predictions.features.queries import parameters, sql
from batch_predictions.partitions import daily, known_ahead
from batch_predictions.reporting import OWNERS, record_materializations, table_metadata
from batch_predictions.settings import Settings
from batch_predictions.tables import (
    CHURN_FEATURES,
    DEMAND,
    ITEM_ACTIVITY,
    ITEM_STATE,
    TABLES,
    USER_ACTIVITY,
    USER_SEGMENTS,
    Table,
)
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.schema_sql import tables_in

Bind = Callable[[Warehouse, Settings], Mapping[str, Any]]


def _usual(warehouse: Warehouse, settings: Settings) -> Mapping[str, Any]:
    return parameters(settings)


def _feature(table: Table, bind: Bind = _usual) -> dg.AssetsDefinition:
    """A daily asset that is one query, `features/<table>.sql`; `bind` gives its parameters."""
    query = sql(table.name)

    @dg.asset(
        name=table.name,
        key_prefix=table.schema,
        description=table.description,
        group_name="features",
        kinds={"duckdb", "parquet"},
        owners=OWNERS,
        partitions_def=daily,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[
            dg.AssetDep(
                dg.AssetKey(name.split(".")),
                partition_mapping=known_ahead if TABLES[name].ahead else None,
            )
            for name in sorted(tables_in(query))
        ],
        metadata=table_metadata(table),
        code_version=query_version(query),
    )
    def feature(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
    ) -> None:
        bound = bind(warehouse, settings)
        written = {}
        for day in context.partition_keys:
            rows = {**bound, "date": as_date(day)}
            written[day] = warehouse.replace_partition(table, day, query, rows)
        record_materializations(
            context,
            warehouse,
            written,
            plot=lambda: plots.PLOTS[table.name](warehouse, max(written)),
        )

    return feature


def query_version(query: str) -> str:
    """Changes with the query, so that the UI shows what was made by an older one."""
    import hashlib

    return hashlib.sha256(query.encode()).hexdigest()[:12]


user_activity = _feature(USER_ACTIVITY)
item_activity = _feature(ITEM_ACTIVITY)
user_segments = _feature(USER_SEGMENTS)
item_state = _feature(ITEM_STATE)
churn_features = _feature(CHURN_FEATURES)
demand = _feature(DEMAND, demand_series.parameters)

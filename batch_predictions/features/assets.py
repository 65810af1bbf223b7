"""Feature tables and tiles as Dagster assets: rows per user, item or series and day."""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from batch_predictions.features.base import FeatureTable
from batch_predictions.features.sql.queries import demand_parameters
from batch_predictions.features.tiles.base import Tile
from batch_predictions.features.tiles.building import outdated_tiles, tile_problems, write_tile
from batch_predictions.features.tiles.tile_fingerprints import RawDays
from batch_predictions.settings import Settings
from batch_predictions.sources.written_partitions import lost_partitions, unread_partitions
from batch_predictions.tables import INTERACTIONS, TABLES, Table
from batch_predictions.tables.partitions import Partitions
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.column_lineage import table_lineage
from batch_predictions.warehouse.plugin_queries import warehouse_of_declaration
from batch_predictions.warehouse.reporting import OWNERS, record_materializations, table_metadata
from batch_predictions.warehouse.schema_sql import tables_in
from batch_predictions.warehouse.usual_check import check_is_usual, usual_check_specs


def asset_arguments(table: Table, query: str, partitions: Partitions) -> dict[str, Any]:
    """Builds the arguments of `dg.asset`, except `deps`, for a daily table that a query computes.

    The code version is a hash of the query, so that the UI shows which partitions an older query
    wrote.

    Args:
        table: that the asset writes.
        query: the SQL that computes a day's rows.
        partitions: of the home.
    """
    return {
        "name": table.name,
        "key_prefix": table.schema,
        "description": table.description,
        "group_name": "features",
        "kinds": {"duckdb", "parquet"},
        "owners": OWNERS,
        "partitions_def": partitions.daily,
        "backfill_policy": dg.BackfillPolicy.single_run(),
        "metadata": table_metadata(table),
        "code_version": hashlib.sha256(query.encode()).hexdigest()[:12],
    }


def feature_asset(
    declaration: FeatureTable, partitions: Partitions, settings: Settings
) -> dg.AssetsDefinition:
    """A daily asset `features/<table>` that replaces a day's partition by its query's rows.

    Raises:
        SettingsError: the settings do not give the query.
    """
    feature = declaration.with_settings(settings)
    table, query = feature.table, feature.sql
    draw = feature.plot

    @dg.asset(
        **asset_arguments(table, query, partitions),
        check_specs=usual_check_specs(table),
        deps=_dependencies(query, partitions),
        op_tags=settings.execution.large_step_tags(),
    )
    def compute_feature(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
    ) -> dg.MaterializeResult:
        parameters = feature.parameters(warehouse, settings)
        days = context.partition_keys
        raw_query = feature.sql_without_tiles
        if raw_query is None:
            problems = tile_problems(warehouse, settings, tables_in(query), days)
            queries = dict.fromkeys(days, query)
        else:
            problems = []
            outdated = outdated_tiles(warehouse, settings, tables_in(query), days)
            if outdated:
                day, name = next(iter(outdated.items()))
                context.log.info(
                    f"{name} of {day} is not made: the rows of {len(outdated)} days are computed "
                    "from raw tables, at a cost that grows with history"
                )
            queries = {day: raw_query if day in outdated else query for day in days}
        _require_upstreams(warehouse, feature, parameters, queries, problems)
        query_warehouse = warehouse_of_declaration(warehouse, declaration)
        results = {
            day: query_warehouse.replace_partition(
                table, day, queries[day], {**parameters, "date": as_date(day)}
            )
            for day in days
        }
        record_materializations(
            context,
            warehouse,
            results,
            plot=(lambda: draw(warehouse, max(results))) if draw else None,
            lineage=lambda: table_lineage(warehouse, table.qualified, queries[max(days)]),
        )
        return dg.MaterializeResult(
            check_results=[check_is_usual(warehouse, settings, table, max(results))]
        )

    return compute_feature


def _dependencies(query: str, partitions: Partitions) -> list[dg.AssetDep]:
    """The assets of the tables that a query reads."""
    return [
        dg.AssetDep(
            dg.AssetKey(name.split(".")),
            partition_mapping=partitions.known_ahead if TABLES[name].ahead else None,
        )
        for name in sorted(tables_in(query))
    ]


def _require_upstreams(
    warehouse: Warehouse,
    feature: FeatureTable,
    parameters: Mapping[str, object],
    queries: Mapping[str, str],
    problems: Sequence[str],
) -> None:
    """Fails where rows are missing that were ingested, or a day is empty for lack of any upstream.

    A day on which nothing happened has upstream partitions without rows.

    Args:
        warehouse: with the upstreams.
        feature: the declaration.
        parameters: that its queries bind.
        queries: the query of each day.
        problems: what is missing besides.
    """
    names = set().union(*map(tables_in, queries.values()))
    problems = [*problems, *lost_partitions(warehouse, names, "date", list(queries))]
    problems += unread_partitions(warehouse, names, "date", max(queries))
    daily = [TABLES[name] for name in sorted(names) if TABLES[name].partition == "date"]
    daily = [table for table in daily if not table.parts]
    for day, query in queries.items() if daily else ():
        if any(warehouse.path(table, day).exists() for table in daily):
            continue
        bound = {**parameters, "date": as_date(day)}
        if not warehouse.value(f"select exists (select 1 from ({query}))", bound):
            upstreams = " and ".join(table.qualified.replace(".", "/") for table in daily)
            problems.append(
                f"it would have no rows of {day}, since there is no partition of {upstreams} of "
                "that day: materialize them first, or use `batch-predictions run`"
            )
            break
    if problems:
        name = feature.table.qualified.replace(".", "/")
        raise dg.Failure(f"{name}: {'; '.join(problems)}", allow_retries=False)


def tile_asset(
    tile: Tile, partitions: Partitions, settings: Settings | None = None
) -> dg.AssetsDefinition:
    """A daily asset `tiles/<table>`; it also makes what its readers need of earlier days.

    Args:
        tile: the declaration.
        partitions: of the home.
        settings: determine which node its step requests; None: any.
    """
    table = tile.table

    @dg.asset(
        **asset_arguments(table, tile.sql, partitions),
        deps=[dg.AssetKey(name.split(".")) for name in tile.upstreams],
        op_tags=settings.execution.large_step_tags() if settings else None,
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
        raw_days = RawDays(warehouse, demand_parameters(warehouse, settings), as_date(days[-1]))
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

"""Which tables have a column lineage, and that it agrees with the lineage of assets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from batch_predictions.features.base import FeatureTable
from batch_predictions.features.tiles.base import TILES
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.dagster.step_reports import prediction_lineage
from batch_predictions.settings import Settings
from batch_predictions.tables import TABLES
from batch_predictions.tables.discovery import instances
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.column_lineage import Lineage, query_lineage
from batch_predictions.warehouse.schema_sql import tables_in

FEATURES = [
    feature.with_settings(Settings())
    for feature in instances(FeatureTable, "features/declared_features.py")
]
PREDICTIONS = instances(BatchPrediction, "predictions/*.py")
WITHOUT = {
    "raw": "read from the source: the metadata source_columns says from which columns",
    "evaluation": "written by trainings and metrics in Python, not by one query",
    "predictions.exclusions": "the keys that predictions could not score, of all predictions",
}
"""Schemas and tables without column lineage, and why."""


@dataclass(frozen=True)
class TableLineage:
    """A table's lineage, and the tables that its queries read."""

    lineage: Lineage | None
    tables: set[str]


@pytest.fixture(scope="module")
def lineages(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, TableLineage]:
    """The lineage of every table that queries compute, by its name."""
    warehouse = Warehouse.of(Settings(home=tmp_path_factory.mktemp("lineage")))
    queries = {tile.name: [tile.sql] for tile in TILES.values()}
    queries |= {feature.table.qualified: [feature.sql] for feature in FEATURES}
    result = {
        name: TableLineage(query_lineage(sql), tables_in(sql)) for name, [sql] in queries.items()
    }
    for prediction in PREDICTIONS:
        for table in (prediction.table, *prediction.child_tables.values()):
            lineage = prediction_lineage(warehouse, prediction, table)
            result[table.qualified] = TableLineage(lineage, prediction.tables())
    return result


def test_every_table_of_queries_has_a_lineage(lineages: Mapping[str, TableLineage]) -> None:
    assert [name for name, table in lineages.items() if not table.lineage] == []
    without = {
        name
        for name, table in TABLES.items()
        if name not in lineages and table.schema not in WITHOUT and name not in WITHOUT
    }
    assert not without, "compute it by a query, or say in WITHOUT why it has no column lineage"
    schemas = {table.schema for table in TABLES.values()}
    assert set(WITHOUT) <= schemas | set(TABLES)


def test_features_without_tiles_have_one_too() -> None:
    for feature in FEATURES:
        sql = feature.sql_without_tiles
        assert sql is None or query_lineage(sql), feature.table.qualified


def test_lineages_name_declared_columns_of_the_tables_that_duckdb_reads(
    lineages: Mapping[str, TableLineage],
) -> None:
    for name, table in lineages.items():
        assert table.lineage is not None
        declared = {column.name for column in TABLES[name].columns}
        assert declared - set(table.lineage) <= {"date", "week", "span", "model_version"}, name
        for sources in table.lineage.values():
            for source in sources:
                upstream, column = source.rsplit(".", 1)
                assert upstream in table.tables, f"{name} does not read {source}"
                TABLES[upstream].type_of(column)


def test_known_columns(lineages: Mapping[str, TableLineage]) -> None:
    def sources(name: str) -> list[str]:
        table, column = name.rsplit(".", 1)
        lineage = lineages[table].lineage
        assert lineage is not None
        return lineage[column]

    assert sources("features.user_activity.spend_84d") == ["raw.interactions.amount"]
    assert sources("features.user_segments.location") == [
        "raw.users.location",
        "tiles.user_locations.location",
    ]
    # Days between two sales are filled up, so the list depends on the days, too.
    assert sources("features.demand.units") == [
        "tiles.daily_sales.day",
        "tiles.daily_sales.units",
    ]
    # A key is that of the rows to score; the scorer reads rows and lookup tables whole.
    assert sources("predictions.churn_scores.user_id") == ["features.churn_history.user_id"]
    scored = sources("predictions.recommendations.score")
    assert {"tiles.user_items.event_time", "raw.promotion_calendar.display"} <= set(scored)
    assert sources("predictions.recommendations.item_id") == scored
    assert sources("features.item_scores.user_id") == ["features.user_segments.user_id"]

"""Queries of plugins give equal bytes, although DuckDB's sums depend on its threads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from batch_predictions.features.assets import feature_asset
from batch_predictions.inference.partition_staging import stage_partition
from batch_predictions.models.churn.assets import churn
from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.training_assets import training_asset
from batch_predictions.predictions.churn import churn_scores
from batch_predictions.settings import Settings
from batch_predictions.tables import INTERACTIONS, TABLES, discovery
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.plugin_queries import warehouse_of_declaration
from batch_predictions_tests.worlds.home import PARTITIONS, materialize
from batch_predictions_tests.worlds.plugin_packages import load_package

SUNDAY, MONDAY = "2024-05-26", "2024-05-20"
ROWS = 500_000
"""Five row groups of Parquet, which several threads read."""
PLUGIN = '''
from typing import ClassVar

import pyarrow as pa
from batch_predictions import (
    BatchPrediction, FeatureTable, Table, Trained, Training, columns, declare
)

SPEND = """select user_id, sum(amount) as spend, list(item_id) as item_ids
    from raw.interactions where date <= $date group by user_id"""


def train(warehouse, settings, through, progress):
    rows = warehouse.query(SPEND, {"date": through}).to_pylist()
    return Trained(
        write=lambda folder: (folder / "rows.txt").write_text(repr(rows)),
        candidate="sums", beats_baseline=True, parameters={}, why="", metrics=[],
    )


spend_model = Training("spend_model", "Spend of every user.", train)
USER_SPEND = declare(Table("features", "user_spend", "Spend of every user.", columns("""
    date DATE: day
    user_id VARCHAR: user
    spend DOUBLE: spend
"""), key=("user_id",)))
user_spend = FeatureTable(
    USER_SPEND, query=SPEND.replace(", list(item_id) as item_ids", ""),
    parameters=lambda warehouse, settings: {},
)
SPENDS = declare(Table("predictions", "spends", "Spend of every user.", columns("""
    date DATE: day
    user_id VARCHAR: user
    spend DOUBLE: spend
    model_version VARCHAR: version
"""), key=("user_id",)))


class SpendScorer:
    """The spend."""

    version: ClassVar[str] = "1"

    @classmethod
    def open(cls, context):
        return cls()

    def score(self, rows):
        return rows.select(["user_id", "spend"])


spends = BatchPrediction(table=SPENDS, key=("user_id",), rows=SPEND, scorer=SpendScorer)
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of a plugin with plain sums."""
    tables = dict(TABLES)
    monkeypatch.setattr(discovery, "_plugins", {})
    load_package(tmp_path, monkeypatch, "plain_sums", {"spend": PLUGIN})
    yield sys.modules["plain_sums.spend"]
    for name in set(TABLES) - set(tables):
        del TABLES[name]


@pytest.fixture
def warehouse(settings: Settings) -> Warehouse:
    """Amounts of very different sizes, read by eight threads."""
    settings.duckdb.threads = 8
    warehouse = Warehouse.of(settings)
    names = {column.name for column in INTERACTIONS.columns} - {"date"}
    known = {
        "event_id": "i::VARCHAR",
        "user_id": "(hash(i) % 50)::VARCHAR",
        "item_id": "(hash(i * 7) % 1000)::VARCHAR",
        "event_type": "'purchase'",
        "amount": "exp((hash(i * 3) % 1000000) / 1e5 - 4)",
    }
    columns = [
        f"{known.get(name, f'null::{INTERACTIONS.type_of(name)}')} as {name}"
        for name in sorted(names)
    ]
    rows = f"select {', '.join(columns)} from range({ROWS}) as r(i)"
    warehouse.replace_partition(INTERACTIONS, SUNDAY, rows)
    return warehouse


def test_plain_sums_of_a_deterministic_warehouse_are_equal(
    settings: Settings, warehouse: Warehouse, plugin: Any
) -> None:
    results = set()
    for threads in (1, 8, 8):
        settings.duckdb.threads = threads
        queries = Warehouse.of(settings).deterministic()
        results.add(repr(queries.query(plugin.SPEND, {"date": SUNDAY}).to_pylist()))
    assert len(results) == 1


def test_a_plugins_training_gives_equal_models(
    settings: Settings, warehouse: Warehouse, plugin: Any
) -> None:
    models = ModelStore.of(settings)
    contents = []
    for _ in range(3):
        asset = training_asset(plugin.spend_model, PARTITIONS)
        assert materialize([asset], settings, MONDAY).success
        version = models.decisions("spend_model")[-1].version
        folder = models.verified_folder("spend_model", version)
        contents.append((version, (folder / "rows.txt").read_bytes()))
    assert contents[0] == contents[1] == contents[2]


def test_a_plugins_prediction_stages_equal_rows(
    settings: Settings, warehouse: Warehouse, plugin: Any
) -> None:
    models = ModelStore.of(settings)
    paths = {stage_partition(plugin.spends, SUNDAY, warehouse, models, settings) for _ in range(3)}
    assert len(paths) == 1


def test_a_plugins_features_are_equal(
    settings: Settings, warehouse: Warehouse, plugin: Any
) -> None:
    contents = set()
    for _ in range(3):
        assets: list[dg.AssetsDefinition] = [
            feature_asset(plugin.user_spend, PARTITIONS, Settings())
        ]
        assert materialize(assets, settings, SUNDAY).success
        contents.add(warehouse.path(plugin.USER_SPEND, SUNDAY).read_bytes())
    assert len(contents) == 1


def test_the_platforms_own_queries_keep_their_threads(warehouse: Warehouse, plugin: Any) -> None:
    threads = "select current_setting('threads')"
    for declaration in (churn, churn_scores):
        assert warehouse_of_declaration(warehouse, declaration) is warehouse
    for declaration in (plugin.spend_model, plugin.spends, plugin.user_spend):
        assert warehouse_of_declaration(warehouse, declaration).value(threads) == 1
    assert warehouse.value(threads) == 8

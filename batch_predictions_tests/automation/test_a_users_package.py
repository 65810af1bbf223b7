"""A user's package, as docs/models.md teaches it, from its own source to lookups by command."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from batch_predictions_tests.worlds.retail_fixtures import environment, run_command, run_json
from batch_predictions_tests.worlds.users_package import write_orders, write_package

LAST = dt.date(2024, 9, 1)
"""A Sunday."""


@dataclass
class UsersHome:
    """The folder that the user works in, and the summary of its first run."""

    folder: Path
    summary: dict[str, Any]

    @property
    def env(self) -> dict[str, str]:
        variables = environment(self.folder / "home", self.folder / "orders")
        del variables["BATCH_PREDICTIONS_SOURCE__KIND"]
        return variables

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query over the warehouse."""
        file = str(self.folder / "home" / "warehouse.duckdb")
        with duckdb.connect(file, read_only=True) as db:
            return db.execute(sql).fetchall()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UsersHome]:
    """The package and the shop's exports in one folder, run once."""
    users_home = UsersHome(tmp_path_factory.mktemp("user"), {})
    folder = users_home.folder
    write_package(folder)
    write_orders(folder / "orders", LAST)
    source = {"kind": "my_shop_orders", "path": str(folder / "orders")}
    # Short recommender histories: this test is about the package.
    settings = {"plugins": ["my_shop"], "source": source, "recommender": {"two_stage": False}}
    (folder / "batch_predictions.yaml").write_text(yaml.safe_dump(settings))
    users_home.summary = run_json("run", env=users_home.env, cwd=folder)
    yield users_home


def test_the_source_is_read_through_the_adapter(home: UsersHome) -> None:
    report = run_json("check-source", env=home.env, cwd=home.folder)
    assert "my_shop_orders" in json.dumps(report)
    rows, first, items = home.query(
        "select count(*), min(date), count(distinct item_id) from raw.interactions"
    )[0]
    assert rows > 2_000 and first == LAST - dt.timedelta(days=229) and items == 15
    titles = home.query("select title from features.item_state order by item_id limit 1")
    assert titles == [("Product 0",)]


def test_the_trained_model_passes_the_gate_and_serves(home: UsersHome) -> None:
    (trained,) = [
        model for model in home.summary["trained"] if model["model"] == "expected_orders_model"
    ]
    assert trained["decision"] == "promoted"
    assert "lightgbm serves" in trained["why"]
    rows = home.query(
        "select candidate, value from evaluation.model_metrics "
        "where model = 'expected_orders_model' and metric = 'mae'"
    )
    errors = dict(rows)
    assert set(errors) == {"lightgbm", "last_28_days", "mean_of_84_days"}
    assert errors["lightgbm"] < 0.5 * min(errors["last_28_days"], errors["mean_of_84_days"])
    versions = home.query("select distinct model_version from predictions.expected_orders")
    assert len(versions) == 1 and versions[0][0].startswith("expected_orders_model-2024-09-01-")


def test_a_prediction_is_looked_up_by_its_key(home: UsersHome) -> None:
    answer = run_json(
        "lookup", "table", "expected_orders", "user_id=c07", env=home.env, cwd=home.folder
    )
    (row,) = answer["rows"]
    stored = home.query(
        "select expected from predictions.expected_orders "
        "where date = '2024-09-01' and user_id = 'c07'"
    )
    assert answer["as_of"] == "2024-09-01" and stored == [(row["expected"],)]
    # Age 0 to 27 was a pause of odd customers, so that they buy in the next weeks.
    even = run_json(
        "lookup", "table", "expected_orders", "user_id=c08", env=home.env, cwd=home.folder
    )
    assert row["expected"] > 2 * even["rows"][0]["expected"]


def test_the_packages_command_joins_the_commands(home: UsersHome) -> None:
    rows = run_json("shop", "best", "--limit", "3", env=home.env, cwd=home.folder)
    expected = [row["expected"] for row in rows]
    assert len(rows) == 3 and expected == sorted(expected, reverse=True)
    help_text = run_command("--help", env=home.env, cwd=home.folder).stdout
    assert "shop" in help_text and "lookup" in help_text


def test_a_second_run_computes_nothing(home: UsersHome) -> None:
    summary = run_json("run", env=home.env, cwd=home.folder)
    assert summary["unchanged"] and summary["rows"] == home.summary["rows"]
    assert summary["ingested"] == [] and summary["trained"] == []
    assert summary["release_id"] == home.summary["release_id"]

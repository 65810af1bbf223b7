"""A user's package, as own_models.md teaches it, from its own source to lookups by command."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from batch_predictions_tests.worlds.retail_fixtures import environment, run_command, run_json
from batch_predictions_tests.worlds.users_package import (
    write_later_orders,
    write_orders,
    write_package,
)

pytestmark = pytest.mark.slow

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


@contextmanager
def broken(home: UsersHome, before: str) -> Iterator[None]:
    """The package with a fault before a line of its module."""
    module = home.folder / "my_shop" / "expected_orders.py"
    text = module.read_text()
    indent = before[: len(before) - len(before.lstrip())]
    assert text.count(before) == 1
    module.write_text(text.replace(before, f'{indent}raise ValueError("a fault")\n{before}'))
    try:
        yield
    finally:
        module.write_text(text)


def run_incomplete(home: UsersHome, *arguments: str) -> dict[str, Any]:
    """The summary of a run that ends with exit code 6."""
    process = run_command("run", *arguments, "--json", env=home.env, cwd=home.folder, check=False)
    assert process.returncode == 6, process.stderr
    summary: dict[str, Any] = json.loads(process.stdout)
    return summary


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
        "where model = 'expected_orders_model' and metric = 'mse'"
    )
    errors = dict(rows)
    baselines = {"last_28_days", "mean_of_84_days", "mean_of_all_users", "zero"}
    assert set(errors) == {"lightgbm", *baselines}
    assert errors["lightgbm"] < 0.5 * min(errors[name] for name in baselines)
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


# The tests from here on go on with the home, day by day.


def test_where_a_training_fails_the_model_before_goes_on_serving(home: UsersHome) -> None:
    days = [LAST + dt.timedelta(days=n + 1) for n in range(7)]
    write_later_orders(home.folder / "orders", days)
    planned = run_json("run", "--dry-run", env=home.env, cwd=home.folder)
    trained = {step["name"] for step in planned if step["step"] == "train"}
    assert "expected_orders_model" in trained and "recommender" in trained
    (ingest,) = [step for step in planned if step["name"] == "raw.interactions"]
    assert {str(day) for day in days} <= {*ingest["partitions"]}
    with broken(home, "    cut = through - dt.timedelta(days=HORIZON_DAYS)\n    features,"):
        summary = run_incomplete(home)
    assert list(summary["failed"]) == ["models/expected_orders_model"]
    (reason,) = summary["failed"].values()
    assert "a fault" in reason and "expected_orders_model-2024-09-01-" in reason
    assert "recommender" in {decision["model"] for decision in summary["trained"]}
    assert summary["last_day"] == "2024-09-08" and summary["rows"]["expected_orders"] == 60
    answer = lookup(home, "expected_orders", "user_id=c07")
    assert answer["as_of"] == "2024-09-08"
    assert answer["rows"][0]["model_version"].startswith("expected_orders_model-2024-09-01-")
    # Mended, the model that failed is trained, and no other.
    planned = run_json("run", "--dry-run", env=home.env, cwd=home.folder)
    assert [s["name"] for s in planned if s["step"] == "train"] == ["expected_orders_model"]
    summary = run_json("run", env=home.env, cwd=home.folder)
    assert [d["model"] for d in summary["trained"]] == ["expected_orders_model"]
    assert summary["failed"] == {}


def test_where_a_prediction_fails_the_release_has_its_earlier_day(home: UsersHome) -> None:
    write_later_orders(home.folder / "orders", [dt.date(2024, 9, 9)])
    with broken(home, "        expected = self.model.predict(feature_matrix(rows))"):
        summary = run_incomplete(home)
    assert list(summary["failed"]) == ["predictions/expected_orders"]
    assert "a fault" in summary["failed"]["predictions/expected_orders"]
    assert "expected_orders" not in summary["rows"] and summary["rows"]["recommendations"] > 0
    assert summary["release_id"].startswith("2024-09-09-")
    answer = lookup(home, "expected_orders", "user_id=c07")
    assert answer["partition"] == "2024-09-08" and answer["as_of"] == "2024-09-08"
    assert lookup(home, "recommendations", "user_id=c07")["as_of"] == "2024-09-09"
    command = ("status", "--max-age", "99999", "--json")
    status = run_command(*command, env=home.env, cwd=home.folder, check=False)
    assert status.returncode == 1
    problems = {p["condition"]: p["message"] for p in json.loads(status.stdout)["problems"]}
    assert "is of 2024-09-08" in problems["earlier_day:expected_orders"]
    assert "a fault" in problems["failed:predictions/expected_orders"]
    log = (home.folder / "home" / "alerts.log").read_text()
    assert f"begun: {problems['earlier_day:expected_orders']}" in log


def test_some_tables_are_made_alone(home: UsersHome) -> None:
    before = write_times(home)
    summary = run_json("run", "--only", "expected_orders", env=home.env, cwd=home.folder)
    assert summary["failed"] == {} and summary["rows"]["expected_orders"] == 60
    assert lookup(home, "expected_orders", "user_id=c07")["as_of"] == "2024-09-09"
    log = (home.folder / "home" / "alerts.log").read_text()
    assert "ended: expected_orders is of 2024-09-08" in log
    assert write_times(home) == before
    unknown = run_command(
        "run", "--only", "expected_order", env=home.env, cwd=home.folder, check=False
    )
    assert unknown.returncode == 2 and "expected_orders, " in unknown.stderr


def test_nothing_is_planned_where_nothing_is_new(home: UsersHome) -> None:
    run_command("run", env=home.env, cwd=home.folder)
    assert run_json("run", "--dry-run", env=home.env, cwd=home.folder) == []


def lookup(home: UsersHome, table: str, key: str) -> dict[str, Any]:
    """Rows of a published table, with their day."""
    answer: dict[str, Any] = run_json("lookup", "table", table, key, env=home.env, cwd=home.folder)
    return answer


def write_times(home: UsersHome) -> list[int]:
    """When the files of the recommendations were written."""
    folder = home.folder / "home" / "warehouse" / "predictions" / "recommendations"
    return sorted(path.stat().st_mtime_ns for path in folder.rglob("*.parquet"))

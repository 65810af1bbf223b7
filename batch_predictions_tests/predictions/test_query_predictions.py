"""Predictive queries of a home, from its settings to rows, exclusions and their removal."""

from __future__ import annotations

import datetime as dt
import json
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from batch_predictions.core.home import State, write_state
from batch_predictions.evaluation.realized_metric import RealizedMetric
from batch_predictions.features.assets import feature_asset
from batch_predictions.features.base import FeatureTable
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.dagster.assets import prediction_asset
from batch_predictions.models.model_card import model_card
from batch_predictions.models.model_store import ModelError, ModelStore
from batch_predictions.models.queries.query_model import QueryModel
from batch_predictions.models.training import trainings
from batch_predictions.models.training_assets import training_asset
from batch_predictions.models.training_inputs import TrainingInputs
from batch_predictions.operations.erasure.erase import erase_user
from batch_predictions.operations.kept_queries import kept_queries
from batch_predictions.operations.retention.removed_queries import remove_undeclared_queries
from batch_predictions.orchestration.dagster_records import DagsterRecords
from batch_predictions.planning.declarations import load_declarations
from batch_predictions.settings import Settings
from batch_predictions.settings.predictive_query import PredictiveQuery
from batch_predictions.tables import MODEL_METRICS, TABLES
from batch_predictions.tables.discovery import declare_of_settings, instances
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.integrity import find_damaged
from batch_predictions_tests.worlds.bytes_of_home import files_with
from batch_predictions_tests.worlds.home import PARTITIONS, asset_resources, features_asset
from batch_predictions_tests.worlds.query_worlds import FIRST, LAST, purchases, query_warehouse

pytestmark = pytest.mark.slow

PREDICTIONS: dict[str, dict[str, Any]] = {
    "spend": {"predict": "sum(amount)", "of": "purchase", "for": "user", "days": 14},
    "returns": {
        "predict": "count(*) > 0",
        "of": "purchase",
        "for": "user",
        "days": 7,
        "among": "purchase_events_28d > 0",
    },
    "next_day": {"predict": "first(date)", "of": "purchase", "for": "user", "days": 14},
    "categories": {"predict": "top(2, category)", "of": "purchase", "for": "user", "days": 7},
    "demand_of_items": {"predict": "count(*)", "of": "purchase", "for": "item", "days": 7},
    "weekly_spend": {
        "predict": "sum(amount)",
        "of": "purchase",
        "for": "user",
        "days": 14,
        "cadence": "weekly",
    },
    "buyers": {"predict": "top(120, user_id)", "of": "purchase", "for": "item", "days": 7},
    "pairs": {"predict": "count(*) > 0", "of": "purchase", "for": "user x item", "days": 7},
    "never": {"predict": "count(*)", "of": "return", "for": "location", "days": 7},
}
USER = "u0003"
DAY = (LAST - dt.timedelta(days=14)).isoformat()
WEEK = "2024-06-10"
"""The newest week that had ended by DAY, a Sunday."""
WEEK_END = dt.date(2024, 6, 16)


class QueryHome:
    """A home with predictive queries, whose assets are materialized one after the other."""

    def __init__(self, home: Path, predictions: dict[str, dict[str, Any]]) -> None:
        values = {"home": home, "predictions": predictions}
        self.settings = Settings.model_validate({**values, "source": {"kind": "files"}})
        self.warehouse = Warehouse.of(self.settings)
        load_declarations(self.settings)

    def materialize(self, asset: dg.AssetsDefinition, key: str) -> None:
        result = dg.materialize(
            [asset],
            partition_key=key,
            resources=asset_resources(self.settings),
            instance=dg.DagsterInstance.ephemeral(),
        )
        assert result.success

    def train(self) -> None:
        for name in self.settings.predictions:
            self.materialize(training_asset(trainings()[name], PARTITIONS), WEEK)

    def predict(self) -> None:
        for name in ("user_segments", "item_state"):
            self.materialize(features_asset(name), DAY)
        for feature in instances(FeatureTable, "no_module"):
            self.materialize(feature_asset(feature, PARTITIONS, self.settings), DAY)
        for prediction in instances(BatchPrediction, "no_module"):
            key = WEEK if prediction.cadence == "weekly" else DAY
            self.materialize(prediction_asset(prediction, PARTITIONS, self.settings), key)

    def rows(self, name: str) -> list[dict[str, Any]]:
        sql = f"select * exclude (model_version) from predictions.{name}"
        rows: list[dict[str, Any]] = self.warehouse.query(sql).to_pylist()
        return rows

    def exclusions(self, name: str) -> dict[str, str]:
        rows = self.warehouse.query(
            f"select key, reason from predictions.exclusions where table_name = '{name}'"
        ).to_pylist()
        return {row["key"]: row["reason"] for row in rows}


def _remove_undeclared(settings: Settings, days: int = 0) -> list[str]:
    return remove_undeclared_queries(settings, LAST + dt.timedelta(days=days))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> QueryHome:
    """A home that has trained and predicted once; user u9999 has signed up and bought nothing."""
    import numpy as np

    folder = tmp_path_factory.mktemp("queries") / "home"
    rates = np.random.default_rng(1).choice([0.01, 0.1, 0.5], 120)
    users = [
        {"user_id": user, "signed_up_on": FIRST, "attributes": {"email": f"{user}@example.com"}}
        for user in (*(f"u{n:04}" for n in range(120)), "u9999")
    ]
    query_warehouse(folder, purchases(rates, 3), users)
    write_state(
        folder, State(source_kind="files", timezone="UTC", first_day=FIRST, default_date=FIRST)
    )
    world = QueryHome(folder, PREDICTIONS)
    world.train()
    world.predict()
    return world


@pytest.fixture(autouse=True)
def _declared(home: QueryHome) -> None:
    load_declarations(home.settings)


def test_every_user_has_a_row_or_a_reason(home: QueryHome) -> None:
    known = home.warehouse.query(
        "select user_id from features.user_segments where date = $day",
        {"day": dt.date.fromisoformat(DAY)},
    )["user_id"].to_pylist()
    for name in ("spend", "returns", "next_day", "categories"):
        scored = {row["user_id"] for row in home.rows(name)}
        excluded = home.exclusions(name)
        assert scored | {*excluded} == {*known}
        assert not scored & {*excluded}
        assert excluded["u9999"] == "no event in the last 364 days"
    assert "not among: purchase_events_28d > 0" in home.exclusions("returns").values()


def test_rows_have_what_their_kind_of_target_has(home: QueryHome) -> None:
    assert all(row["lower"] <= row["value"] <= row["upper"] for row in home.rows("spend"))
    assert all(0 < row["probability"] < 1 for row in home.rows("returns"))
    for row in home.rows("next_day"):
        days = [row[name] for name in ("lower", "value", "upper") if row[name] is not None]
        assert days == sorted(days)
        assert all(0 < day <= 14 for day in days)
    lists: dict[str, list[dict[str, Any]]] = {}
    for row in home.rows("categories"):
        lists.setdefault(row["user_id"], []).append(row)
    for rows in lists.values():
        assert [row["rank"] for row in rows] == [1, 2]
        assert rows[0]["probability"] >= rows[1]["probability"]
    assert {row["item_id"] for row in home.rows("demand_of_items")} == {f"i{n}" for n in range(8)}


def test_a_weekly_query_is_predicted_as_of_the_sunday(home: QueryHome) -> None:
    """DAY is the Sunday of WEEK, and both queries have equal features and models."""
    daily = {row["user_id"]: row["value"] for row in home.rows("spend")}
    weekly = {row["user_id"]: row for row in home.rows("weekly_spend")}
    assert daily == {user: row["value"] for user, row in weekly.items()}
    assert {str(row["week"]) for row in weekly.values()} == {WEEK}


def test_a_query_that_cannot_be_trained_says_why(home: QueryHome) -> None:
    assert home.rows("never") == []
    reasons = {*home.exclusions("never").values()}
    assert all("there are no events 'return'" in reason for reason in reasons)


def test_a_second_run_gives_the_same_rows(home: QueryHome) -> None:
    before = {name: home.rows(name) for name in PREDICTIONS}
    home.train()
    home.predict()
    assert {name: home.rows(name) for name in PREDICTIONS} == before


def test_realized_metrics_compare_with_the_window_since(home: QueryHome) -> None:
    metrics = {
        row["model"]: row
        for declared in instances(RealizedMetric, "no_module")
        for row in declared.compute(home.warehouse, home.settings, LAST)
        if row["metric"] in ("mae", "log_loss")
    }
    # Windows of 14 days end on LAST; those of 7 days were predicted on a day without predictions.
    assert set(metrics) == {"spend", "next_day", "weekly_spend"}
    assert all(float(str(row["value"])) > 0 for row in metrics.values())


def test_a_changed_query_is_trained_again(home: QueryHome) -> None:
    training = trainings()["spend"]
    before = TrainingInputs.of(training, home.settings)
    changed = {**PREDICTIONS, "spend": {**PREDICTIONS["spend"], "days": 7}}
    other = QueryHome(home.settings.home, changed)
    after = TrainingInputs.of(trainings()["spend"], other.settings)
    decision = ModelStore.of(home.settings).decisions("spend")[-1]
    assert before.describe_changes(decision) is None
    assert "in 7 days" in str(after.describe_changes(decision))


def test_metrics_are_those_of_the_query_as_it_is(home: QueryHome) -> None:
    """Predictions of 14 days are not compared with what 14 days of another amount brought."""
    changed = {**PREDICTIONS, "spend": {**PREDICTIONS["spend"], "predict": "sum(2 * amount)"}}
    other = QueryHome(home.settings.home, changed)
    models = {
        row["model"]
        for declared in instances(RealizedMetric, "no_module")
        for row in declared.compute(other.warehouse, other.settings, LAST)
    }
    assert models == {"next_day", "weekly_spend"}


def test_files_of_earlier_settings_are_whole(home: QueryHome) -> None:
    kept = {name: PREDICTIONS[name] for name in ("returns", "next_day")}
    assert find_damaged(QueryHome(home.settings.home, kept).warehouse, thorough=True) == []


def test_predictions_of_an_earlier_form_are_removed(home: QueryHome, tmp_path: Path) -> None:
    """They have ids of users, where the query is now about items."""
    import shutil

    folder = tmp_path / "home"
    shutil.copytree(home.settings.home, folder)
    changed = {**PREDICTIONS, "spend": {**PREDICTIONS["spend"], "for": "item"}}
    world = QueryHome(folder, changed)
    assert find_damaged(world.warehouse, thorough=True) == []
    assert _remove_undeclared(world.settings) == []
    assert world.warehouse.partitions(TABLES["predictions.spend"]) == []
    assert world.rows("returns") == home.rows("returns")


def test_the_command_prune_keeps_what_is_declared(
    home: QueryHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    import yaml
    from typer.testing import CliRunner

    from batch_predictions.cli.command_line import make_app

    folder, source = tmp_path / "home", tmp_path / "source"
    shutil.copytree(home.settings.home, folder)
    source.mkdir()
    settings = {"source": {"kind": "files", "path": str(source)}, "predictions": PREDICTIONS}
    (folder / "batch_predictions.yaml").write_text(yaml.safe_dump(settings))
    declare_of_settings(())
    result = CliRunner().invoke(make_app(), ["prune", "--home", str(folder), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["queries"] == []
    load_declarations(home.settings)
    assert QueryHome(folder, PREDICTIONS).rows("spend") == home.rows("spend")


def test_the_model_of_churn_is_no_query_of_the_settings(tmp_path: Path) -> None:
    models = ModelStore.of(Settings(home=tmp_path))
    query = PredictiveQuery.from_question("count(*) = 0 of purchase for user in 28 days", "churn")
    models.save(
        "churn", LAST, QueryModel(query).save, candidate="a", parameters={}, data_version=""
    )
    assert _remove_undeclared(Settings(home=tmp_path)) == []
    assert models.versions("churn")


def test_a_removed_query_is_kept_for_some_days(home: QueryHome, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "home"
    shutil.copytree(home.settings.home, folder)
    fewer = QueryHome(folder, {"returns": PREDICTIONS["returns"]})
    assert _remove_undeclared(fewer.settings) == []
    kept = kept_queries(fewer.settings, LAST + dt.timedelta(days=9))
    assert kept == dict.fromkeys({*PREDICTIONS} - {"returns"}, LAST + dt.timedelta(days=30))
    again = QueryHome(folder, PREDICTIONS)
    assert all(again.rows(name) == home.rows(name) for name in PREDICTIONS)
    # It is missed from a new day on, if it is removed again.
    assert _remove_undeclared(again.settings, 25) == []
    fewer = QueryHome(folder, {"returns": PREDICTIONS["returns"]})
    assert _remove_undeclared(fewer.settings, 31) == []


@pytest.mark.parametrize("declared", [{*PREDICTIONS}, {"returns"}], ids=["declared", "removed"])
def test_nothing_is_left_of_a_user_in_queries_of_all_kinds(
    home: QueryHome, tmp_path: Path, declared: set[str]
) -> None:
    """Queries that the settings no longer declare are kept, without the user."""
    import shutil

    folder = tmp_path / "home"
    shutil.copytree(home.settings.home, folder)
    world = QueryHome(folder, {name: PREDICTIONS[name] for name in PREDICTIONS if name in declared})
    before = "\n".join(files_with(folder, USER))
    for name in {*PREDICTIONS} - {"never", "demand_of_items"}:
        assert f"warehouse/predictions/{name}/" in before
        assert f"inference/{name}/" in before
    now = dt.datetime(2024, 7, 1, tzinfo=dt.UTC)
    erase_user(world.settings, DagsterRecords(world.settings), USER, now)
    assert files_with(folder, USER) == []
    again = QueryHome(folder, PREDICTIONS)
    for name in PREDICTIONS:
        stay = [row for row in home.rows(name) if USER not in row.values()]
        if name == "buyers":
            for item, rows in groupby(stay, key=itemgetter("item_id")):
                assert [row.update(rank=rank) for rank, row in enumerate(rows, 1)], item
        assert again.rows(name) == stay


def test_a_removed_query_leaves_nothing(home: QueryHome, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "home"
    shutil.copytree(home.settings.home, folder)
    kept = {"returns": PREDICTIONS["returns"]}
    world = QueryHome(folder, kept)
    assert _remove_undeclared(world.settings) == _remove_undeclared(world.settings, 29) == []
    removed = _remove_undeclared(world.settings, 30)
    assert removed == sorted({*PREDICTIONS} - {"returns"})
    assert world.rows("returns") == home.rows("returns")
    assert world.warehouse.partitions(MODEL_METRICS) is not None
    for name in removed:
        left = [path for path in folder.rglob(f"*{name}*") if ".handles" not in path.parts]
        assert not left
    features = {path.name for path in (folder / "warehouse" / "features").iterdir()}
    histories = {name for name in features if name.endswith(("_history", "_candidates"))}
    assert histories == {"churn_history", "user_history"}
    assert _remove_undeclared(world.settings) == []
    assert files_with(folder, "returns")


def test_a_models_card_says_what_it_is_made_from_and_how_it_does(home: QueryHome) -> None:
    load_declarations(home.settings)
    card = model_card(home.settings, trainings()["spend"]).as_markdown()
    decision = ModelStore.of(home.settings).decisions("spend")[-1]
    manifest = ModelStore.of(home.settings).manifest("spend", decision.version)
    assert card.startswith("# spend\n")
    assert f"`{decision.version}` ({manifest.candidate}) serves since {WEEK_END}" in card
    assert decision.why in card
    assert f"through {WEEK_END} at most" in card
    rows = home.warehouse.query(
        "select candidate, metric, value from evaluation.model_metrics "
        "where model = 'spend' and trained_through = $through",
        {"through": WEEK_END},
    ).to_pylist()
    [baseline] = [r for r in rows if (r["candidate"], r["metric"]) == ("decayed_mean", "mae")]
    [line] = [line for line in card.splitlines() if line.startswith("| decayed_mean |")]
    assert f" {baseline['value']:.4g} " in line
    with pytest.raises(ModelError, match="no version of never serves yet"):
        model_card(home.settings, trainings()["never"], FIRST)

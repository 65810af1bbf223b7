"""Churn as a query: its table, who has churned, and customers whose visits fade."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch_predictions.features.history.churn_history import (
    churn_history,
    churn_history_query,
    churn_query,
)
from batch_predictions.features.history.query_labels import examples_sql
from batch_predictions.models.churn.assets import train_churn
from batch_predictions.models.queries.query_model import QueryModel
from batch_predictions.models.queries.query_training import train_query
from batch_predictions.settings import (
    ChurnSettings,
    EventTypeSettings,
    Settings,
    SettingsError,
    SourceSettings,
)
from batch_predictions.sources import source_registry
from batch_predictions.sources.validation.event_types import EventTypes
from batch_predictions.tables import CHURN_HISTORY, INTERACTIONS, REVIEWS
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.customers import (
    FADING,
    FIRST,
    LAST,
    interactions,
    visits,
    write_raw_rows,
    write_visits,
)
from batch_predictions_tests.worlds.table_rows import event_rows

TYPES = EventTypes(
    {"purchase": EventTypeSettings(weight=1.0, target=True), "return": EventTypeSettings()}
)


@pytest.fixture
def home(tmp_path: Path) -> tuple[Settings, Warehouse]:
    """A home with customers of whom a third fade."""
    source = SourceSettings(kind="files", path=tmp_path)
    settings = Settings(home=tmp_path / "home", source=source)
    warehouse = Warehouse.of(settings)
    write_visits(warehouse, visits(600))
    write_raw_rows(warehouse, REVIEWS, [])
    return settings, warehouse


def test_the_declared_table_has_the_columns_of_the_history() -> None:
    history = churn_history(churn_query(ChurnSettings(), TYPES), TYPES)
    declared = {column.name: column.type for column in CHURN_HISTORY.columns}
    assert declared == {"date": "DATE", **history.columns()}


def test_customers_who_bought_in_active_days_have_a_row(home: tuple[Settings, Warehouse]) -> None:
    settings, warehouse = home
    settings.churn = ChurnSettings(active_days=20)
    day = dt.date(2024, 5, 1)
    rows = warehouse.query(churn_history_query(settings), {"date": day})
    last = {}
    for user, number in visits(600):
        if FIRST + dt.timedelta(days=number) <= day:
            last[user] = (day - FIRST).days - number
    active = {user: days for user, days in last.items() if days < 20}
    found = dict(
        zip(rows["user_id"].to_pylist(), rows["churn_days_since"].to_pylist(), strict=True)
    )
    assert found == active


def test_a_return_is_no_purchase_and_is_subtracted_from_the_spend(
    home: tuple[Settings, Warehouse],
) -> None:
    settings, warehouse = home
    day = LAST - dt.timedelta(days=10)
    for key in warehouse.partitions(INTERACTIONS):
        warehouse.drop_partition(INTERACTIONS, key)
    events = [
        (day, "buyer", "purchase", 1.0, 10.0),
        (day, "buyer", "purchase", -1.0, -4.0),
        (day, "viewer", "view", 1.0, 1.0),
        (day + dt.timedelta(days=3), "buyer", "purchase", -1.0, -6.0),
    ]
    rows = event_rows("date user_id event_type quantity amount", events, item_id="i0")
    write_raw_rows(warehouse, INTERACTIONS, rows)
    types = source_registry.event_types(settings)
    query = churn_query(settings.churn, types)
    sql = examples_sql(query, churn_history(query, types))
    [row] = warehouse.query(sql, {"date": day, "max_entities": 10}).to_pylist()
    assert (row["user_id"], row["churn_28d"], row["spend_28d"]) == ("buyer", 1, 6.0)
    assert row["target"] == 1, "a return within the horizon does not keep a customer"


@pytest.mark.slow
def test_fading_customers_are_found_beyond_recency(home: tuple[Settings, Warehouse]) -> None:
    settings, warehouse = home
    settings.churn = ChurnSettings(horizon_days=14, active_days=30)
    types = source_registry.event_types(settings)
    query = churn_query(settings.churn, types)
    history = churn_history(query, types)
    selection = train_query(warehouse, settings, query, LAST, refit=False, history=history)
    metrics: dict[Any, Any] = {
        (row["candidate"], row["metric"]): row["value"] for row in selection.metrics
    }
    served = selection.candidate
    assert metrics[served, "log_loss"] < metrics["recency", "log_loss"]
    assert metrics[served, "auc"] > metrics["recency", "auc"] + 0.05
    assert selection.test is not None and selection.tested is not None
    users = selection.test.rows["user_id"].to_pylist()
    probability = selection.tested.predict(selection.test.rows)["probability"]
    is_fading = np.array([user.startswith(FADING) for user in users])
    assert probability[is_fading].mean() > 2 * probability[~is_fading].mean()


def test_without_enough_purchases_every_customer_has_the_reason(
    home: tuple[Settings, Warehouse], tmp_path: Path
) -> None:
    settings, warehouse = home
    write_raw_rows(warehouse, INTERACTIONS, interactions(visits(50)[:40]))
    trained = train_churn(warehouse, settings, FIRST + dt.timedelta(days=40), lambda text: None)
    trained.write(tmp_path)
    reason = QueryModel.load(tmp_path).unserved_reason
    assert reason and "112 days of the events are needed" in reason
    assert not trained.beats_baseline


def test_a_model_of_an_earlier_version_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "churn-2024-06-30-1a2b").mkdir()
    with pytest.raises(ValueError, match="models train churn --force"):
        QueryModel.load(tmp_path / "churn-2024-06-30-1a2b")


def test_removed_settings_are_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings.model_validate({"churn": {"cutoffs": 4, "active_days": 10}})
    assert settings.churn.active_days == 10
    assert "churn.cutoffs no longer exists" in caplog.text
    with pytest.raises((SettingsError, ValueError)):
        Settings.model_validate({"churn": {"cut_offs": 4}})

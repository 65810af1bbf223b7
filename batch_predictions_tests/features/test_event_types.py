"""Event types in features: weights for taste, purchases for money and churn, any for recency."""

from __future__ import annotations

import datetime as dt
from typing import Any

from batch_predictions.features.history.churn_history import churn_history_query
from batch_predictions.features.sql.queries import parameters, sql, user_item_days
from batch_predictions.settings import RecommendationsSettings, Settings, SourceSettings
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds import table_rows
from batch_predictions_tests.worlds.customers import LAST

DAY = dt.date(2024, 3, 31)
ROWS = (
    # Days ago, item, type, quantity, amount.
    (5, "shoe", "view", None, 80.0),
    (5, "shoe", "view", None, 80.0),
    (4, "shoe", "cart", 1.0, 80.0),
    (3, "shoe", "purchase", 2.0, 160.0),
    (3, "shoe", "return", -1.0, -80.0),
    (2, "hat", "purchase", -1.0, -20.0),
    (0, "hat", "search", None, None),
    (6, "bag", "view", None, 50.0),
)


def write_events(warehouse: Warehouse) -> None:
    """The events of one user."""
    rows = [(DAY - dt.timedelta(days=ago), *event) for ago, *event in ROWS]
    names = "date item_id event_type quantity amount"
    table_rows.write_events(warehouse, names, rows, LAST, user_id="ann")


def query(warehouse: Warehouse, settings: Settings, text: str) -> list[dict[str, Any]]:
    bound = {**parameters(settings), "date": DAY, "history_days": 365}
    return warehouse.query(text, bound).to_pylist()


def with_source(settings: Settings, **options: Any) -> Settings:
    source = SourceSettings.model_validate({**settings.source.model_dump(by_alias=True), **options})
    return settings.model_copy(update={"source": source})


def test_histories_weigh_events_by_their_type(warehouse: Warehouse, settings: Settings) -> None:
    write_events(warehouse)
    chosen = settings.model_copy(
        update={"recommendations": RecommendationsSettings(exclude_seen=["purchase"])}
    )
    rows = query(warehouse, chosen, f"{user_item_days(sql('item_state'))} order by item_id, date")
    # The return, the line with a negative quantity and the search are no sign of taste.
    assert [(row["item_id"], row["events"], row["targets"], row["is_seen"]) for row in rows] == [
        ("bag", 0.1, 0.0, False),
        ("shoe", 0.2, 0.0, False),
        ("shoe", 0.5, 0.0, False),
        ("shoe", 1.0, 1.0, True),
    ]


def test_recency_counts_any_event_and_spend_counts_purchases_less_returns(
    warehouse: Warehouse, settings: Settings
) -> None:
    write_events(warehouse)
    [row] = query(warehouse, settings, sql("user_activity"))
    assert (row["days_inactive"], row["events"]) == (0, len(ROWS))
    assert row["spend_7d"] == 160 - 80 - 20
    [row] = query(warehouse, with_source(settings, returns="exclude"), sql("user_activity"))
    assert row["spend_7d"] == 160


def test_buyers_and_units_of_an_item_are_those_of_purchases(
    warehouse: Warehouse, settings: Settings
) -> None:
    write_events(warehouse)
    rows = {row["item_id"]: row for row in query(warehouse, settings, sql("item_activity"))}
    figures = ("users_28d", "buyers_28d", "quantity_28d", "amount_28d")
    assert [rows["shoe"][name] for name in figures] == [1, 1, 1.0, 80.0]
    assert [rows["bag"][name] for name in figures] == [1, 0, 0.0, 0.0]
    prices = {row["item_id"]: row["price"] for row in query(warehouse, settings, sql("item_state"))}
    assert prices == {"shoe": 80.0, "hat": None, "bag": None}


def test_churn_counts_days_with_a_purchase(warehouse: Warehouse, settings: Settings) -> None:
    write_events(warehouse)
    [row] = query(warehouse, settings, churn_history_query(settings))
    active_days = row["churn_active_days_364d"]
    assert (row["churn_days_since"], active_days, row["churn_84d"]) == (3, 1, 1)
    assert row["spend_28d"] == 160 - 80 - 20


def test_demand_subtracts_the_returns_of_a_day(warehouse: Warehouse, settings: Settings) -> None:
    from batch_predictions.features.sql.queries import demand_parameters

    write_events(warehouse)
    for returns, units in (("subtract", 1.0), ("exclude", 2.0)):
        chosen = with_source(settings, returns=returns)
        bound = {**demand_parameters(warehouse, chosen), "date": DAY}
        rows = warehouse.query(sql("demand"), bound).to_pylist()
        sold = {row["item_id"]: sum(row["units"]) for row in rows}
        assert sold == {"shoe": units, "category:unknown": units}

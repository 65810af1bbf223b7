"""What rules say of each item on a day, by known answers."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from batch_predictions.features.item_rules import RECOMMENDABLE_ITEMS
from batch_predictions.settings import Settings
from batch_predictions.tables import ITEM_STATE, PROMOTIONS
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.home import features_asset, materialize
from batch_predictions_tests.worlds.sales import write_items
from batch_predictions_tests.worlds.table_rows import write_rows

DAY = dt.date(2024, 3, 31)
ITEMS: list[dict[str, Any]] = [
    {"item_id": "milk", "brand": "Own", "title": "Milk", "price": 1.0, "category": "dairy"},
    {"item_id": "milk2", "brand": "Best", "title": "Milk", "price": 9.0, "category": "dairy"},
    {"item_id": "fuel", "brand": None, "title": "Fuel", "price": 2.0, "category": "unknown"},
]
MARGINS = {"milk": "0.2", "milk2": "-1", "fuel": "n/a"}


@pytest.fixture
def shop(warehouse: Warehouse) -> Warehouse:
    """A warehouse with three items, and the campaign `spring` of fuel."""
    columns = ("item_id", "title", "category", "price")
    states = [{name: item[name] for name in columns} for item in ITEMS]
    write_rows(
        warehouse, ITEM_STATE, [{"date": DAY, "available": True, **row} for row in states], DAY
    )
    write_items(
        warehouse,
        *(
            {
                "item_id": item["item_id"],
                "brand": item["brand"],
                "attributes": {"Margin": MARGINS[item["item_id"]]},
            }
            for item in ITEMS
        ),
    )
    spring = {"campaign_id": "spring", "item_id": "fuel", "kind": "coupon"}
    dates = {"starts_on": DAY + dt.timedelta(days=1), "ends_on": DAY + dt.timedelta(days=8)}
    write_rows(warehouse, PROMOTIONS, [spring | dates])
    return warehouse


def rules_of_items(
    shop: Warehouse, settings: Settings, **recommendations: Any
) -> dict[str, tuple[bool, int, list[str | None]]]:
    """By item: whether it is blocked, its boost and its groups."""
    config = Settings.model_validate({"recommendations": recommendations}).recommendations
    settings = settings.model_copy(update={"recommendations": config})
    asset = features_asset("item_rules", settings)
    assert materialize([asset], settings, DAY.isoformat()).success
    rows = shop.query("select * from features.item_rules where date = $date", {"date": DAY})
    return {
        row["item_id"]: (row["is_blocked"], row["boost"], row["groups"]) for row in rows.to_pylist()
    }


def test_without_rules_no_item_is_concerned(shop: Warehouse, settings: Settings) -> None:
    assert rules_of_items(shop, settings) == {}


def test_conditions_block_items_and_null_blocks_nothing(
    shop: Warehouse, settings: Settings
) -> None:
    rules = [{"exclude": "price < 0.5 or margin < 0"}, {"exclude": "brand = 'No' -- none"}]
    found = rules_of_items(shop, settings, rules=rules, blocked_items=["milk"])
    assert found == {"milk": (True, 0, []), "milk2": (True, 0, [])}
    items = shop.query(f"from {RECOMMENDABLE_ITEMS}", {"date": DAY})["item_id"].to_pylist()
    assert items == ["fuel"]


def test_boosts_of_rules_and_campaigns_add_up(shop: Warehouse, settings: Settings) -> None:
    rules = [
        {"boost": "price < 5", "by": 3},
        {"boost": "category is null", "by": -1},
        {"boost": "brand = 'Best'", "by": -2},
    ]
    found = rules_of_items(
        shop, settings, rules=rules, boosted_campaigns=["spring"], boost_places=10
    )
    assert {item: boost for item, (_, boost, _) in found.items()} == {
        "milk": 3,
        "milk2": -2,
        "fuel": 12,
    }


def test_groups_are_those_of_every_limit(shop: Warehouse, settings: Settings) -> None:
    rules = [{"distinct": "title"}, {"at_most": 2, "per": "brand"}]
    found = rules_of_items(shop, settings, rules=rules, per_category=5)
    assert {item: groups for item, (_, _, groups) in found.items()} == {
        "milk": ["dairy", "Own", "Milk"],
        "milk2": ["dairy", "Best", "Milk"],
        "fuel": [None, None, "Fuel"],
    }


def test_an_item_without_any_group_is_not_concerned(shop: Warehouse, settings: Settings) -> None:
    assert set(rules_of_items(shop, settings, rules=[{"at_most": 1, "per": "brand"}])) == {
        "milk",
        "milk2",
    }

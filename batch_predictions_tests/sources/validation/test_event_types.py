"""Types of interactions: which values belong to them, targets, purchases, returns, seen types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from batch_predictions.settings import EventTypeSettings, SettingsError
from batch_predictions.sources.validation.event_types import (
    DEFAULT_EVENTS,
    EventTypes,
    resolve_event_types,
)
from batch_predictions_tests.worlds.source_folders import SourceFolder, total_counts

SHOP: dict[str, Any] = {
    "purchase": {"is": ["order", "Sale"]},
    "cart": {"weight": 0.5},
    "return": {"is": ["refund"]},
}


def event_types(events: dict[str, Any], **options: Any) -> EventTypes:
    declared = {name: EventTypeSettings.model_validate(value) for name, value in events.items()}
    return resolve_event_types(declared, DEFAULT_EVENTS, **options)


def test_without_settings_the_standard_names_are_known() -> None:
    default = event_types({})
    assert default.targets == ("purchase", "interaction", "rating")
    assert default.purchases == ("purchase", "interaction")
    assert default.weighted["view"] < default.weighted["cart"] < default.weighted["purchase"]
    assert "return" not in default.weighted


def test_purchase_is_the_target_unless_another_is_named() -> None:
    assert event_types(SHOP).targets == ("purchase", "interaction")
    streaming = event_types({"play": {"target": True}, "like": {"weight": 2}})
    assert (streaming.targets, streaming.purchases) == (("play",), ("interaction",))
    assert event_types({"rating": {}, "view": {"weight": 0.1}}).targets[0] == "rating"


@pytest.mark.parametrize(
    ("exclude_seen", "seen"),
    [
        (False, ()),
        (True, ("purchase", "interaction")),
        (["purchase"], ("purchase", "interaction")),
        (["cart"], ("cart",)),
    ],
)
def test_seen_types_are_the_targets_or_those_that_are_named(exclude_seen: Any, seen: Any) -> None:
    assert event_types(SHOP, exclude_seen=exclude_seen).seen == seen


@pytest.mark.parametrize(
    ("events", "options", "message"),
    [
        ({"play": {}}, {}, "has no target: write target: true .* one of play"),
        (
            {"purchase": {"is": ["a"]}, "cart": {"is": ["A "]}},
            {},
            "'a' belongs to purchase and cart",
        ),
        (SHOP, {"exclude_seen": ["bought"]}, "exclude_seen names bought"),
        ({"purchase": {"weight": 0}}, {}, "source.events.purchase has the weight 0"),
        ({**SHOP, "cart": {"weight": 0}}, {"exclude_seen": ["cart"]}, "cart has the weight 0"),
    ],
)
def test_contradictions_are_refused(events: Any, options: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        event_types(events, **options)


def test_values_are_matched_in_any_case_and_others_stay() -> None:
    names = event_types(SHOP).name_sql("value")
    values = ["ORDER", " sale", "cart", "refund", "Wishlist", "it's"]
    rows = duckdb.execute(
        f"select {names} from (select unnest($values) as value)", {"values": values}
    ).fetchall()
    expected = ["purchase", "purchase", "cart", "return", "Wishlist", "it's"]
    assert [row[0] for row in rows] == expected


def test_an_ingest_names_the_types_and_signs_returns(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path, events=SHOP).write(
        "interactions.csv",
        "user_id,item_id,occurred_at,event,quantity,amount\n"
        "u1,a,2024-01-02,Order,2,10\n"
        "u1,b,2024-01-02,refund,1,5\n"
        "u1,c,2024-01-02,refund,,\n"
        "u1,d,2024-01-02,,1,1\n"
        "u1,e,2024-01-02,wishlist,1,1\n",
    )
    assert total_counts(shop.ingest()) == (5, 5, 0)
    rows = shop.rows(
        "select item_id, event_type, quantity, amount from raw.interactions order by item_id"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("a", "purchase", 2.0, 10.0),
        ("b", "return", -1.0, -5.0),
        ("c", "return", -1.0, None),
        ("d", "unknown", 1.0, 1.0),
        ("e", "wishlist", 1.0, 1.0),
    ]


def test_a_source_without_types_has_purchases(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write(
        "interactions.csv", "user_id,item_id,occurred_at\nu1,a,2024-01-02\n"
    )
    shop.ingest()
    assert shop.rows("select event_type from raw.interactions") == [{"event_type": "interaction"}]
    assert "interaction" in shop.source.event_types.purchases


def test_days_are_read_again_when_the_values_of_a_type_change(tmp_path: Path) -> None:
    files = "user_id,item_id,occurred_at,event\nu1,a,2024-01-02,order\n"
    before = SourceFolder(tmp_path).write("interactions.csv", files)
    after = SourceFolder(tmp_path, events=SHOP)
    reweighted = SourceFolder(tmp_path, events={**SHOP, "cart": {"weight": 0.2}})
    fingerprints = [
        folder.source.fingerprint(folder.source.tables()[0])
        for folder in (before, after, reweighted)
    ]
    assert fingerprints[0] != fingerprints[1] == fingerprints[2]

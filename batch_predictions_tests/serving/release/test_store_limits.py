"""Values that the store cannot hold are refused before a release is begun, and named."""

from __future__ import annotations

import datetime as dt

import pytest

from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.release import store_limits
from batch_predictions.serving.store.pointer import ReleaseError
from batch_predictions.tables import (
    ITEM_STATE,
    RECOMMENDATIONS,
    TABLES,
    USER_SEGMENTS,
    Table,
    columns,
)
from batch_predictions_tests.worlds.serving import (
    DAY,
    ServingWorld,
    current_release_id,
    list_release_ids,
)

NEXT = DAY + dt.timedelta(days=1)
SECRET = "a-customer"

GIFTS = Table(
    "predictions",
    "gifts",
    "A table of a plugin, with a column of every kind.",
    columns("""
        date DATE: as of
        user_id VARCHAR: user
        card VARCHAR: text of the key
        number BIGINT: number of the key
        day DATE: a day
        moment TIMESTAMP: a time
        price DOUBLE: a number
        weight FLOAT: a number
        prices DOUBLE[]: numbers
        offer_item_ids VARCHAR[]: items
        details MAP(VARCHAR, DOUBLE): numbers by name
        note VARCHAR: a text
        more JSON: JSON
    """),
    key=("user_id", "card", "number"),
)
GIFT = f"""
    select '{SECRET}' as user_id, 'red' as card, 1::BIGINT as number, '2024-03-01'::DATE as day,
    '2024-03-01 12:00:00'::TIMESTAMP as moment, 1.5::DOUBLE as price, 2.5::FLOAT as weight,
    [1.5::DOUBLE] as prices, ['i1'] as offer_item_ids, map {{'a': 1.5::DOUBLE}} as details,
    '[NaN]' as note, '{{"b": "[NaN]"}}'::JSON as more"""
BOTH, ONLY_POSTGRES = ("sqlite", "postgresql"), ("postgresql",)
ZERO_BYTE = "'a' || chr(0)"
LONG = "array_to_string([md5(i::VARCHAR) for i in range(100)], '')"


@pytest.fixture
def gifts(world: ServingWorld, monkeypatch: pytest.MonkeyPatch) -> ServingWorld:
    """A world with a release, whose warehouse has the plugin's table."""
    monkeypatch.setitem(TABLES, GIFTS.qualified, GIFTS)
    world.release(DAY)
    world.predict(NEXT)
    return world


@pytest.mark.parametrize(
    ("column", "value", "stores", "problem"),
    [
        ("price", "'nan'::DOUBLE", BOTH, "price: 1 row has NaN or infinity"),
        ("price", "'-inf'::DOUBLE", BOTH, "price: 1 row has NaN or infinity"),
        ("weight", "'nan'::FLOAT", BOTH, "weight: 1 row has NaN or infinity"),
        ("prices", "[1.0::DOUBLE, 'nan'::DOUBLE]", BOTH, "prices: 1 row has NaN or infinity"),
        ("details", "map {'\"': 'inf'::DOUBLE}", BOTH, "details: 1 row has NaN or infinity"),
        ("more", "'{\"a\": NaN}'::JSON", BOTH, "more: 1 row has NaN or infinity"),
        ("day", "'10000-01-01'::DATE", BOTH, "day: 1 row has a date that is not of the years"),
        ("day", "'infinity'::DATE", BOTH, "day: 1 row has a date that is not of the years"),
        (
            "moment",
            "'0044-03-15 (BC)'::TIMESTAMP",
            BOTH,
            "moment: 1 row has a date that is not of the",
        ),
        ("number", "null::BIGINT", BOTH, "number: 1 row has no value in the key"),
        ("note", ZERO_BYTE, ONLY_POSTGRES, "note: 1 row has a zero byte"),
        ("user_id", ZERO_BYTE, ONLY_POSTGRES, "user_id: 1 row has a zero byte"),
        (
            "offer_item_ids",
            f"['i', {ZERO_BYTE}]",
            ONLY_POSTGRES,
            "offer_item_ids: 1 row has a zero",
        ),
        ("offer_item_ids", f"[{LONG}]", ONLY_POSTGRES, "offer_item_ids: 1 row has an id of more"),
        ("card", LONG, ONLY_POSTGRES, r"key \(user_id, card, number\): 1 row has more than 2,633"),
    ],
)
def test_a_value_of_a_plugin_that_the_store_cannot_hold_is_refused(
    gifts: ServingWorld, column: str, value: str, stores: tuple[str, ...], problem: str
) -> None:
    before = list_release_ids(gifts)
    valid = GIFT.replace("red", "blue")
    query = f"select * replace ({value} as {column}) from ({GIFT}) union all by name {valid}"
    gifts.warehouse.replace_partition(GIFTS, NEXT.isoformat(), query)
    if gifts.store.engine.dialect.name not in stores:
        assert gifts.publish(NEXT, GIFTS).rows["gifts"] == 2
        return
    with pytest.raises(ReleaseError, match=problem) as caught:
        gifts.publish(NEXT, GIFTS)
    message = str(caught.value)
    assert "predictions.gifts 2024-03-04, " in message and "\n" not in message
    assert SECRET not in message
    assert list_release_ids(gifts) == before
    assert current_release_id(gifts) == before[0]


def test_values_at_the_limits_are_published(gifts: ServingWorld) -> None:
    """Texts that look like NaN, the longest keys, the first and last dates, nulls."""
    rows = [
        GIFT,
        f"select * replace (null as price, null as day, null as prices, null as more, "
        f"null as details, null as card) from ({GIFT})",
        f"""select * replace (substring(repeat({LONG}, 2), 1, 2633 - 10) as card,
        '0001-01-01'::DATE as day, '9999-12-31 23:59:59.999999'::TIMESTAMP as moment,
        1.7976931348623157e308 as price) from ({GIFT})""",
    ]
    query = " union all by name ".join(rows)
    gifts.warehouse.replace_partition(GIFTS, NEXT.isoformat(), query)
    assert gifts.publish(NEXT, GIFTS).rows["gifts"] == 3
    with Lookup(gifts.settings) as lookup:
        stored = {len(row["card"]): row for row in lookup.rows("gifts", user_id=SECRET)}
    assert [stored[3][name] for name in ("note", "more")] == ["[NaN]", {"b": "[NaN]"}]
    assert stored[0]["prices"] is None
    assert stored[2623]["price"] == 1.7976931348623157e308
    assert stored[2623]["day"] == dt.date(1, 1, 1)


def test_keys_that_differ_in_null_and_empty_text_are_refused(gifts: ServingWorld) -> None:
    rows = [f"select * replace ({card} as card) from ({GIFT})" for card in ("null", "''", "'x'")]
    query = " union all by name ".join(rows)
    gifts.warehouse.replace_partition(GIFTS, NEXT.isoformat(), query)
    with pytest.raises(ReleaseError, match="user_id, card: 2 rows have keys that differ only in"):
        gifts.publish(NEXT, GIFTS)


def test_too_much_text_is_refused(gifts: ServingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_limits, "MAX_ROW_TEXT_BYTES", 200)
    query = f"select * replace (repeat('é', 90) as note) from ({GIFT})"
    gifts.warehouse.replace_partition(GIFTS, NEXT.isoformat(), query)
    with pytest.raises(ReleaseError, match="all texts: 1 row has more than 200 bytes of text"):
        gifts.publish(NEXT, GIFTS)


def test_all_problems_are_named_at_once(gifts: ServingWorld) -> None:
    query = f"""select * replace ('nan'::DOUBLE as price, '10000-01-01'::DATE as day) from ({GIFT})
        union all by name select * replace ('nan'::DOUBLE as price, 'blue' as card) from ({GIFT})"""
    gifts.warehouse.replace_partition(GIFTS, NEXT.isoformat(), query)
    with pytest.raises(ReleaseError, match=r"day: 1 row .*; predictions.gifts .* price: 2 rows"):
        gifts.publish(NEXT, GIFTS)


@pytest.mark.parametrize(
    ("table", "column", "value", "problem"),
    [
        (USER_SEGMENTS, "user_id", ZERO_BYTE, "user_id: 1 row has a zero byte"),
        (USER_SEGMENTS, "location", ZERO_BYTE, "location: 1 row has a zero byte"),
        (USER_SEGMENTS, "user_id", LONG, r"key \(user_id\): 1 row has more than 2,655 bytes"),
        (ITEM_STATE, "item_id", LONG, r"key \(item_id\): 1 row has more than 2,655 bytes"),
        (RECOMMENDATIONS, "reason", ZERO_BYTE, "reason: 1 row has a zero byte"),
        (RECOMMENDATIONS, "item_id", LONG, "item_id: 1 row has an id that is too long"),
    ],
)
def test_texts_that_postgres_cannot_hold_are_refused(
    world: ServingWorld, table: Table, column: str, value: str, problem: str
) -> None:
    first = world.release(DAY)
    world.predict(NEXT)
    rows = world.warehouse.query(
        f"select * exclude (date) replace ({value} as {column}) from {table.qualified} "
        "where date = $day order by all limit 1",
        {"day": NEXT},
    )
    world.warehouse.replace_partition(table, NEXT.isoformat(), rows)
    if world.store.engine.dialect.name == "sqlite":
        assert world.publish(NEXT).moved
        return
    with pytest.raises(ReleaseError, match=problem):
        world.publish(NEXT)
    assert list_release_ids(world) == [first.release_id]


def test_a_name_that_postgres_cuts_is_refused(
    world: ServingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "g" * 64
    table = Table("predictions", name, "Long.", GIFTS.columns[:3], key=("user_id",))
    monkeypatch.setitem(TABLES, table.qualified, table)
    world.predict(DAY)
    world.warehouse.replace_partition(table, DAY.isoformat(), "select 'u' as user_id, 'c' as card")
    if world.store.engine.dialect.name == "sqlite":
        assert world.publish(DAY, table).rows[name] == 1
        return
    with pytest.raises(ReleaseError, match="more than 63 bytes, which PostgreSQL cuts"):
        world.publish(DAY, table)

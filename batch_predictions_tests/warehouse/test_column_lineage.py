"""The columns that a query's columns are computed from."""

from __future__ import annotations

import json

import pytest

from batch_predictions.warehouse import Warehouse, column_lineage
from batch_predictions.warehouse.column_lineage import (
    FILE_NAME,
    query_lineage,
    read_lineage,
    table_lineage,
)

KNOWN = {
    "an expression": (
        "select amount / quantity as price, $date::DATE as date, count(*) as n "
        "from raw.interactions where user_id = 'u' group by all",
        {"price": ["raw.interactions.amount", "raw.interactions.quantity"], "date": [], "n": []},
    ),
    "a column of its own select": (
        "select amount * 2 as double, double + quantity as more from raw.interactions",
        {
            "double": ["raw.interactions.amount"],
            "more": ["raw.interactions.amount", "raw.interactions.quantity"],
        },
    ),
    "common table expressions, and a join that only filters": (
        """with paid as (select item_id, max(amount) as most from raw.interactions group by 1)
        select items.title, paid.most from paid join raw.items as items using (item_id)""",
        {"title": ["raw.items.title"], "most": ["raw.interactions.amount"]},
    ),
    "a union": (
        "select user_id from raw.users union select user_id from raw.interactions",
        {"user_id": ["raw.interactions.user_id", "raw.users.user_id"]},
    ),
    "a star without a column": (
        "select * exclude (date, reviews) from (select date, item_id, 1 as reviews "
        "from raw.interactions)",
        {"item_id": ["raw.interactions.item_id"]},
    ),
    "lists and lambdas": (
        """select list_transform(l, lambda e: e.a + $k) as l from
        (select list({a: price, b: brand}) as l from raw.items)""",
        {"l": ["raw.items.brand", "raw.items.price"]},
    ),
    "unnested lists": (
        "select sold from features.demand as t, unnest(t.units) as u(sold)",
        {"sold": ["features.demand.units"]},
    ),
    "named windows, of which the second is based on the first": (
        """select sum(quantity) over w as s, rank() over v as r from raw.interactions
        window w as (partition by user_id order by amount), v as (w)""",
        {
            "s": [f"raw.interactions.{name}" for name in ("amount", "quantity", "user_id")],
            "r": ["raw.interactions.amount", "raw.interactions.user_id"],
        },
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_columns_are_computed_from_the_columns_of_their_expression(name: str) -> None:
    sql, expected = KNOWN[name]
    assert query_lineage(sql) == expected


UNKNOWN = {
    "no query": "selec item_id from raw.items",
    "no such column": "select nope from raw.items",
    "no such table": "select x from raw.nothing",
    "a file": "select a, b from read_parquet('x.parquet')",
    "columns by a pattern": "select columns('a.*') from raw.interactions",
    "columns that depend on rows": "pivot raw.interactions on event_type using sum(amount)",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_nothing_is_said_of_a_query_that_is_not_understood(name: str) -> None:
    assert query_lineage(UNKNOWN[name]) is None


def test_a_lineage_is_derived_once_for_each_version_of_a_tables_queries(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    derived = []

    def derive(sql: str) -> column_lineage.Lineage | None:
        derived.append(sql)
        return query_lineage(sql)

    monkeypatch.setattr(column_lineage, "query_lineage", derive)
    price, title = "select price from raw.items", "select title from raw.items"
    for _ in range(2):
        assert table_lineage(warehouse, "features.a", price) == {"price": ["raw.items.price"]}
        assert table_lineage(warehouse, "features.b", title) == {"title": ["raw.items.title"]}
    assert derived == [price, title]
    assert table_lineage(warehouse, "features.a", title) == {"title": ["raw.items.title"]}
    assert derived == [price, title, title]
    monkeypatch.setattr(column_lineage, "_version", lambda: "another")
    table_lineage(warehouse, "features.b", title)
    assert len(derived) == 4
    path = warehouse.folder / FILE_NAME
    assert set(json.loads(path.read_text(encoding="utf-8"))) == {"features.a", "features.b"}
    path.write_text("{", encoding="utf-8")
    assert table_lineage(warehouse, "features.b", title) is not None
    assert set(json.loads(path.read_text(encoding="utf-8"))) == {"features.b"}


def test_nothing_is_said_of_a_table_if_one_query_is_not_understood(warehouse: Warehouse) -> None:
    good, bad = "select price from raw.items", UNKNOWN["columns by a pattern"]
    assert read_lineage(warehouse, "features.a", {"rows": good, "other": bad}) is None
    assert read_lineage(warehouse, "features.a", {"rows": good}) is not None

"""Simulated stock: a function of the sales up to the day, whatever days are read together."""

from __future__ import annotations

import datetime as dt
import itertools

import duckdb

from batch_predictions.sources.adapters.simulated_inventory import DAYS_BEFORE, inventory_sql

FIRST = dt.date(2024, 1, 1)
DAYS = [(FIRST + dt.timedelta(days=n)).isoformat() for n in range(80)]
PURCHASES = f"""
    select DATE '{FIRST}' + day::INTEGER as date, item as item_id, 1 + (day * item) % 3 as quantity
    from range(80) as days(day), range(1, 6) as items(item)
    union all select DATE '{FIRST}' + 70, 99, 1
"""


def stock(days: list[str], purchases: str = PURCHASES) -> dict[tuple[str, str], tuple[float, ...]]:
    rows = duckdb.execute(inventory_sql(purchases, days)).fetchall()
    return {(str(row[0]), row[1]): row[2:4] for row in rows}


def test_stock_falls_by_what_is_sold_between_deliveries() -> None:
    levels = stock(DAYS[50:64])
    sold = {
        (str(date), str(item)): quantity
        for date, item, quantity in duckdb.execute(PURCHASES).fetchall()
    }
    for item in map(str, range(1, 6)):
        deliveries = 0
        for before, day in itertools.pairwise(DAYS[50:64]):
            on_hand, on_order = levels[day, item]
            assert on_hand >= 0 and on_order >= 0
            if max(0, levels[before, item][0] - sold[day, item]) == on_hand:
                continue
            deliveries += 1
            assert on_hand > levels[before, item][0] - sold[day, item] and on_order == 0
        assert 1 <= deliveries <= 2  # one a week


def test_a_day_does_not_depend_on_the_days_that_are_read_with_it_or_on_later_sales() -> None:
    together = stock(DAYS[50:60])
    day = DAYS[55]
    start = FIRST + dt.timedelta(days=55 - DAYS_BEFORE)
    known = f"select * from ({PURCHASES}) where date between DATE '{start}' and DATE '{day}'"
    alone = stock([day], known)
    assert alone and alone == {key: row for key, row in together.items() if key[0] == day}


def test_items_that_sell_rarely_are_not_counted() -> None:
    assert "99" not in {item for _, item in stock(DAYS[70:75])}

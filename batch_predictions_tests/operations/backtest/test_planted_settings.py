"""Backtests of a shop where the effect of a setting is known: each user buys one item only."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Any

import numpy as np
import pytest

from batch_predictions_tests.worlds.backtest_shop import Shop

pytestmark = pytest.mark.slow

FIRST, DAYS, USERS, ITEMS, WEEKS = dt.date(2024, 4, 1), 57, 300, 3, 3
SUNDAYS = [FIRST + dt.timedelta(days=6 + 7 * week) for week in range(8)][-WEEKS:]
METRIC = "next_day_hit_rate@10"


def _events() -> list[tuple[dt.date, str, str, float]]:
    """On every day a third of the users buys: user `n` the item `n % 3`."""
    random = np.random.default_rng(5)
    return [
        (FIRST + dt.timedelta(days=day), f"u{user:03}", f"i{user % ITEMS}", 2.0)
        for day in range(DAYS)
        for user in np.flatnonzero(random.random(USERS) < 1 / 3).tolist()
    ]


EVENTS = _events()


def _hit_rates(blocked: Collection[str]) -> list[float]:
    """Shares of each Monday's buyers whose item is not blocked: it is on their list."""
    rates = []
    for sunday in SUNDAYS:
        bought = [item for day, _, item, _ in EVENTS if day == sunday + dt.timedelta(days=1)]
        rates.append(sum(item not in blocked for item in bought) / len(bought))
    return rates


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop that does not recommend the item of a third of its users."""
    settings = "recommendations: {exclude_seen: false, blocked_items: [i0]}"
    return Shop(
        tmp_path_factory.mktemp("planted"), "recommendations", events=EVENTS, settings=settings
    )


def _difference(shop: Shop, name: str, blocked: str) -> dict[str, Any]:
    other = shop.folder / f"{name}.yaml"
    other.write_text(f"recommendations: {{blocked_items: {blocked}}}", encoding="utf-8")
    words = ("--no-leak-check", "--against", str(other))
    answer = shop.backtest(*words, weeks=WEEKS)
    rows = [row for row in shop.rows() if row["metric"] == METRIC and row["period"] == "after"]
    of_file = [row["value"] for row in rows if row["settings"] == name]
    assert of_file == pytest.approx(_hit_rates(blocked))
    own = [row["value"] for row in rows if row["settings"] == "own"]
    assert own == pytest.approx(_hit_rates(["i0"]))
    [difference] = [row for row in answer["differences"] if row["metric"] == METRIC]
    assert difference["weeks"] == WEEKS
    found: dict[str, Any] = difference
    return found


def test_better_settings_are_better_by_the_share_of_users_whom_they_serve(shop: Shop) -> None:
    difference = _difference(shop, "unblocked", "[]")
    assert 0 < difference["lower"] < 1 / 3 < difference["upper"]


def test_settings_that_block_another_third_are_not_better(shop: Shop) -> None:
    difference = _difference(shop, "blocks_another", "[i1]")
    assert difference["lower"] < 0 < difference["upper"]

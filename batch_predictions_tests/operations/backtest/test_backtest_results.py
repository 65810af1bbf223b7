"""Results of backtests: differences are paired by week, and say what chance explains."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch_predictions.operations.backtest.backtest_results import (
    compare,
    summarize,
    write_backtest,
)
from batch_predictions.settings import Settings
from batch_predictions.tables import BACKTESTS
from batch_predictions.warehouse import Warehouse

MONDAYS = [dt.date(2024, 4, 1) + dt.timedelta(days=7 * week) for week in range(8)]


def _rows(settings: str, values: Any) -> list[dict[str, Any]]:
    return [
        {
            "week": monday,
            "settings": settings,
            "period": "after",
            "model": "spend",
            "candidate": "served",
            "metric": "mae",
            "value": float(value),
            "lower": None,
            "upper": None,
            "n": 10,
        }
        for monday, value in zip(MONDAYS, values, strict=False)
    ]


def test_a_known_difference_is_found_though_weeks_differ_more() -> None:
    random = np.random.default_rng(1)
    of_weeks = random.normal(50, 20, 8)
    better = of_weeks - 3 + random.normal(0, 1, 8)
    [row] = compare([*_rows("own", of_weeks), *_rows("other", better)], "own", "other")
    assert row["weeks"] == 8
    assert row["lower"] < -3 < row["upper"] < 0
    assert row["against"] - row["own"] == pytest.approx(row["difference"])


def test_equal_settings_differ_in_few_worlds() -> None:
    random, found = np.random.default_rng(2), 0
    for _ in range(400):
        of_weeks = random.normal(50, 20, 8)
        rows = [*_rows("own", of_weeks), *_rows("other", of_weeks + random.normal(0, 3, 8))]
        [row] = compare(rows, "own", "other")
        found += not row["lower"] < 0 < row["upper"]
    # 5 % of 400 are 20, with a standard deviation of 4.4.
    assert 7 <= found <= 33


def test_two_weeks_have_no_interval_and_weeks_of_one_side_do_not_count() -> None:
    [row] = compare([*_rows("own", [1, 2, 3]), *_rows("other", [2, 4])], "own", "other")
    assert (row["weeks"], row["difference"], row["lower"]) == (2, 1.5, None)


def test_the_tables_have_the_newest_backtest_alone(tmp_path: Path) -> None:
    warehouse = Warehouse.of(Settings(home=tmp_path))
    decisions = [
        {"week": MONDAYS[0], "settings": "own", "model": "m", "decision": "kept", "why": "w"}
    ]
    write_backtest(warehouse, _rows("own", [1, 2, 3]), decisions)
    write_backtest(warehouse, _rows("own", [0, 5]), decisions)
    rows = warehouse.query(f"select * from {BACKTESTS.qualified} order by week").to_pylist()
    assert [row["value"] for row in rows] == [0, 5]
    [summary] = summarize(rows)
    assert (summary["weeks"], summary["mean"], summary["highest"]) == (2, 2.5, 5)

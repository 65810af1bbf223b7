"""Backtests of a small shop: weeks are evaluated, killed and resumed, and leaks are found."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from batch_predictions.core.home_lock import home_lock
from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.backtest_shop import EVENTS, Shop
from batch_predictions_tests.worlds.retail_fixtures import run_command

pytestmark = pytest.mark.slow

SUNDAYS = [dt.date(2024, 6, 16), dt.date(2024, 6, 23)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop whose backtest was killed in its second week, and went on."""
    shop = Shop(tmp_path_factory.mktemp("backtest"), "spend")
    before = shop.files()
    process = subprocess.Popen(
        [sys.executable, "-m", "batch_predictions.cli", *shop.words("backtest", "--weeks", "2")],
        env=shop.env,
        cwd=shop.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    record = shop.home / "backtests" / "own" / "backtest.json"
    while process.poll() is None and str(SUNDAYS[0]) not in _text(record):
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert [*json.loads(_text(record))["weeks"]] == [str(SUNDAYS[0])]
    answer = shop.backtest("--no-leak-check")
    assert answer["weeks"] == [str(sunday) for sunday in SUNDAYS]
    assert shop.files() == before
    return shop


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def test_weeks_are_compared_with_what_came_after_them(shop: Shop) -> None:
    rows = [row for row in shop.rows() if row["period"] == "after" and row["metric"] == "mae"]
    assert [row["week"] for row in rows] == [sunday - dt.timedelta(days=6) for sunday in SUNDAYS]
    warehouse = Warehouse.of(Settings(home=shop.home / "backtests" / "own"))
    for row, sunday in zip(rows, SUNDAYS, strict=True):
        predicted = warehouse.query(
            "select user_id, value from predictions.spend where date = $date", {"date": sunday}
        ).to_pylist()
        spent = dict.fromkeys((entry["user_id"] for entry in predicted), 0.0)
        for day, user, _, amount in EVENTS:
            if sunday < day <= sunday + dt.timedelta(days=7):
                spent[user] += amount
        errors = [abs(entry["value"] - spent[entry["user_id"]]) for entry in predicted]
        assert row["value"] == pytest.approx(np.mean(errors))
        assert row["n"] == len(predicted)
        assert row["lower"] < row["value"] < row["upper"]
    hold_out = [row for row in shop.rows() if row["period"] == "hold_out"]
    assert {"decayed_mean", "lightgbm_tweedie"} <= {row["candidate"] for row in hold_out}


def test_no_week_has_later_rows(shop: Shop) -> None:
    newest = Warehouse.of(Settings(home=shop.home / "backtests" / "own")).value(
        "select max(date) from raw.interactions"
    )
    assert newest == SUNDAYS[-1]


def test_a_second_backtest_runs_nothing_and_is_equal(shop: Shop) -> None:
    before, log = shop.rows(), shop.home / "backtests" / "own" / "run.log"
    size = log.stat().st_size
    shop.backtest("--no-leak-check")
    assert log.stat().st_size == size
    assert shop.rows() == before


def test_other_settings_are_compared_week_by_week(shop: Shop, tmp_path: Path) -> None:
    other = tmp_path / "longer_windows.yaml"
    other.write_text("predictions: {spend: {days: 14}}", encoding="utf-8")
    before = shop.rows()
    answer = shop.backtest("--no-leak-check", "--against", str(other))
    rows = shop.rows()
    assert [row for row in rows if row["settings"] == "own"] == before
    [difference] = [row for row in answer["differences"] if row["metric"] == "mae"]
    # Of two weeks one has been over for 14 days.
    assert difference["weeks"] == 1
    assert difference["difference"] == difference["against"] - difference["own"]


def test_a_prediction_that_reads_later_rows_is_named(shop: Shop, tmp_path: Path) -> None:
    leaky = Shop(tmp_path, "buys_tomorrow", "spend")
    answer = leaky.backtest(check=False)
    assert answer["leaks"] == ["predictions.buys_tomorrow (own)"]
    # This backtest was never stopped: its rows are those of the one that was.
    own = [row for row in shop.rows() if row["settings"] == "own"]
    assert [row for row in leaky.rows() if row["model"] == "spend"] == own


def test_a_file_that_a_variable_hides_is_refused(shop: Shop, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("recommendations: {k: 3}", encoding="utf-8")
    words = ["backtest", "--against", str(other)]
    process = run_command(*words, env=shop.env, cwd=shop.folder, check=False)
    assert process.returncode == 2
    assert "BATCH_PREDICTIONS_RECOMMENDATIONS__K comes before recommendations.k" in process.stderr


def test_nobody_is_erased_while_a_backtest_is_under_way(shop: Shop) -> None:
    with home_lock(shop.home / "backtests", "batch-predictions backtest"):
        process = run_command("erase-user", "u0000", env=shop.env, cwd=shop.folder, check=False)
    assert process.returncode == 3
    assert "batch-predictions backtest" in process.stderr
    assert (shop.home / "backtests" / "own").exists()


def test_an_erased_user_comes_back_in_no_week(shop: Shop) -> None:
    """The last test of the shop: the source still has the user."""
    run_command("erase-user", "u0000", env=shop.env, cwd=shop.folder)
    assert not (shop.home / "backtests").exists()
    shop.command("backtest", "--weeks", "1", "--json", "--no-leak-check")
    own = Warehouse.of(Settings(home=shop.home / "backtests" / "own"))
    users = own.query("select distinct user_id from raw.interactions")["user_id"].to_pylist()
    assert "u0001" in users
    assert "u0000" not in users

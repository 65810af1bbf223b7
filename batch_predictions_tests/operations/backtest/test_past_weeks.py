"""Backtests of a small shop: weeks are evaluated, stopped and resumed, and leaks are found."""

from __future__ import annotations

import datetime as dt
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from batch_predictions.core.home_lock import home_lock
from batch_predictions.settings import Settings
from batch_predictions.tables import BACKTEST_DECISIONS
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.backtest_shop import EVENTS, Shop
from batch_predictions_tests.worlds.retail_fixtures import run_command

pytestmark = pytest.mark.slow

SUNDAYS = [dt.date(2024, 6, 9) + dt.timedelta(weeks=week) for week in range(3)]
SIDE_BY_SIDE = ("--no-leak-check", "--workers", "2")  # The first week is run before.


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop whose weeks are trained side by side, and whose backtest was stopped twice."""
    shop = Shop(tmp_path_factory.mktemp("backtest"), "spend")
    before, backtests = shop.files(), shop.home / "backtests"
    decisions = "own-trainings-2-*/models/*/decisions/*.json"
    # The runs of a process that was stopped end, and the next command waits until they have.
    for glob, number, code in (
        ("own/run.json", signal.SIGKILL, -9),
        (decisions, signal.SIGINT, 130),
    ):
        assert _run_until(shop, partial(_exists, backtests, glob), number) == code
    assert len([*backtests.glob("own/models/spend/versions/*")]) == 1
    record = backtests / "own" / "backtest.json"
    assert [*json.loads(_text(record))["weeks"]] == [str(SUNDAYS[0])]
    answer = shop.backtest(*SIDE_BY_SIDE)
    assert answer["weeks"] == [str(sunday) for sunday in SUNDAYS]
    assert [path.name for path in backtests.iterdir() if path.is_dir()] == ["own"]
    assert shop.files() == before
    return shop


def _run_until(shop: Shop, is_time: Callable[[], bool], number: signal.Signals) -> int:
    """Runs a backtest and signals to it, but not to its children; returns its exit code."""
    process = subprocess.Popen(
        [
            sys.executable,
            *("-m", "batch_predictions.cli"),
            *shop.words("backtest", "--weeks", str(len(SUNDAYS)), *SIDE_BY_SIDE),
        ],
        env=shop.env,
        cwd=shop.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not is_time():
        time.sleep(0.2)
    process.send_signal(number)
    return process.wait()


def _exists(folder: Path, glob: str) -> bool:
    return any(folder.glob(glob))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _training_of_each_week(shop: Shop) -> list[object]:
    """Versions, decisions and predicted rows of `spend` in the home of past weeks."""
    home = shop.home / "backtests" / "own"
    warehouse = Warehouse.of(Settings(home=home))
    versions = sorted(path.name for path in home.glob("models/spend/versions/*"))
    decisions = Warehouse.of(Settings(home=shop.home)).query(
        f"from {BACKTEST_DECISIONS.qualified} "
        "where model = 'spend' and settings = 'own' order by all"
    )
    predicted = warehouse.query("from predictions.spend order by all")
    return [versions, decisions.to_pylist(), predicted.to_pylist()]


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
    # Of three weeks two have been over for 14 days.
    assert difference["weeks"] == 2
    by_hand = difference["against"] - difference["own"]
    assert difference["difference"] == pytest.approx(by_hand)


def test_a_prediction_that_reads_later_rows_is_named(shop: Shop, tmp_path: Path) -> None:
    leaky = Shop(tmp_path, "buys_tomorrow", "spend")
    leaky.backtest("--workers", "1", weeks=1)
    answer = leaky.backtest("--workers", "1", check=False)
    assert answer["leaks"] == ["predictions.buys_tomorrow (own)"]
    # This backtest ran its newest week first, one week after another, and was never stopped.
    own = [row for row in shop.rows() if row["settings"] == "own"]
    assert [row for row in leaky.rows() if row["model"] == "spend"] == own
    assert _training_of_each_week(leaky) == _training_of_each_week(shop)


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

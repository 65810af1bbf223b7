"""Weeks that are trained side by side have the rows of weeks that are run one after another."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from batch_predictions.operations.backtest.past_weeks import digests
from batch_predictions.settings import Settings
from batch_predictions.tables import BACKTEST_DECISIONS
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.backtest_shop import Shop

pytestmark = pytest.mark.slow

WEEKS = 3
OWN = Path("backtests") / "own"


def _results(shop: Shop) -> list[object]:
    warehouse = Warehouse.of(Settings(home=shop.home))
    decisions = warehouse.query(f"from {BACKTEST_DECISIONS.qualified} order by all").to_pylist()
    own = Warehouse.of(Settings(home=shop.home / OWN))
    predicted = [
        digests(own, dt.date.fromisoformat(day))
        for day in ("2024-06-09", "2024-06-16", "2024-06-23")
    ]
    versions = sorted(path.name for path in (shop.home / OWN / "models").glob("*/versions/*"))
    return [shop.rows(), decisions, predicted, versions]


def test_weeks_that_are_trained_at_once_are_equal_also_after_a_kill(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "spend")
    shop.backtest("--no-leak-check", "--workers", "1", weeks=WEEKS)
    one_after_another = _results(shop)
    shutil.rmtree(shop.home / "backtests")
    words = shop.words("backtest", "--weeks", str(WEEKS), "--no-leak-check", "--workers", "3")
    process = subprocess.Popen(
        [sys.executable, "-m", "batch_predictions.cli", *words],
        env=shop.env,
        cwd=shop.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    ahead = "own-trainings-3-*/models/*/decisions/*.json"
    while process.poll() is None and not any((shop.home / "backtests").glob(ahead)):
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len([*(shop.home / OWN / "models").glob("spend/versions/*")]) == 1
    shop.backtest("--no-leak-check", "--workers", "2", weeks=WEEKS)
    assert _results(shop) == one_after_another
    assert [path.name for path in (shop.home / "backtests").iterdir() if path.is_dir()] == ["own"]

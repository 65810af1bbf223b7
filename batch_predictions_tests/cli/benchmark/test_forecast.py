"""Measures by M4's own formulas, the choice per series, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from batch_predictions.cli.benchmark.commands import benchmark_app
from batch_predictions.cli.benchmark.forecast import (
    Read,
    benchmark,
    champions_of,
    measures,
    naive_error,
    name_of,
    read,
    scored,
    shares_of,
)
from batch_predictions.models.demand.forecasters.smoothing import Naive2
from batch_predictions.models.demand.panel import Doubles, Panel
from batch_predictions.settings import SettingsError
from batch_predictions_tests.worlds.demand import wandering

HORIZON = 8


def file_of(path: Path, series: list[Doubles], horizon: int = HORIZON) -> Path:
    """Rows in no order of time, as a file may have them."""
    columns = {"series": [], "t": [], "y": [], "part": []}  # type: dict[str, list[object]]
    for name, y in enumerate(series):
        for t in reversed(range(len(y))):
            columns["series"].append(f"W{name}")
            columns["t"].append(t)
            columns["y"].append(float(y[t]))
            columns["part"].append("test" if t >= len(y) - horizon else "train")
    table = pa.table(columns)
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return path


def test_measures_are_those_of_the_competition() -> None:
    """Computed as the competition's R code does, step by step."""
    train = np.array([3.0, 5, 4, 6, 5, 8, 6, 9])
    test, forecast = np.array([7.0, 10.0]), np.array([6.0, 12.0])
    given = Read(Panel(["a"], 0, np.r_[np.nan, train][None], period=2), test[None])
    smape, mase = measures(forecast[None], given)
    # mean(200 * abs(f - o) / (abs(f) + abs(o)))
    assert smape[0] == pytest.approx((200 * 1 / 13 + 200 * 2 / 22) / 2)
    # mean(abs(o - f)) / mean(abs(diff(insample, lag = frq)))
    lagged = [abs(train[i] - train[i - 2]) for i in range(2, 8)]
    assert naive_error(np.r_[np.nan, train], 2) == pytest.approx(np.mean(lagged))
    assert mase[0] == pytest.approx(1.5 / np.mean(lagged))
    assert scored((smape, mase), (2 * smape, 4 * mase))["owa"] == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert scored((smape, mase), (smape, mase))["owa"] == 1.0


def test_naive2_adjusts_a_season_that_passes_the_test_and_no_other() -> None:
    random = np.random.default_rng(0)
    walk = 100 + np.cumsum(random.normal(0, 1, 80))
    season = np.tile([0.8, 1.2, 1.0, 1.0], 20)
    plain = Naive2().forecast(Panel(["a"], 0, walk[None], period=13), 4)[0]
    np.testing.assert_allclose(plain, walk[-1])
    found = Naive2().forecast(Panel(["a"], 0, (100 * season)[None], period=4), 6)[0]
    np.testing.assert_allclose(found, 100 * season[:6])


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_file_is_read_in_the_order_of_time_and_right_aligned(tmp_path: Path, suffix: str) -> None:
    series = [np.arange(1.0, 31), np.arange(1.0, 21)]
    given = read(file_of(tmp_path / f"w.{suffix}", series), 4, HORIZON)
    assert list(given.train.ids) == ["W0", "W1"]
    np.testing.assert_array_equal(given.train.y[0], np.arange(1.0, 23))
    np.testing.assert_array_equal(given.train.y[1, -12:], np.arange(1.0, 13))
    assert np.isnan(given.train.y[1, :-12]).all()
    np.testing.assert_array_equal(given.test[1], np.arange(13.0, 21))


def test_what_is_wrong_with_a_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no file"):
        read(tmp_path / "none.parquet", 4, HORIZON)
    bad = tmp_path / "bad.parquet"
    pq.write_table(pa.table({"series": ["a"], "t": [1], "y": [1.0]}), bad)
    with pytest.raises(SettingsError, match="no column part"):
        read(bad, 4, HORIZON)
    short = file_of(tmp_path / "short.parquet", [np.ones(20)], horizon=3)
    with pytest.raises(SettingsError, match=r"1 series of 1 .* fewer than 8"):
        read(short, 4, HORIZON)


def test_seasonal_series_are_forecast_better_than_by_naive2(tmp_path: Path) -> None:
    y = wandering(12, 140 + HORIZON, 7)
    series = [*y, y[0, -60:]]
    report = benchmark(file_of(tmp_path / "w.parquet", series), 7, HORIZON, lambda text: None)
    methods = report["methods"]
    names = {
        "naive2",
        "seasonal_naive",
        "theta",
        "sarima",
        "combined",
        name_of((0, 1, 1, 0, 1, 1), 7),
    }
    assert names <= set(methods)
    assert methods["naive2"]["owa"] == 1.0
    assert methods["sarima"]["owa"] < 0.95 and report["chosen"]["owa"] < 0.95
    assert sum(report["chosen"]["series_by_method"].values()) == pytest.approx(len(series), abs=0.1)
    for each in (*methods.values(), report["chosen"]):
        assert {"smape", "mase", "owa", "cpu_seconds"} <= set(each)
        assert all(np.isfinite(each[key]) for key in ("smape", "mase", "owa"))


def test_short_flat_and_constant_series_go_through(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    series = [np.full(60, 5.0), random.gamma(2, 2, 14), random.normal(0, 1, 70), np.zeros(40)]
    report = benchmark(file_of(tmp_path / "odd.parquet", series), 12, HORIZON, lambda text: None)
    assert all(np.isfinite(each["smape"]) for each in report["methods"].values())


def test_a_series_gets_the_method_that_was_best_for_it() -> None:
    actual = np.ones((3, 4, 5))
    right, wrong = actual + 0.1, actual + 1.0
    a = np.where(np.arange(4)[None, :, None] < 2, right, wrong)
    b = np.where(np.arange(4)[None, :, None] < 2, wrong, right)
    assert champions_of([a, b], actual).tolist() == [0, 0, 1, 1]
    assert shares_of([a, b], actual).tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    near = shares_of([a, a * 1.001, b], actual)
    assert near[:, 0].tolist() == [0.5, 0.5, 0]


def test_the_command_prints_one_json_object(tmp_path: Path) -> None:
    path = file_of(tmp_path / "w.csv", list(wandering(3, 90, 4)))
    command = ["forecast", str(path), "--season", "4", "--horizon", str(HORIZON)]
    done = CliRunner().invoke(benchmark_app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert set(report["methods"]["theta"]) == {"smape", "mase", "owa", "cpu_seconds"}
    assert "owa" in report["chosen"]
    shown = CliRunner().invoke(benchmark_app, command)
    assert "chosen per series" in shown.stdout

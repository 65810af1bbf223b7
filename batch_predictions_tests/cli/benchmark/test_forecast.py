"""Metrics by the formulas of M4, the selection of methods for each series, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from batch_predictions.cli.benchmark import forecast as script
from batch_predictions.cli.command_line import make_app
from batch_predictions.core.arrays import Doubles
from batch_predictions.models.demand.data.panel import Panel
from batch_predictions.models.demand.forecasters.baselines import Naive2
from batch_predictions.settings import SettingsError
from batch_predictions_tests.worlds.demand import random_walks

HORIZON = 8


def write_series(path: Path, series: list[Doubles], horizon: int = HORIZON) -> Path:
    """Writes series with their rows in descending order of time; returns the path."""
    columns: dict[str, list[object]] = {"series": [], "t": [], "y": [], "part": []}
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


def test_metrics_equal_those_of_the_competition() -> None:
    """Calculated as in the competition's R code, step by step."""
    train = np.array([3.0, 5, 4, 6, 5, 8, 6, 9])
    test, forecast = np.array([7.0, 10.0]), np.array([6.0, 12.0])
    series = script.SeriesFile(Panel(["a"], 0, np.r_[np.nan, train][None], period=2), test[None])
    smape, mase = script.compute_metrics(forecast[None], series)
    # mean(200 * abs(f - o) / (abs(f) + abs(o)))
    assert smape[0] == pytest.approx((200 * 1 / 13 + 200 * 2 / 22) / 2)
    # mean(abs(o - f)) / mean(abs(diff(insample, lag = frq)))
    lagged = [abs(train[i] - train[i - 2]) for i in range(2, 8)]
    assert script.naive_error(np.r_[np.nan, train], 2) == pytest.approx(np.mean(lagged))
    assert mase[0] == pytest.approx(1.5 / np.mean(lagged))
    summary = script.summarise_metrics((smape, mase), (2 * smape, 4 * mase))
    assert summary["owa"] == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert script.summarise_metrics((smape, mase), (smape, mase))["owa"] == 1.0


def test_naive2_adjusts_only_a_season_that_passes_the_test() -> None:
    random = np.random.default_rng(0)
    walk = 100 + np.cumsum(random.normal(0, 1, 80))
    season = np.tile([0.8, 1.2, 1.0, 1.0], 20)
    unadjusted = Naive2().forecast(Panel(["a"], 0, walk[None], period=13), 4)[0]
    np.testing.assert_allclose(unadjusted, walk[-1])
    adjusted = Naive2().forecast(Panel(["a"], 0, (100 * season)[None], period=4), 6)[0]
    np.testing.assert_allclose(adjusted, 100 * season[:6])


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_series_are_sorted_by_time_and_end_in_the_same_column(tmp_path: Path, suffix: str) -> None:
    path = write_series(tmp_path / f"w.{suffix}", [np.arange(1.0, 31), np.arange(1.0, 21)])
    series = script.read_series(path, 4, HORIZON)
    assert list(series.train.ids) == ["W0", "W1"]
    np.testing.assert_array_equal(series.train.y[0], np.arange(1.0, 23))
    np.testing.assert_array_equal(series.train.y[1, -12:], np.arange(1.0, 13))
    assert np.isnan(series.train.y[1, :-12]).all()
    np.testing.assert_array_equal(series.test[1], np.arange(13.0, 21))


def test_invalid_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no file"):
        script.read_series(tmp_path / "none.parquet", 4, HORIZON)
    incomplete = tmp_path / "incomplete.parquet"
    pq.write_table(pa.table({"series": ["a"], "t": [1], "y": [1.0]}), incomplete)
    with pytest.raises(SettingsError, match="no column part"):
        script.read_series(incomplete, 4, HORIZON)
    short = write_series(tmp_path / "short.parquet", [np.ones(20)], horizon=3)
    with pytest.raises(SettingsError, match=r"1 series of 1 .* fewer than 8"):
        script.read_series(short, 4, HORIZON)


def test_seasonal_series_are_forecast_better_than_by_naive2(tmp_path: Path) -> None:
    y = random_walks(12, 140 + HORIZON, 7)
    series = [*y, y[0, -60:]]
    path = write_series(tmp_path / "w.parquet", series)
    report = script.measure(path, 7, HORIZON, lambda text: None)
    methods = report["methods"]
    names = {
        "naive2",
        "seasonal_naive",
        "theta",
        "ets",
        "sarima",
        "combined",
        script.sarima_name((0, 1, 1, 0, 1, 1), 7),
    }
    assert names <= set(methods)
    assert methods["naive2"]["owa"] == 1.0
    assert methods["sarima"]["owa"] < 0.95 and report["chosen"]["owa"] < 0.95
    assert sum(report["chosen"]["series_by_method"].values()) == pytest.approx(len(series), abs=0.1)
    for scores in (*methods.values(), report["chosen"]):
        assert {"smape", "mase", "owa", "cpu_seconds"} <= set(scores)
        assert all(np.isfinite(scores[key]) for key in ("smape", "mase", "owa"))


def test_short_and_constant_series_have_finite_metrics(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    series = [np.full(60, 5.0), random.gamma(2, 2, 14), random.normal(0, 1, 70), np.zeros(40)]
    path = write_series(tmp_path / "short.parquet", series)
    report = script.measure(path, 12, HORIZON, lambda text: None)
    assert all(np.isfinite(scores["smape"]) for scores in report["methods"].values())


def test_a_series_is_forecast_by_the_methods_with_its_smallest_past_errors() -> None:
    actual = np.ones((3, 4, 5))
    close, distant = actual + 0.1, actual + 1.0
    a = np.where(np.arange(4)[None, :, None] < 2, close, distant)
    b = np.where(np.arange(4)[None, :, None] < 2, distant, close)
    assert script.best_candidates([a, b], actual).tolist() == [0, 0, 1, 1]
    assert script.combination_weights([a, b], actual).tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    with_similar = script.combination_weights([a, a * 1.001, b], actual)
    assert with_similar[:, 0].tolist() == [0.5, 0.5, 0]


def test_without_the_checkout_a_benchmark_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batch_predictions.cli.commands.benchmark_command.FOLDER", Path("/nowhere"))
    result = CliRunner().invoke(make_app(), ["benchmark", "trees", "--help"])
    assert isinstance(result.exception, SettingsError)
    # Benchmarks of a file of one's own need none.
    for name in ("forecast", "sentiment"):
        assert CliRunner().invoke(make_app(), ["benchmark", name, "--help"]).exit_code == 0
    assert "Clone the repository" in str(result.exception)
    assert "topk" in CliRunner().invoke(make_app(), ["benchmark", "--help"]).stdout


def test_the_options_of_a_benchmark_are_those_of_its_script() -> None:
    shown = CliRunner().invoke(make_app(), ["benchmark", "engine", "--help"], terminal_width=200)
    assert shown.exit_code == 0 and "--seconds" in shown.stdout
    wrong = CliRunner().invoke(make_app(), ["benchmark", "engine", "--minutes", "1"])
    assert wrong.exit_code == 2 and "--minutes" in wrong.stderr


def test_the_command_prints_one_json_object(tmp_path: Path) -> None:
    path = write_series(tmp_path / "w.csv", list(random_walks(3, 90, 4)))
    command = ["forecast", str(path), "--season", "4", "--horizon", str(HORIZON)]
    result = CliRunner().invoke(make_app(), ["benchmark", *command, "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert set(report["methods"]["theta"]) == {"smape", "mase", "owa", "cpu_seconds"}
    assert "owa" in report["chosen"]
    text = CliRunner().invoke(make_app(), ["benchmark", *command]).stdout
    assert "chosen per series" in text

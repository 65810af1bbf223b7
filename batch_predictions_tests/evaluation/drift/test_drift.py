"""Drift of a day against the newest training: known answers, real partitions, the asset."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from scipy.stats import ks_2samp, wasserstein_distance

from batch_predictions.automation.status import read_status
from batch_predictions.evaluation.drift import columns as columns_module
from batch_predictions.evaluation.drift.asset import drift_asset, plot_drift
from batch_predictions.evaluation.drift.columns import (
    compared_columns,
    compute_drift,
    drift_tables,
    reference_day,
)
from batch_predictions.evaluation.drift.statistics import (
    BINS,
    compare_categories,
    compare_numbers,
    population_stability,
)
from batch_predictions.settings import AlertsSettings, Settings
from batch_predictions.tables import CHURN_SCORES, DRIFT, RECOMMENDATIONS
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.home import PARTITIONS, materialize

SUNDAY, DAY = dt.date(2024, 3, 3), dt.date(2024, 3, 6)


def test_equal_samples_do_not_differ() -> None:
    values = np.random.default_rng(1).normal(size=1_000)
    assert compare_numbers(values, values) == {"psi": 0, "ks": 0, "wasserstein": 0}
    assert compare_categories(np.array(["a", "b"]), np.array(["b", "a"])) == {"psi": 0}


def test_statistics_are_those_of_scipy() -> None:
    random = np.random.default_rng(2)
    before, now = random.normal(size=3_000), random.normal(0.3, 1.2, size=2_000)
    statistics = compare_numbers(before, now)
    assert statistics["ks"] == pytest.approx(ks_2samp(before, now).statistic)
    assert statistics["wasserstein"] == pytest.approx(wasserstein_distance(before, now))


def test_psi_of_a_shift_is_that_of_its_definition() -> None:
    # Of a normal distribution moved by d, the divergence of Jeffreys is d squared.
    random = np.random.default_rng(3)
    before, now = random.normal(size=200_000), random.normal(0.5, size=200_000)
    assert compare_numbers(before, now)["psi"] == pytest.approx(0.25, abs=0.03)
    # By hand, with half a row added to each of two bins.
    expected = np.array([80.5, 20.5]) / 101
    actual = np.array([50.5, 50.5]) / 101
    by_hand = ((actual - expected) * np.log(actual / expected)).sum()
    assert population_stability(np.array([80, 20]), np.array([50, 50])) == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("before", "now", "names"),
    [
        ([], [1.0], set()),
        ([1.0], [], set()),
        ([np.nan], [1.0], {"psi"}),
        ([np.nan], [np.nan], {"psi"}),
        ([1.0, np.nan], [1.0], {"psi", "ks", "wasserstein"}),
        ([1.0] * 50, [2.0] * 50, {"psi", "ks", "wasserstein"}),
    ],
)
def test_few_values_and_none(before: list[float], now: list[float], names: set[str]) -> None:
    statistics = compare_numbers(np.array(before), np.array(now))
    assert set(statistics) == names
    assert all(np.isfinite(value) and value >= 0 for value in statistics.values())


def test_missing_values_are_a_bin() -> None:
    values = np.arange(1_000.0)
    half = np.where(np.arange(1_000) % 2 == 0, values, np.nan)
    assert compare_numbers(values, half)["psi"] > 1
    assert compare_numbers(half, half)["psi"] == 0
    assert BINS == 10


def test_the_reference_is_the_last_sunday_before_the_day() -> None:
    assert reference_day(dt.date(2024, 3, 4)) == SUNDAY
    assert reference_day(dt.date(2024, 3, 9)) == SUNDAY
    # That Sunday's own rows are compared with those of the week before.
    assert reference_day(dt.date(2024, 3, 10)) == SUNDAY


def test_keys_and_ranks_are_not_compared() -> None:
    assert [column.name for column in compared_columns(CHURN_SCORES)] == [
        "churn_probability",
        "days_inactive",
    ]
    assert [column.name for column in compared_columns(RECOMMENDATIONS)] == ["score", "reason"]
    assert {"features.user_activity", "predictions.churn_scores"} <= {
        table.qualified for table in drift_tables()
    }


def write(warehouse: Warehouse, day: dt.date, probability: str, users: int = 500) -> None:
    """Churn scores of users u0, u1, …"""
    warehouse.replace_partition(
        CHURN_SCORES,
        day.isoformat(),
        f"select 'u' || u as user_id, {probability} as churn_probability, u % 30 as days_inactive, "
        f"'m' as model_version from range({users}) as a(u)",
    )


def test_a_day_is_compared_with_the_training(warehouse: Warehouse) -> None:
    assert compute_drift(warehouse, DAY).num_rows == 0
    write(warehouse, SUNDAY, "u / 500.0")
    assert compute_drift(warehouse, DAY).num_rows == 0
    write(warehouse, DAY, "u / 1000.0")
    rows = {
        (row["column_name"], row["statistic"]): row
        for row in compute_drift(warehouse, DAY).to_pylist()
    }
    assert rows["churn_probability", "ks"]["value"] == pytest.approx(0.5, abs=0.01)
    assert rows["churn_probability", "wasserstein"]["value"] == pytest.approx(0.25, abs=0.01)
    assert rows["churn_probability", "psi"]["value"] > 1
    assert rows["days_inactive", "psi"]["value"] == 0
    assert {(row["reference"], row["n"]) for row in rows.values()} == {(SUNDAY, 500)}


def test_of_many_rows_the_same_keys_are_compared(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns_module, "MAX_ROWS", 100)
    for day in (SUNDAY, DAY):
        write(warehouse, day, "u / 500.0")
    rows = compute_drift(warehouse, DAY).to_pylist()
    assert {row["n"] for row in rows} == {100} and {row["value"] for row in rows} == {0}


def test_the_asset_writes_days_and_draws_them(settings: Settings, warehouse: Warehouse) -> None:
    for age in range(3):
        write(warehouse, SUNDAY + dt.timedelta(days=age), f"u / {500.0 + 300 * age}")
    asset = drift_asset(PARTITIONS)
    result = materialize([asset], settings, "2024-03-04", "2024-03-05", selection=[asset.key])
    assert result.success
    assert warehouse.partitions(DRIFT) == ["2024-03-04", "2024-03-05"]
    values = warehouse.query(
        "select value from evaluation.drift where statistic = 'psi' "
        "and column_name = 'churn_probability' order by date"
    )["value"].to_pylist()
    assert 0 < values[0] < values[1]
    assert plot_drift(warehouse, "2024-03-05") is not None
    assert plot_drift(warehouse, "2024-02-01") is None


def test_drift_of_predictions_is_a_problem_where_a_limit_is_set(
    settings: Settings, warehouse: Warehouse
) -> None:
    write(warehouse, SUNDAY, "u / 500.0")
    write(warehouse, DAY, "u / 2000.0")
    warehouse.replace_partition(DRIFT, DAY.isoformat(), compute_drift(warehouse, DAY))

    def conditions() -> list[str]:
        status = read_status(settings, 9, DAY)
        return [p.condition for p in status.problems if p.condition.startswith("drift:")]

    assert conditions() == []
    settings.alerts = AlertsSettings(max_psi=0.25)
    assert conditions() == ["drift:predictions.churn_scores.churn_probability"]

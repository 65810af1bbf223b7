"""Drift of a day against the newest training: what is compared, the assets, the alert."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from batch_predictions.evaluation.assets import drift_asset, histograms_asset
from batch_predictions.evaluation.drift.compute import compared_columns, compute_drift, drift_tables
from batch_predictions.evaluation.drift.drift_plots import plot_drift, plot_histograms
from batch_predictions.evaluation.drift.histograms import compute_histograms
from batch_predictions.models.model_store import ModelStore
from batch_predictions.operations.status import read_status
from batch_predictions.orchestration.dagster_records import DagsterRecords
from batch_predictions.settings import AlertsSettings, Settings
from batch_predictions.tables import CHURN_SCORES, DRIFT, HISTOGRAMS, RECOMMENDATIONS
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.home import PARTITIONS, materialize

SUNDAY, DAY = dt.date(2024, 3, 3), dt.date(2024, 3, 6)


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
    """Churn scores of users u0, u1 and so on."""
    warehouse.replace_partition(
        CHURN_SCORES,
        day.isoformat(),
        f"select 'u' || u as user_id, {probability} as churn_probability, u % 30 as days_inactive, "
        f"'m' as model_version from range({users}) as a(u)",
    )


def write_drift(warehouse: Warehouse, settings: Settings, day: dt.date) -> int:
    """Writes histograms and drift of a day; returns the rows of drift."""
    histograms = compute_histograms(warehouse, ModelStore.of(settings), day)
    warehouse.replace_partition(HISTOGRAMS, day.isoformat(), histograms)
    drift = compute_drift(warehouse, day)
    warehouse.replace_partition(DRIFT, day.isoformat(), drift)
    return drift.num_rows


def test_a_day_is_compared_with_the_training(settings: Settings, warehouse: Warehouse) -> None:
    assert write_drift(warehouse, settings, DAY) == 0
    write(warehouse, SUNDAY, "u / 500.0")
    assert write_drift(warehouse, settings, DAY) == 0
    write(warehouse, DAY, "u / 1000.0")
    write_drift(warehouse, settings, DAY)
    rows = {
        (row["column_name"], row["statistic"]): row
        for row in compute_drift(warehouse, DAY).to_pylist()
    }
    assert rows["churn_probability", "ks"]["value"] == pytest.approx(0.5, abs=0.01)
    assert rows["churn_probability", "wasserstein"]["value"] == pytest.approx(0.25, abs=0.01)
    assert rows["churn_probability", "psi"]["value"] > 1
    assert rows["days_inactive", "psi"]["value"] == 0
    assert {(row["reference"], row["n"]) for row in rows.values()} == {(SUNDAY, 500)}


def test_the_assets_write_days_and_draw_them(settings: Settings, warehouse: Warehouse) -> None:
    for age in range(3):
        write(warehouse, SUNDAY + dt.timedelta(days=age), f"u / {500.0 + 300 * age}")
    assets = [histograms_asset(PARTITIONS), drift_asset(PARTITIONS)]
    result = materialize(
        assets,
        settings,
        "2024-03-04",
        "2024-03-05",
        selection=[asset.key for asset in assets],
    )
    assert result.success
    for table in (HISTOGRAMS, DRIFT):
        assert warehouse.partitions(table) == ["2024-03-04", "2024-03-05"]
    values = warehouse.query(
        "select value from evaluation.drift where statistic = 'psi' "
        "and column_name = 'churn_probability' order by date"
    )["value"].to_pylist()
    assert 0 < values[0] < values[1]
    for plot in (plot_drift, plot_histograms):
        assert plot(warehouse, "2024-03-05") is not None
        assert plot(warehouse, "2024-02-01") is None
    for day, days in (("2024-03-04", 1), ("2024-03-05", 2)):
        figure = plot_drift(warehouse, day)
        assert figure is not None
        [image] = figure.axes[0].images
        assert np.asarray(image.get_array()).shape[1] == days


def test_drift_of_predictions_is_a_problem_where_a_limit_is_set(
    settings: Settings, warehouse: Warehouse
) -> None:
    write(warehouse, SUNDAY, "u / 500.0")
    write(warehouse, DAY, "u / 2000.0")
    write_drift(warehouse, settings, DAY)

    def conditions() -> list[str]:
        status = read_status(settings, DagsterRecords(settings), 9, DAY)
        return [p.condition for p in status.problems if p.condition.startswith("drift:")]

    assert conditions() == []
    settings.alerts = AlertsSettings(max_psi=0.25)
    assert conditions() == ["drift:predictions.churn_scores.churn_probability"]

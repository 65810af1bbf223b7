"""Realized metrics: planted returns and redemptions are found; plugins declare further metrics."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from batch_predictions.evaluation.assets import (
    compute_metrics,
    plot_intervals,
    realized_metrics_asset,
)
from batch_predictions.evaluation.metric_plots import METRIC_PLOTS, plot_metrics
from batch_predictions.evaluation.realized_metric import RealizedMetric
from batch_predictions.models.common.intervals import proportion, proportion_difference
from batch_predictions.settings import Settings
from batch_predictions.tables import (
    CAMPAIGN_EVENTS,
    CHURN_SCORES,
    INTERACTIONS,
    PROMOTION_AUDIENCE,
    PROMOTIONS_LOG,
    REALIZED_METRICS,
    RETENTION_AUDIENCE,
    discovery,
)
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.customers import interactions, write_raw_rows
from batch_predictions_tests.worlds.home import PARTITIONS, materialize
from batch_predictions_tests.worlds.plugin_packages import load_package
from batch_predictions_tests.worlds.table_rows import named_rows, write_rows

MODULES = "evaluation/*.py"
METRICS = discovery.instances(RealizedMetric, MODULES)
PREDICTED_ON = dt.date(2024, 3, 1)
HORIZON_END = PREDICTED_ON + dt.timedelta(days=28)
N = 400
PLUGIN = '''
"""The share of customers with a high churn probability."""
from batch_predictions.evaluation.realized_metric import RealizedMetric, realized_row
from batch_predictions.models.common.intervals import proportion
from batch_predictions.tables import CHURN_SCORES


def measure_risk(warehouse, settings, day):
    [row] = warehouse.query(
        """select count(*) filter (churn_probability > 0.5)::BIGINT as hits, count(*) as n
        from predictions.churn_scores where date = $date""",
        {"date": day},
    ).to_pylist()
    return [realized_row("churn", "high_risk", proportion(row["hits"], row["n"]))]


risk = RealizedMetric(measure_risk, (CHURN_SCORES,))
'''


def write_purchases(warehouse: Warehouse, *visits: tuple[str, dt.date]) -> None:
    first = dt.date(2024, 1, 1)
    rows = interactions([(user, (day - first).days) for user, day in visits])
    write_raw_rows(warehouse, INTERACTIONS, rows)


def write_campaign_events(
    warehouse: Warehouse, day: dt.date, campaign: str, kind: str, users: list[list[str]]
) -> None:
    rows = named_rows("user_id", users, date=day, campaign_id=campaign, event_type=kind)
    write_raw_rows(warehouse, CAMPAIGN_EVENTS, rows)


def churn_scores() -> list[dict[str, Any]]:
    """Scores that rise with the customer's number, from 0 to nearly 1."""
    scores = [(f"u-{n:03d}", n / N) for n in range(N)]
    return named_rows("user_id churn_probability", scores, date=PREDICTED_ON)


def realized(warehouse: Warehouse, settings: Settings, day: dt.date) -> dict[str, dict[str, Any]]:
    """The rows of all metrics, by model and metric."""
    rows = compute_metrics(METRICS, warehouse, settings, day).to_pylist()
    return {f"{row['model']} {row['metric']}": row for row in rows}


def test_proportions_and_differences_equal_published_examples() -> None:
    # Newcombe (1998), table II, method 10: 56/70 against 48/80, and 9/10 against 3/10.
    for case, lower, upper in (((56, 70, 48, 80), 0.0524, 0.3339), ((9, 10, 3, 10), 0.1705, 0.809)):
        difference = proportion_difference(*case)
        assert (difference.lower, difference.upper) == pytest.approx((lower, upper), abs=5e-5)
    zero = proportion(0, 10)
    assert zero.mean == zero.lower == 0 and zero.upper == pytest.approx(0.2775, abs=1e-4)
    assert np.isnan(proportion(0, 0).mean)


def test_churn_scores_are_compared_with_the_purchases_of_their_horizon(
    warehouse: Warehouse, settings: Settings
) -> None:
    write_rows(warehouse, CHURN_SCORES, churn_scores())
    # Customers with low scores buy: half on the first day after, half on the last one.
    days = (PREDICTED_ON + dt.timedelta(days=1), HORIZON_END)
    buyers = [(f"u-{n:03d}", days[n % 2]) for n in range(N // 2)]
    # Purchases on the day of the scores and after the horizon do not count.
    outside = [("u-399", PREDICTED_ON), ("u-398", HORIZON_END + dt.timedelta(days=1))]
    write_purchases(warehouse, *buyers, *outside)
    metrics = realized(warehouse, settings, HORIZON_END)
    assert metrics["churn auc"]["value"] == 1.0 and metrics["churn auc"]["n"] == N
    assert metrics["churn churned"]["value"] == 0.5
    assert metrics["churn lift@10%"]["value"] == pytest.approx(2.0)
    rows_before = realized(warehouse, settings, HORIZON_END - dt.timedelta(days=1))
    assert rows_before == {}, "there is no metric before the horizon has passed"


@pytest.mark.parametrize("exported", [True, False])
def test_the_difference_to_the_holdout_is_an_uplift_after_an_export_and_else_a_placebo(
    warehouse: Warehouse, settings: Settings, exported: bool
) -> None:
    listed = [(n + 1, f"u-{n:03d}", n % 4 == 0) for n in range(N)]
    rows = named_rows("rank user_id held_out", listed, date=PREDICTED_ON)
    write_rows(warehouse, RETENTION_AUDIENCE, rows)
    # 40 % of those contacted return, and 20 % of those held out.
    returned = [row for row in rows if row["rank"] % 10 < (2 if row["held_out"] else 4)]
    returned_on = PREDICTED_ON + dt.timedelta(days=5)
    write_purchases(warehouse, *((row["user_id"], returned_on) for row in returned))
    contacted = [[row["user_id"]] for row in rows if exported and not row["held_out"]]
    write_campaign_events(warehouse, PREDICTED_ON, "retention", "listed", contacted)
    metrics = realized(warehouse, settings, HORIZON_END)
    difference_name = "uplift" if exported else "placebo"
    group_name = "contacted" if exported else "listed"
    shares = {
        held_out: sum(row["held_out"] is held_out for row in returned)
        / sum(row["held_out"] is held_out for row in rows)
        for held_out in (False, True)
    }
    assert metrics[f"retention returned_{group_name}"]["value"] == pytest.approx(shares[False])
    assert metrics["retention returned_held_out"]["value"] == pytest.approx(shares[True])
    difference = metrics[f"retention {difference_name}"]
    assert difference["value"] == pytest.approx(shares[False] - shares[True])
    assert difference["n"] == N
    assert 0 < difference["lower"] < difference["value"] < difference["upper"]
    assert set(metrics) == {
        f"retention returned_{group_name}",
        "retention returned_held_out",
        f"retention {difference_name}",
    }


def test_redeemers_are_counted_by_their_rank_in_the_first_audience(
    warehouse: Warehouse, settings: Settings
) -> None:
    campaign = {"campaign_id": "c1", "starts_on": PREDICTED_ON, "ends_on": HORIZON_END}
    listed = [(n + 1, f"u-{n:03d}", n % 10 == 9) for n in range(100)]
    rows = named_rows("rank user_id held_out", listed, date=PREDICTED_ON, **campaign)
    write_rows(warehouse, PROMOTION_AUDIENCE, rows)
    later = [{**row, "date": HORIZON_END, "rank": 101 - row["rank"]} for row in rows]
    write_rows(warehouse, PROMOTION_AUDIENCE, later)
    redeemers = [*(f"u-{n:03d}" for n in (0, 1, 2, 15, 50)), "not-in-the-audience"]
    day = PREDICTED_ON + dt.timedelta(days=3)
    write_campaign_events(warehouse, day, "c1", "redeemed", [[user] for user in redeemers])
    write_purchases(warehouse, ("u-000", PREDICTED_ON))
    day = PREDICTED_ON + dt.timedelta(days=4)
    metrics = realized(warehouse, settings, day)
    assert metrics["promotion redeemers_in_audience:c1"]["value"] == pytest.approx(5 / 6)
    assert metrics["promotion redeemers_in_top_10%:c1"]["value"] == pytest.approx(3 / 6)
    assert metrics["promotion redeemers_in_top_20%:c1"]["value"] == pytest.approx(4 / 6)
    assert metrics["promotion redeemed_listed:c1"]["value"] == pytest.approx(5 / 90)
    assert metrics["promotion redeemed_held_out:c1"]["value"] == 0
    assert "promotion placebo:c1" in metrics and "promotion uplift:c1" not in metrics
    after_the_end = HORIZON_END + dt.timedelta(days=8)
    assert realized(warehouse, settings, after_the_end) == {}, "measured until a week after its end"
    table = compute_metrics(METRICS, warehouse, settings, day)
    warehouse.replace_partition(REALIZED_METRICS, str(day), table)
    assert plot_intervals(warehouse, str(day)) is not None
    assert plot_intervals(warehouse, "2024-01-05") is None


def test_a_plot_marks_the_days_on_which_another_model_began_to_serve(warehouse: Warehouse) -> None:
    [metric_plot] = (plot for plot in METRIC_PLOTS if plot.name == "orders_over_time")
    for n in range(21):
        day = PREDICTED_ON + dt.timedelta(days=n)
        row = {"date": day, "model": "replenishment", "metric": "fill_rate", "value": 0.9, "n": 9}
        write_rows(warehouse, REALIZED_METRICS, [row])
    for days, version in ((-7, "a"), (0, "b"), (7, "b"), (14, "c"), (30, "d")):
        part = {
            "model": "demand",
            "trained_through": str(PREDICTED_ON + dt.timedelta(days=days)),
            "decision": "promoted",
        }
        rows = f"select now()::TIMESTAMP as decided_at, '{version}' as model_version, '' as why"
        warehouse.replace_partition(PROMOTIONS_LOG, None, rows, part=part)
    figure = plot_metrics(warehouse, metric_plot, str(day))
    assert figure is not None
    lines = {line.get_label(): np.asarray(line.get_xdata()) for line in figure.axes[0].lines}
    assert list(lines) == ["units covered", "another model serves", "_"]
    assert [str(lines[name][0])[:10] for name in lines][1:] == ["2024-03-01", "2024-03-15"]


def test_a_plugin_s_metric_is_one_module_and_joins_the_asset(
    warehouse: Warehouse, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_package(tmp_path, monkeypatch, "shop", {"risk_metric": PLUGIN})
    metrics = discovery.instances(RealizedMetric, MODULES)
    assert len(metrics) == len(METRICS) + 1
    write_rows(warehouse, CHURN_SCORES, churn_scores())
    write_raw_rows(warehouse, CAMPAIGN_EVENTS, [])
    write_purchases(warehouse, ("u-000", PREDICTED_ON))
    asset = realized_metrics_asset(metrics, PARTITIONS)
    assert dg.AssetKey(["predictions", "churn_scores"]) in asset.dependency_keys
    assert materialize([asset], settings, str(PREDICTED_ON)).success
    rows = warehouse.query(
        "select metric, value, n from evaluation.realized_metrics where date = $date",
        {"date": PREDICTED_ON},
    ).to_pylist()
    assert rows == [{"metric": "high_risk", "value": pytest.approx(199 / 400), "n": N}]

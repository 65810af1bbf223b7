"""What came of audiences: planted returns and redemptions are found, with honest intervals."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.discovery import instances
from batch_predictions.evaluation import assets
from batch_predictions.evaluation.assets import compute_metrics
from batch_predictions.evaluation.realized_metric import RealizedMetric
from batch_predictions.models.common.proportions import proportion, proportion_difference
from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.tables import (
    CAMPAIGN_EVENTS,
    CHURN_SCORES,
    INTERACTIONS,
    PROMOTION_AUDIENCE,
    REALIZED_METRICS,
    RETENTION_AUDIENCE,
    Table,
)
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.customers import arrow_schema, interactions, put

METRICS = instances(RealizedMetric, "evaluation/*.py")
MADE = dt.date(2024, 3, 1)
SEEN = MADE + dt.timedelta(days=28)
N = 400


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    (tmp_path / "source").mkdir()
    source = SourceSettings(kind="files", path=tmp_path / "source")
    return settings.model_copy(update={"source": source})


def predicted(warehouse: Warehouse, table: Table, rows: list[dict[str, Any]]) -> None:
    arrow = pa.Table.from_pylist(rows, arrow_schema(table))
    warehouse.replace_partition(table, str(rows[0]["date"]), arrow)


def bought(warehouse: Warehouse, *visits: tuple[str, dt.date]) -> None:
    first = dt.date(2024, 1, 1)
    put(warehouse, INTERACTIONS, interactions([(u, (day - first).days) for u, day in visits]))


def found(warehouse: Warehouse, settings: Settings, day: dt.date) -> dict[str, dict[str, Any]]:
    rows = compute_metrics(METRICS, warehouse, settings, day).to_pylist()
    return {f"{row['model']} {row['metric']}": row for row in rows}


def test_shares_and_differences_are_those_of_the_textbook() -> None:
    # Newcombe (1998), table II, method 10: 56/70 against 48/80, and 9/10 against 3/10.
    for case, lower, upper in (((56, 70, 48, 80), 0.0524, 0.3339), ((9, 10, 3, 10), 0.1705, 0.809)):
        gap = proportion_difference(*case)
        assert (gap.lower, gap.upper) == pytest.approx((lower, upper), abs=5e-5)
    one = proportion(0, 10)
    assert one.mean == one.lower == 0 and one.upper == pytest.approx(0.2775, abs=1e-4)
    assert np.isnan(proportion(0, 0).mean)


def test_churn_is_judged_on_the_days_after_its_scores(
    warehouse: Warehouse, settings: Settings
) -> None:
    scores = [
        {"date": MADE, "user_id": f"u-{n:03d}", "churn_probability": n / N, "days_inactive": 1}
        | {"model_version": "m"}
        for n in range(N)
    ]
    predicted(warehouse, CHURN_SCORES, scores)
    # Who was said to stay buys: half on the first day after, half on the last one.
    days = (MADE + dt.timedelta(days=1), SEEN)
    stay = [(f"u-{n:03d}", days[n % 2]) for n in range(N // 2)]
    # Purchases on the day itself and after the horizon are not theirs.
    others = [("u-399", MADE), ("u-398", SEEN + dt.timedelta(days=1))]
    bought(warehouse, *stay, *others)
    told = found(warehouse, settings, SEEN)
    assert told["churn auc"]["value"] == 1.0 and told["churn auc"]["n"] == N
    assert told["churn churned"]["value"] == 0.5
    assert told["churn lift@10%"]["value"] == pytest.approx(2.0)
    early = found(warehouse, settings, SEEN - dt.timedelta(days=1))
    assert early == {}, "before the horizon has passed nothing is known"


@pytest.mark.parametrize("exported", [True, False])
def test_an_uplift_is_found_where_the_list_was_exported_and_called_placebo_elsewhere(
    warehouse: Warehouse, settings: Settings, exported: bool
) -> None:
    rows = [
        {
            "date": MADE,
            "rank": n + 1,
            "user_id": f"u-{n:03d}",
            "churn_probability": 0.5,
            "expected_value": 1.0,
            "offer_item_ids": ["i1"],
            "reason": "r",
            "held_out": n % 4 == 0,
            "model_version": "m",
            "days_inactive": 20,
            "margin_at_risk": 2.0,
        }
        for n in range(N)
    ]
    predicted(warehouse, RETENTION_AUDIENCE, rows)
    # 40 % of those contacted come back, 20 % of the held out.
    back = [r for r in rows if r["rank"] % 10 < (2 if r["held_out"] else 4)]
    bought(warehouse, *((r["user_id"], MADE + dt.timedelta(days=5)) for r in back))
    events = [
        {"date": MADE, "campaign_id": "retention", "user_id": r["user_id"], "event_type": "listed"}
        for r in rows
        if exported and not r["held_out"]
    ]
    put(warehouse, CAMPAIGN_EVENTS, events)
    told = found(warehouse, settings, SEEN)
    name = "uplift" if exported else "placebo"
    side = "contacted" if exported else "listed"
    n, m = sum(not r["held_out"] for r in rows), sum(r["held_out"] for r in rows)
    a, b = sum(not r["held_out"] for r in back), sum(r["held_out"] for r in back)
    assert told[f"retention returned_{side}"]["value"] == pytest.approx(a / n)
    assert told["retention returned_held_out"]["value"] == pytest.approx(b / m)
    gap = told[f"retention {name}"]
    assert gap["value"] == pytest.approx(a / n - b / m) and gap["n"] == N
    assert 0 < gap["lower"] < gap["value"] < gap["upper"]
    assert set(told) == {
        f"retention returned_{side}",
        "retention returned_held_out",
        f"retention {name}",
    }


def test_redeemers_are_looked_for_by_rank_of_the_first_audience(
    warehouse: Warehouse, settings: Settings
) -> None:
    rows = [
        {
            "date": MADE,
            "campaign_id": "c1",
            "rank": n + 1,
            "user_id": f"u-{n:03d}",
            "score": -float(n),
            "item_ids": ["i1"],
            "held_out": n % 10 == 9,
            "model_version": "m",
            "kind": "A",
            "starts_on": MADE,
            "ends_on": SEEN,
            "own_items": 1,
        }
        for n in range(100)
    ]
    predicted(warehouse, PROMOTION_AUDIENCE, rows)
    later = [{**row, "date": SEEN, "rank": 101 - row["rank"]} for row in rows]
    predicted(warehouse, PROMOTION_AUDIENCE, later)
    places = [0, 1, 2, 15, 50]
    redeemed = [
        {
            "date": MADE + dt.timedelta(days=3),
            "campaign_id": "c1",
            "user_id": user,
            "event_type": "redeemed",
        }
        for user in [*(f"u-{n:03d}" for n in places), "stranger"]
    ]
    put(warehouse, CAMPAIGN_EVENTS, redeemed)
    bought(warehouse, ("u-000", MADE))
    told = found(warehouse, settings, MADE + dt.timedelta(days=4))
    assert told["promotion redeemers_in_audience:c1"]["value"] == pytest.approx(5 / 6)
    assert told["promotion redeemers_in_top_10%:c1"]["value"] == pytest.approx(3 / 6)
    assert told["promotion redeemers_in_top_20%:c1"]["value"] == pytest.approx(4 / 6)
    assert told["promotion redeemed_listed:c1"]["value"] == pytest.approx(5 / 90)
    assert told["promotion redeemed_held_out:c1"]["value"] == 0
    assert "promotion placebo:c1" in told and "promotion uplift:c1" not in told
    assert found(warehouse, settings, SEEN + dt.timedelta(days=8)) == {}, "it is over for a week"
    table = compute_metrics(METRICS, warehouse, settings, MADE + dt.timedelta(days=4))
    day = str(MADE + dt.timedelta(days=4))
    warehouse.replace_partition(REALIZED_METRICS, day, table)
    assert assets.plot(warehouse, day) is not None
    assert assets.plot(warehouse, "2024-01-05") is None

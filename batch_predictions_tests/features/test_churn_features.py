"""Features of churn: known answers, and nothing of what came later."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.features.sql.queries import parameters, sql
from batch_predictions.models.churn.data.churn_examples import examples_as_of
from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.tables import CAMPAIGN_EVENTS, CHURN_FEATURES
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.customers import (
    FIRST,
    LAST,
    visits,
    write_raw_rows,
    write_visits,
)


@pytest.fixture
def settings(settings: Settings, tmp_path: Any) -> Settings:
    """With a source, whose kind the queries ask for."""
    (tmp_path / "source").mkdir()
    return settings.model_copy(
        update={"source": SourceSettings(kind="files", path=tmp_path / "source")}
    )


def features(warehouse: Warehouse, settings: Settings, day: dt.date) -> dict[str, dict[str, Any]]:
    """The partition of a day, by user."""
    bound = {**parameters(settings), "date": day}
    warehouse.replace_partition(CHURN_FEATURES, str(day), sql("churn_features"), bound)
    rows = warehouse.query(
        "select * from features.churn_features where date = $date order by user_id", {"date": day}
    )
    return {row["user_id"]: row for row in rows.to_pylist()}


def test_interpurchase_times_of_known_customers(warehouse: Warehouse, settings: Settings) -> None:
    day = FIRST + dt.timedelta(days=100)
    write_visits(
        warehouse,
        [
            *(("ann-001", 100 - ago) for ago in (90, 50, 30, 20, 10)),
            ("once-002", 95),
            ("gone-003", 10),
        ],
    )
    rows = features(warehouse, settings, day)
    assert set(rows) == {"ann-001", "once-002"}, "who has bought nothing for 84 days is not active"
    ann = rows["ann-001"]
    assert (ann["days_inactive"], ann["tenure_days"], ann["visits"]) == (10, 90, 5)
    assert [ann[f"visits_{n}d"] for n in (7, 28, 56, 84)] == [0, 2, 4, 4]
    assert (ann["gap_median"], ann["gap_mean"], ann["gap_max"]) == (15, 20, 40)
    assert ann["gap_sd"] == pytest.approx(np.std([40, 20, 10, 10], ddof=1))
    assert ann["gap_recent"] == pytest.approx((10 + 10 + 20) / 3)
    assert ann["overdue"] == pytest.approx(0.5)
    # Of four gaps, two were longer than the 10 days since; smoothed by one of each.
    assert ann["longer_gap_share"] == pytest.approx(3 / 6)
    assert [ann[f"spend_{n}d"] for n in (28, 56, 84)] == [20, 40, 40]
    assert ann["spend_trend"] == pytest.approx(np.log(21 / (1 + 40 / 3)))
    assert (ann["items_84d"], ann["categories_84d"], ann["weeks_84d"]) == (1, 1, 4)
    once = rows["once-002"]
    assert (once["gap_mean"], once["overdue"], once["gap_sd"]) == (None, None, None)
    assert once["age_bracket"] == "unknown"


def test_later_rows_do_not_change_the_features_of_a_day(
    warehouse: Warehouse, settings: Settings
) -> None:
    every = visits(45, days=40)
    cut = 28
    day = FIRST + dt.timedelta(days=cut)
    write_visits(warehouse, [(user, at) for user, at in every if at <= cut])
    rows_before = features(warehouse, settings, day)
    write_visits(warehouse, every)
    write_raw_rows(
        warehouse,
        CAMPAIGN_EVENTS,
        [
            {"date": LAST, "campaign_id": "c", "user_id": user, "event_type": "redeemed"}
            for user in rows_before
        ],
    )
    assert features(warehouse, settings, day) == rows_before and len(rows_before) > 40


def test_labels_are_purchases_of_the_days_after_and_of_no_others(
    warehouse: Warehouse, settings: Settings
) -> None:
    day = FIRST + dt.timedelta(days=100)
    rows = [(f"u-{n:03d}", 99) for n in range(4)]
    # The day itself, the first and the last day of the horizon, and one after it.
    rows += [("u-000", 100), ("u-001", 101), ("u-002", 128), ("u-003", 129)]
    write_visits(warehouse, rows)
    examples = examples_as_of(warehouse, settings, day)
    churned = dict(zip(examples.rows["user_id"].to_pylist(), examples.churned, strict=True))
    assert churned == {"u-000": 1.0, "u-001": 0.0, "u-002": 0.0, "u-003": 1.0}
    assert "churned" not in examples.rows.column_names


def test_discounts_are_relative_to_the_items_usual_price(
    warehouse: Warehouse, settings: Settings
) -> None:
    from batch_predictions.tables import INTERACTIONS
    from batch_predictions_tests.worlds.customers import interactions

    write_visits(warehouse, [])
    rows = interactions([(f"u-{n:03d}", 90) for n in range(0, 50, 10)])
    amounts = [10.0, 10.0, 10.0, 9.5, 8.0]
    rows = rows.set_column(rows.column_names.index("amount"), "amount", [amounts])
    write_raw_rows(warehouse, INTERACTIONS, rows)
    rows = features(warehouse, settings, FIRST + dt.timedelta(days=100))
    assert [row["discount_share"] for row in rows.values()] == [0, 0, 0, 0, 1]


def test_the_usual_price_is_the_median_over_lines(warehouse: Warehouse, settings: Settings) -> None:
    from batch_predictions.tables import INTERACTIONS
    from batch_predictions_tests.worlds.customers import interactions

    random = np.random.default_rng(4)
    write_visits(warehouse, [])
    rows = interactions([(f"u-{n:03d}", 90) for n in range(400)])
    items = random.integers(0, 30, len(rows)).astype(str)
    # Some prices repeat, others do not; some items have an even number of lines.
    amounts = np.where(random.random(len(rows)) < 0.5, 2.5, random.random(len(rows)) * 10 + 0.01)
    for name, values in {"item_id": pa.array(items), "amount": pa.array(amounts)}.items():
        rows = rows.set_column(rows.column_names.index(name), name, values)
    write_raw_rows(warehouse, INTERACTIONS, rows)
    bound = {**parameters(settings), "date": FIRST + dt.timedelta(days=100)}
    usual = warehouse.query(sql("usual_prices"), bound).to_pylist()
    prices = amounts / rows["quantity"].to_numpy()
    assert {row["item_id"]: row["usual"] for row in usual} == {
        item: np.median(prices[items == item])
        for item in np.unique(items)
        if (items == item).sum() > 1
    }


def test_only_purchases_count_where_types_are_named(
    warehouse: Warehouse, settings: Settings
) -> None:
    write_visits(warehouse, [("u-001", 90)])
    chosen = settings.churn.model_copy(update={"event_types": ["view"]})
    limited = settings.model_copy(update={"churn": chosen})
    day = FIRST + dt.timedelta(days=100)
    assert set(features(warehouse, settings, day)) == {"u-001"}
    assert features(warehouse, limited, day) == {}


def test_the_same_sample_of_many_customers_is_drawn_for_training(
    warehouse: Warehouse, settings: Settings
) -> None:
    write_visits(warehouse, [(f"u-{n:03d}", 90) for n in range(150)])
    chosen = settings.churn.model_copy(update={"max_customers": 100})
    sampled = settings.model_copy(update={"churn": chosen})
    days = [FIRST + dt.timedelta(days=n) for n in (100, 110)]
    samples = [examples_as_of(warehouse, sampled, day).rows["user_id"].to_pylist() for day in days]
    assert samples[0] == samples[1] == sorted(samples[0]) and len(samples[0]) == 100
    assert examples_as_of(warehouse, settings, days[0]).rows.num_rows == 150

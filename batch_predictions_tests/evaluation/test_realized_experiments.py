"""A planted uplift is found with its interval; without one, the interval contains 0."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from batch_predictions.evaluation.realized_experiments import measure_experiments
from batch_predictions.settings import ExperimentSettings, ServingSettings, Settings
from batch_predictions.tables import FEEDBACK
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.table_rows import write_rows

FIRST = dt.date(2024, 3, 4)
USERS = 400


def write_days(warehouse: Warehouse, rates: dict[str | None, float], days: int = 3) -> dt.date:
    """Every user is shown four items a day; a share of the users of a bucket clicks one of them.

    A tenth of the users is in the bucket.
    """
    for n in range(days):
        day, rows = FIRST + dt.timedelta(days=n), []
        for user in range(USERS):
            bucket = "new" if user % 10 == 0 else None
            clicks = (user // 10) % 20 < 20 * rates[bucket]
            for item in range(4):
                for kind in ("impression", "click")[: 1 + (clicks and item == n)]:
                    rows.append(
                        {
                            "date": day,
                            "event_id": f"{kind}-{user}-{item}",
                            "event_type": kind,
                            "user_id": f"u{user}",
                            "item_id": f"i{item}",
                            "recommendation_id": f"r{user}-{day}",
                            "bucket": bucket,
                        }
                    )
        write_rows(warehouse, FEEDBACK, rows, day)
    return FIRST + dt.timedelta(days=days)


def measured(warehouse: Warehouse, settings: Settings, day: dt.date) -> dict[str, Any]:
    experiment = ExperimentSettings(share=0.1, min_uplift=1.0)
    serving = ServingSettings(experiments={"new": experiment, "idle": experiment})
    settings = settings.model_copy(update={"serving": serving})
    rows = measure_experiments(warehouse, settings, day)
    assert all(row["model"] == "experiment" for row in rows)
    return {str(row["metric"]): row for row in rows}


def test_a_planted_uplift_is_found(warehouse: Warehouse, settings: Settings) -> None:
    end = write_days(warehouse, {"new": 0.8, None: 0.2})
    metrics = measured(warehouse, settings, end)
    assert metrics["click_rate:new"]["value"] == pytest.approx(0.8 / 4)
    assert metrics["click_rate:new"]["n"] == 40 * 4 * 3
    assert metrics["click_rate:new:rest"]["value"] == pytest.approx(0.2 / 4)
    uplift = metrics["click_uplift:new"]
    assert uplift["value"] == pytest.approx(0.6 / 4)
    assert 0 < uplift["lower"] < uplift["value"] < uplift["upper"] < 0.3
    assert metrics["purchase_uplift:new"]["value"] == 0
    power = metrics["click_power:new"]
    assert 0.05 < power["value"] < 1 and power["n"] == USERS and power["lower"] is None
    assert not any(name.endswith("idle") for name in metrics), "nobody was in it"
    # The power rises with the days; the last day's impressions are not over on that day.
    earlier = measured(warehouse, settings, end - dt.timedelta(days=1))
    assert earlier["click_rate:new"]["n"] == 40 * 4 * 2
    assert measured(warehouse, settings, FIRST) == {}


def test_without_an_effect_the_interval_contains_0(
    warehouse: Warehouse, settings: Settings
) -> None:
    end = write_days(warehouse, {"new": 0.2, None: 0.2})
    uplift = measured(warehouse, settings, end)["click_uplift:new"]
    assert uplift["lower"] < 0 < uplift["upper"]

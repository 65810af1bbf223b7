"""Responses of items to promotions: by hand, shrinkage, and unknown weeks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.demographic.promotion_uplift import (
    MAX_SLOPE,
    MIN_SLOPE,
    RESPONSE_WEEKS,
    fit_responses,
    promoted_shares,
)


def test_shares_of_shops_by_week_and_unknown_weeks() -> None:
    weeks = pa.table(
        {"item_id": ["b", "x", "a"], "weeks_back": [1, 3, 1], "share": [0.5, 1.0, 0.25]}
    )
    shares = promoted_shares(weeks, pa.array(["a", "b"]))
    assert shares.shape == (RESPONSE_WEEKS, 2)
    assert shares[0].tolist() == [0.25, 0.5]
    # In the third week another item was promoted: these two were not.
    assert shares[2].tolist() == [0.0, 0.0]
    assert np.isnan(shares[1]).all() and np.isnan(shares[3:]).all()


def test_slopes_are_shrunk_to_the_common_one() -> None:
    """By hand: of 10 events a week, the first item has 2 or 6, the second the rest."""
    promoted = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    events = np.array([[2.0, 8.0], [6.0, 4.0], [2.0, 8.0], [6.0, 4.0]])
    slopes, common = fit_responses(promoted, events)
    # Mean share 0.4; Sxx = 4 x 0.25, Sxy = 4 x 0.5 x 0.2 / 0.4: twice as popular relative to 0.4.
    assert common == pytest.approx(1.0)
    assert slopes == pytest.approx([1.0, 1.0])
    events = np.array([[2.0, 8.0], [2.0, 8.0], [2.0, 8.0], [2.0, 8.0]])
    all_promoted = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    slopes, common = fit_responses(
        np.hstack([promoted, all_promoted]), np.hstack([4 * events, events])
    )
    assert common == pytest.approx(0.0) and slopes == pytest.approx([0.0] * 4)


def test_slopes_differ_by_item_and_unpromoted_items_have_the_common_one() -> None:
    rng = np.random.default_rng(0)
    promoted = (rng.random((RESPONSE_WEEKS, 60)) < 0.4).astype(float)
    promoted[:, 40:] = 0.0
    base_events = rng.uniform(50, 100, 60)
    lift = np.where(np.arange(60) < 20, 1.0, 0.0)
    slopes, common = fit_responses(promoted, base_events * (1 + lift * promoted))
    assert slopes[:20].min() > common > slopes[20:40].max()
    assert slopes[40:] == pytest.approx(common)
    # Three weeks are shrunk more than twelve.
    three_weeks, _ = fit_responses(promoted[:3], (base_events * (1 + lift * promoted))[:3])
    assert (
        three_weeks[:20].mean() - three_weeks[20:40].mean()
        < slopes[:20].mean() - slopes[20:40].mean()
    )


@pytest.mark.parametrize("weeks", [0, 1])
def test_without_two_known_weeks_no_item_responds(weeks: int) -> None:
    promoted = np.full((RESPONSE_WEEKS, 3), np.nan)
    promoted[:weeks] = 1.0
    slopes, common = fit_responses(promoted, np.ones((RESPONSE_WEEKS, 3)))
    assert common == 0.0 and slopes.tolist() == [0.0] * 3


def test_slopes_are_bounded_and_weeks_without_events_are_ignored() -> None:
    promoted = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]] * 3)
    events = np.array([[0.0, 9.0], [9.0, 0.0], [0.0, 0.0]] * 3)
    slopes, _ = fit_responses(promoted, events)
    assert slopes.min() >= MIN_SLOPE and slopes.max() <= MAX_SLOPE
    assert slopes == pytest.approx(fit_responses(promoted[[0, 1] * 3], events[[0, 1] * 3])[0])

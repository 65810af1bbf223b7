"""Days far from the others: by the rule as it is written, and on small worlds."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_predictions.sources.validation.plausible_days import (
    MAX_GAP_DAYS,
    CountedDays,
    first_plausible_day,
    last_plausible_day,
)

START = dt.date(2026, 1, 1)


def day(number: int) -> dt.date:
    return START + dt.timedelta(days=number)


def by_the_rule(counts: dict[dt.date, int]) -> dt.date | None:
    """The first day after the last gap before which few rows are; written out."""
    days = sorted(date for date, rows in counts.items() if rows)
    total = sum(counts.values())
    allowed = max(total // 100, min(total // 10, 3))
    first = days[0] if days else None
    for before, after in itertools.pairwise(days):
        rows_before = sum(counts[date] for date in days if date <= before)
        if (after - before).days > MAX_GAP_DAYS and rows_before <= allowed:
            first = after
    return first


@given(
    st.dictionaries(
        st.integers(0, 1500).map(day), st.sampled_from([0, 1, 1, 2, 40, 400]), max_size=12
    )
)
def test_the_first_day_is_that_of_the_rule(counts: dict[dt.date, int]) -> None:
    assert first_plausible_day(CountedDays(counts)) == by_the_rule(counts)


@given(st.dictionaries(st.integers(0, 1500), st.sampled_from([1, 2, 40, 400]), max_size=12))
def test_the_last_day_is_the_first_of_the_days_in_reverse(numbers: dict[int, int]) -> None:
    last = last_plausible_day({day(n): rows for n, rows in numbers.items()})
    first = first_plausible_day(CountedDays({day(-n): rows for n, rows in numbers.items()}))
    assert last == (first and START + (START - first))


@pytest.mark.parametrize(
    ("far", "rows", "first"),
    [
        pytest.param(1, 600, 0, id="one of 600 rows is far before"),
        pytest.param(1, 10, 0, id="one of 10 rows"),
        pytest.param(1, 8, -9000, id="one of 9 rows may be right"),
        pytest.param(3, 60, 0, id="three of 60 rows"),
        pytest.param(4, 60, -9000, id="four of 60 rows may be right"),
        pytest.param(10, 1000, 0, id="one in a hundred of many rows"),
        pytest.param(11, 1000, -9000, id="more of many rows may be right"),
    ],
)
def test_how_many_rows_may_be_far(far: int, rows: int, first: int) -> None:
    counts = {day(-9000): far, day(0): rows}
    assert first_plausible_day(CountedDays(counts)) == day(first)


def test_several_wrong_years_are_left_behind() -> None:
    counts = {day(-9000): 1, day(-5000): 1, day(-200): 1, **{day(n): 10 for n in range(60)}}
    assert first_plausible_day(CountedDays(counts)) == day(0)


def test_a_day_near_the_others_stays() -> None:
    counts = {day(-MAX_GAP_DAYS): 1, **{day(n): 10 for n in range(60)}}
    assert first_plausible_day(CountedDays(counts)) == day(-MAX_GAP_DAYS)


def test_the_ends_of_the_calendar() -> None:
    counts = {dt.date.min: 1, day(0): 600, dt.date.max: 1}
    assert first_plausible_day(CountedDays(counts)) == day(0) == last_plausible_day(counts)
    assert first_plausible_day(CountedDays({})) is None is last_plausible_day({})

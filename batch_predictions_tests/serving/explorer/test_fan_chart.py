"""The fan chart's geometry, and wording, on values whose answer is known."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_predictions.serving.explorer.fan_chart import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    fan_chart,
)
from batch_predictions.serving.explorer.rendering import (
    age_in_words,
    bar_lengths,
    explain_reason,
    explain_source,
)

NAMES = ("q05", "q10", "q25", "q50", "q75", "q90", "q95")
DAY = dt.date(2024, 3, 4)


def forecast(days: list[list[float]]) -> list[dict[str, Any]]:
    return [
        {"target_date": DAY + dt.timedelta(n), **dict(zip(NAMES, values, strict=True))}
        for n, values in enumerate(days)
    ]


def points(text: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in text.split())]


def test_quantiles_are_drawn_where_the_axis_says() -> None:
    chart = fan_chart(forecast([[0, 1, 2, 5, 7, 8, 10], [0, 0, 0, 0, 0, 0, 0]]))
    assert chart is not None
    assert [tick.label for tick in chart.value_ticks] == ["0", "2", "4", "6", "8", "10"]
    assert [tick.label for tick in chart.day_ticks] == ["4 Mar", "5 Mar"]
    middle = (TOP + HEIGHT - BOTTOM) / 2
    assert points(chart.median) == [(LEFT, middle), (WIDTH - RIGHT, HEIGHT - BOTTOM)]
    widest = points(chart.bands[0].points)
    assert [band.label for band in chart.bands] == ["90%", "80%", "50%"]
    assert widest[0] == (LEFT, TOP) and widest[-1] == (LEFT, HEIGHT - BOTTOM)
    assert "highest on 2024-03-04, with 5.0 units" in chart.summary


def test_a_single_day_has_a_width_and_no_day_no_chart() -> None:
    chart = fan_chart(forecast([[1, 2, 3, 4, 5, 6, 7]]))
    assert chart is not None and len(chart.day_ticks) == 1
    assert len({x for x, _ in points(chart.median)}) == 2
    assert fan_chart([]) is None
    assert fan_chart([{"target_date": DAY, "q50": 1.0}]) is None


@given(
    st.lists(
        st.lists(st.floats(-1e3, 1e9), min_size=7, max_size=7).map(sorted), min_size=1, max_size=90
    )
)
def test_everything_is_within_the_axes(days: list[list[float]]) -> None:
    chart = fan_chart(forecast(days))
    assert chart is not None
    drawn = [point for band in chart.bands for point in points(band.points)]
    for x, y in [*drawn, *points(chart.median)]:
        assert LEFT <= x <= WIDTH - RIGHT
        assert TOP - 0.1 <= y <= HEIGHT - BOTTOM + 0.1
    assert 2 <= len(chart.value_ticks) <= 8 and 1 <= len(chart.day_ticks) <= 8


@given(st.lists(st.none() | st.floats(-1e6, 1e6), max_size=20))
def test_bars_keep_the_order_of_scores(scores: list[float | None]) -> None:
    lengths = bar_lengths(scores)
    assert len(lengths) == len(scores) and all(0 <= length <= 100 for length in lengths)
    pairs = [(s, b) for s, b in zip(scores, lengths, strict=True) if s is not None]
    bars = [bar for _, bar in sorted(pairs)]
    assert bars == sorted(bars)


def test_bars_compare_with_zero_unless_a_score_is_negative() -> None:
    assert bar_lengths([4.0, 1.0, None]) == [100.0, 25.0, 0.0]
    assert bar_lengths([1.0, -1.0]) == [100.0, 0.0]
    assert bar_lengths([0.0, 0.0]) == [0.0, 0.0] and bar_lengths([]) == []


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("because_you_liked:a1", "because they liked Milk"),
        ("because_you_liked:a2", "because they liked a2"),
        ("bought_before", "bought before"),
        ("reason_of_a_plugin", "reason_of_a_plugin"),
        (None, ""),
    ],
)
def test_reasons_in_words(reason: str | None, words: str) -> None:
    assert explain_reason(reason, {"a1": "Milk"}) == words


def test_ages_and_sources_in_words() -> None:
    hours = {0: "less than an hour", 1: "1 hour", 47: "47 hours", 48: "2 days", 80: "3 days"}
    assert {hour: age_in_words(hour * 3600) for hour in hours} == hours
    segment = {"level": "age_gender", "age_bracket": "35-44", "gender": "F"}
    assert "of age bracket 35-44, gender F." in explain_source("demographic", segment)
    assert "popular with everybody" in explain_source("popular", {"level": "everyone"})

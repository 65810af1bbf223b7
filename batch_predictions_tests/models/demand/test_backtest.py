"""Origins, measures, quantiles and the choice between methods."""

from __future__ import annotations

import datetime as dt
from typing import Self

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_predictions.models.demand import metrics
from batch_predictions.models.demand.backtest import backtest, origins_of
from batch_predictions.models.demand.base import Forecaster
from batch_predictions.models.demand.calendar import easter, flags, to_next, us_holidays
from batch_predictions.models.demand.conformal import LEVELS, ConformalCalibration
from batch_predictions.models.demand.forecasters.baselines import Mean28, SeasonalNaive
from batch_predictions.models.demand.panel import Doubles, Panel
from batch_predictions.models.demand.selection import BacktestConfig, choose, decide, select, table
from batch_predictions_tests.worlds.demand import panel, shop


class Spy(Forecaster):
    """Forecasts the number of columns it has seen and remembers when it was fitted."""

    kind = "spy"
    fits: tuple[int, ...] = ()

    def fit(self, panel: Panel) -> Self:
        """Remembers."""
        Spy.fits += (panel.columns,)
        return self

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """The number of columns."""
        return np.full((len(panel), horizon), float(panel.columns))


@pytest.mark.parametrize(("fits", "expected"), [(1, (44,)), (2, (44, 86)), (4, (44, 58, 72, 86))])
def test_an_origin_sees_what_was_known_then(fits: int, expected: tuple[int, ...]) -> None:
    Spy.fits = ()
    origins = origins_of(100, 14, 4, 14)
    assert origins == (44, 58, 72, 86)
    if fits == 2:
        expected = (44, 72)
    tested = backtest(panel(np.ones((2, 100))), {"spy": Spy}, origins, 14, fits=fits)
    assert Spy.fits == expected
    np.testing.assert_array_equal(tested.forecasts["spy"][:, 0, 0], origins)
    np.testing.assert_array_equal(tested.actual[3], np.ones((2, 14)))


def test_measures_have_their_known_answers() -> None:
    actual = np.array([[[4.0, 0.0], [2.0, np.nan]]])
    forecast = np.array([[[2.0, 1.0], [3.0, 9.0]]])
    assert metrics.wape(forecast, actual).value == pytest.approx(4 / 6)
    assert metrics.wape_sum(forecast, actual).value == pytest.approx((1 + 1) / 6)
    assert metrics.bias(forecast, actual).value == pytest.approx((-2 + 1 + 1) / 6)
    assert metrics.mase(forecast, actual, np.array([0.5, 2.0])).value == pytest.approx(
        (3 + 0.5) / 2
    )
    expected = (np.sqrt(2.5 / 4) + np.sqrt(1 / 1)) / 2
    assert metrics.rmsse(forecast, actual, np.array([4.0, 1.0])).value == pytest.approx(expected)
    inside = metrics.coverage(forecast - 1.5, forecast + 1.5, actual)
    assert inside.value == pytest.approx(2 / 3)
    loss = metrics.pinball(forecast[..., None], actual, [0.9])
    assert loss.value == pytest.approx((0.9 * 2 + 0.1 * 1 + 0.1 * 1) / 6)


def test_a_paired_difference_is_surer_than_either_value() -> None:
    random = np.random.default_rng(0)
    actual = random.gamma(0.5, 20, (3, 80, 14))
    worse = actual + random.normal(0, 5, actual.shape)
    better = actual + 0.8 * (worse - actual)
    ours, theirs = metrics.wape(better, actual), metrics.wape(worse, actual)
    found = metrics.difference(ours, theirs, 7)
    assert found.lower < found.mean < found.upper < 0
    alone = ours.interval(7)
    assert found.upper - found.lower < alone.upper - alone.lower
    assert metrics.relative(ours, theirs, 7).mean == pytest.approx(-0.2)


def test_quantiles_cover_what_they_say_for_days_and_for_sums() -> None:
    random = np.random.default_rng(1)
    size = np.exp(random.normal(1, 1, (1, 400, 1)))
    mean = np.broadcast_to(size, (8, 400, 14)) * random.uniform(0.7, 1.3, (8, 400, 14))
    # Days of an origin share a shock, so sums scatter more than independent days would.
    shock = random.gamma(4, 1 / 4, (8, 400, 1))
    actual = random.poisson(mean * shock).astype(float)
    made = ConformalCalibration.of(mean[:5], actual[:5])
    for origin in range(5, 8):
        found = made.quantiles(mean[origin])
        assert (np.diff(found, axis=-1) >= 0).all() and (found >= 0).all()
    found = np.stack([made.quantiles(mean[each]) for each in range(5, 8)])
    for low, high, asked in ((0, 6, 0.9), (1, 5, 0.8)):
        inside = metrics.coverage(found[..., low], found[..., high], actual[5:]).value
        assert inside == pytest.approx(asked, abs=0.02)
    sums = np.stack([made.sum_quantiles(mean[each], 10, [0.9]) for each in range(5, 8)])
    below = (actual[5:, :, :10].sum(axis=2) <= sums[..., 0]).mean()
    assert below == pytest.approx(0.9, abs=0.02)
    lengths = np.tile([3, 10], 200)
    mixed = made.sum_quantiles(mean[5], lengths, [0.9])
    np.testing.assert_array_equal(mixed[1::2], sums[0, 1::2])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 20))
def test_quantiles_are_ordered_and_not_negative_whatever_the_past(
    seed: int, n: int, horizon: int
) -> None:
    random = np.random.default_rng(seed)
    mean = random.gamma(0.3, 5, (2, n, horizon))
    actual = np.where(random.random(mean.shape) < 0.2, np.nan, random.poisson(mean))
    made = ConformalCalibration.of(mean, actual)
    found = made.quantiles(random.gamma(0.3, 50, (n, horizon + 3)), LEVELS)
    assert np.isfinite(found).all() and (found >= 0).all()
    assert (np.diff(found, axis=-1) >= 0).all()


def test_a_champion_is_chosen_by_origins_before_alone() -> None:
    actual = np.ones((4, 2, 7))
    good, bad = actual + 0.01, actual + 1.0
    # Method a is right for series 0, b for series 1; at the last origin they change places.
    a, b = np.stack([good[:, 0], bad[:, 1]], 1), np.stack([bad[:, 0], good[:, 1]], 1)
    a[3], b[3] = b[3].copy(), a[3].copy()
    found, champions = choose({"a": a, "b": b}, actual)
    np.testing.assert_array_equal(found[0], a[0])
    np.testing.assert_array_equal(found[1:3], np.stack([good[1:3, 0], good[1:3, 1]], 1))
    np.testing.assert_array_equal(found[3], np.stack([bad[3, 0], bad[3, 1]]))
    assert champions.tolist() == [0, 1]


def test_a_short_lucky_record_makes_no_champion() -> None:
    random = np.random.default_rng(2)
    actual = random.poisson(3, (3, 300, 14)).astype(float)
    right = np.full_like(actual, 3.0)
    wrong = right * random.choice([0.4, 1.8], (3, 300, 14))
    _, champions = choose({"right": right, "wrong": wrong}, actual)
    assert (champions == 0).mean() > 0.97


def test_the_gate_asks_for_the_sum_and_for_the_bias() -> None:
    random = np.random.default_rng(3)
    days = 200
    y = random.poisson(5 * (1 + (np.arange(days) % 7 == 5)), (60, days)).astype(float)
    tested = backtest(
        panel(y), {"mean28_weekday": Mean28, "seasonal_naive": SeasonalNaive}, [150, 170], 14
    )
    forecasts = dict(tested.forecasts)
    # What a logarithm buys: a fitting shape, a level that is too low.
    forecasts["low"] = tested.actual * 0.9
    forecasts["fair"] = tested.actual * 0.5 + forecasts["mean28_weekday"] * 0.5
    both = type(tested)(tested.origins, tested.actual, forecasts, tested.scale, tested.spread)
    _, found = table(both, "mean28_weekday", 7)
    winner, passed, why = decide(found, BacktestConfig(max_bias=0.05))
    assert (winner, passed) == ("fair", True) and "below mean28_weekday" in why
    only = {name: found[name] for name in ("mean28_weekday", "low")}
    winner, passed, why = decide(only, BacktestConfig(max_bias=0.05))
    assert (winner, passed) == ("low", False) and "bias" in why
    weak = {name: found[name] for name in ("mean28_weekday", "seasonal_naive")}
    winner, passed, why = decide(weak, BacktestConfig())
    assert (winner, passed) == ("seasonal_naive", False) and why.endswith("not surely better")


def test_a_contest_ends_with_a_fitted_model_and_the_table_of_all() -> None:
    world = shop(n=50, days=200)
    candidates = ("mean28_weekday", "linear_promotions", "lightgbm")
    options = {"lightgbm": {"rounds": 60, "lgb_min_data_in_leaf": 30}}
    contest = BacktestConfig(candidates, horizon=7, origins=4, step_size=7, options=options)
    found = select(world, contest)
    assert found.model is not None, found.why
    assert found.winner in ("linear_promotions", "lightgbm", "chosen")
    named = list(dict.fromkeys(each.candidate for each in found.figures))
    assert named == [*candidates, "chosen"]
    measured = {each.metric for each in found.figures if each.candidate == "lightgbm"}
    assert measured == {
        *("wape", "wape_sum", "bias", "rmsse", "mase", "pinball"),
        *("coverage_80", "coverage_90", "wape_sum_gain"),
    }
    assert all(each.lower <= each.value <= each.upper for each in found.figures)
    prediction = found.model.predict(world, 7)
    assert prediction.quantiles.shape == (50, 7, 7)
    assert found.fallback.predict(world, 7).methods == ["mean28_weekday"] * 50


def test_too_short_a_panel_is_told() -> None:
    with pytest.raises(ValueError, match="80 columns are too few for 6 origins"):
        select(panel(np.ones((2, 80))), BacktestConfig(candidates=("seasonal_naive",)))


def test_holidays_fall_where_they_do() -> None:
    found = us_holidays([2017])
    assert {dt.date(2017, 4, 16), dt.date(2017, 5, 29), dt.date(2017, 9, 4)} <= found
    assert {dt.date(2017, 11, 23), dt.date(2017, 12, 25)} <= found and len(found) == 7
    assert [easter(year) for year in (2024, 2025)] == [dt.date(2024, 3, 31), dt.date(2025, 4, 20)]
    days = np.arange(np.datetime64("2017-12-23"), np.datetime64("2017-12-28"))
    marks = flags(days, found)
    assert marks.tolist() == [0, 0, 1, 0, 0]
    assert to_next(marks, 3).tolist() == [2, 1, 0, 3, 3]

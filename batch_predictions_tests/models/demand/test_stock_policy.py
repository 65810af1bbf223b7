"""Stock policies and their simulator: known answers, and properties that hold for any demand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from scipy import stats

from batch_predictions.cli.commands.benchmark_command import load_benchmark
from batch_predictions.models.demand.stock_policy import (
    MAX_SERVICE_LEVEL,
    OrderTerms,
    StockLevels,
    critical_ratio,
    order_quantity,
    stock_levels,
)

simulate = load_benchmark("stock_simulation").simulate
DEFAULTS = {
    "lead_time_days": 3,
    "review_days": 4,
    "service_level": 0.95,
    "pack_size": 1.0,
    "min_order": 0.0,
    "holding_cost": None,
    "lost_sale_cost": None,
}
UNITS = st.floats(0, 1e6, allow_nan=False)


def terms_of_item(**attributes: float) -> OrderTerms:
    """The terms of one item with some attributes."""
    missing = {name: np.array([np.nan]) for name in DEFAULTS}
    item_terms = {name: np.array([value]) for name, value in attributes.items()}
    return OrderTerms.from_items({**missing, **item_terms}, DEFAULTS)


def levels_of_item(reorder_point: float, order_up_to: float) -> StockLevels:
    """The stock levels of one item."""
    return StockLevels(np.array([reorder_point]), np.array([order_up_to]), np.array([0.0]))


def test_an_items_attributes_take_precedence_over_the_defaults() -> None:
    defaults = terms_of_item()
    assert (defaults.lead_days[0], defaults.review_days[0], defaults.cycle_days[0]) == (3, 4, 7)
    assert (defaults.service_level[0], defaults.pack_size[0], defaults.min_order[0]) == (0.95, 1, 0)
    terms = terms_of_item(
        lead_time_days=9.2, review_days=1, service_level=0.8, pack_size=6, min_order=24
    )
    assert (terms.lead_days[0], terms.review_days[0], terms.service_level[0]) == (10, 1, 0.8)
    assert (terms.pack_size[0], terms.min_order[0]) == (6, 24)


@pytest.mark.parametrize(
    "invalid",
    [{"lead_time_days": -2}, {"review_days": 0}, {"service_level": 95}, {"pack_size": 0}],
)
def test_invalid_terms_are_replaced_by_the_defaults(invalid: dict[str, float]) -> None:
    terms, defaults = terms_of_item(**invalid), terms_of_item()
    for name in ("lead_days", "review_days", "service_level", "pack_size", "min_order"):
        assert getattr(terms, name)[0] == getattr(defaults, name)[0]


def test_known_costs_take_precedence_over_the_service_level() -> None:
    # A unit too many is held for the 4 days until the next order: 9 / (9 + 4 * 0.25) = 0.9.
    terms = terms_of_item(lost_sale_cost=9, holding_cost=0.25)
    assert terms.service_level[0] == pytest.approx(0.9)
    assert terms_of_item(lost_sale_cost=9).service_level[0] == 0.95
    extreme = terms_of_item(lost_sale_cost=1e9, holding_cost=1e-9)
    assert extreme.service_level[0] == MAX_SERVICE_LEVEL


def test_the_critical_ratio_minimises_the_newsvendors_expected_cost() -> None:
    shortage_cost, excess_cost, demand = 5.0, 2.0, stats.poisson(12)
    demanded = np.arange(60)

    def cost(quantity: int) -> float:
        excess, shortage = np.maximum(quantity - demanded, 0), np.maximum(demanded - quantity, 0)
        costs = excess_cost * excess + shortage_cost * shortage
        return float((demand.pmf(demanded) * costs).sum())

    best = min(range(40), key=cost)
    ratio = critical_ratio(np.array([shortage_cost]), np.array([excess_cost]))
    assert best == demand.ppf(ratio)[0]


def test_stock_levels_of_normal_demand_equal_the_textbooks() -> None:
    """Mean 10 and deviation 3 a day, lead time 3, review 4, service level 95 %: z = 1.645."""
    z = stats.norm.ppf(0.95)
    lead, cycle = 30 + z * 3 * np.sqrt(3), 70 + z * 3 * np.sqrt(7)
    levels = stock_levels(np.array([lead]), np.array([cycle]), np.array([70.0]))
    assert levels.reorder_point[0] == pytest.approx(38.55, abs=0.01)
    assert levels.order_up_to[0] == pytest.approx(83.06, abs=0.01)
    assert levels.safety_stock[0] == pytest.approx(z * 3 * np.sqrt(7))


@pytest.mark.parametrize(
    ("position", "pack_size", "min_order", "expected"),
    [
        (40, 1, 0, 10),
        (50, 1, 0, 0),
        (60, 1, 0, 0),
        (41, 6, 0, 12),  # 9 are needed: two packs
        (-5, 1, 0, 55),  # more was sold than was counted
        (45, 1, 12, 0),  # 5 are needed, the minimum is 12, and it is not urgent
        (20, 1, 12, 30),
        (19, 1, 40, 40),  # at the reorder point the minimum is ordered
        (19, 6, 40, 42),
        (49.9999999999, 1, 0, 0),  # a rounding error is not ordered
    ],
)
def test_orders_are_whole_packs_and_reach_the_minimum(
    position: float, pack_size: float, min_order: float, expected: float
) -> None:
    levels = levels_of_item(reorder_point=20, order_up_to=50)
    quantity = order_quantity(np.array([position]), levels, pack_size, min_order)
    assert quantity[0] == expected


@given(UNITS, UNITS, UNITS, st.floats(-1e3, 1e6), st.floats(0.5, 100), st.floats(0, 500))
def test_stock_levels_are_ordered_and_orders_reach_them(
    lead: float, cycle: float, mean: float, position: float, pack_size: float, min_order: float
) -> None:
    levels = stock_levels(np.array([lead]), np.array([cycle]), np.array([mean]))
    assert 0 <= levels.reorder_point[0] <= levels.order_up_to[0] and levels.safety_stock[0] >= 0
    quantity = order_quantity(np.array([position]), levels, pack_size, min_order)[0]
    assert quantity >= 0 and abs(quantity / pack_size - round(quantity / pack_size)) < 1e-6
    tolerance = 1e-6 * max(1, pack_size)
    if quantity:
        assert position + quantity >= levels.order_up_to[0] - tolerance
        assert quantity >= min_order - 1e-6
    elif position <= levels.reorder_point[0]:
        assert position >= levels.order_up_to[0] - tolerance


def test_the_simulator_agrees_with_a_calculation_by_hand() -> None:
    """Order up to 5 every second evening, lead time of two days, initial stock of 4."""
    demand = np.array([[3.0, 3.0, 1.0, 4.0, 0.0]])
    simulation = simulate(demand, lambda day, position: 5 - position, 2, 2, np.array([4.0]))
    assert simulation.sold.tolist() == [[3, 1, 0, 4, 0]]
    assert simulation.ordered.tolist() == [[4, 0, 1, 0, 4]]
    assert simulation.received.tolist() == [[0, 0, 4, 0, 1]]
    assert simulation.stock.tolist() == [[1, 0, 4, 0, 1]]


@given(
    seed=st.integers(0, 10**6),
    max_lead_days=st.integers(1, 9),
    review_days=st.integers(1, 9),
    days=st.integers(1, 60),
)
@budget(max_examples=60, deadline=None)
def test_the_simulator_conserves_units(
    seed: int, max_lead_days: int, review_days: int, days: int
) -> None:
    random = np.random.default_rng(seed)
    demand = random.poisson(3, (4, days)).astype(float)
    start, order_up_to = random.uniform(0, 20, 4), random.uniform(0, 60, 4)
    leads = random.integers(1, max_lead_days + 1, 4)
    simulation = simulate(
        demand, lambda day, position: order_up_to - position, leads, review_days, start
    )
    balance = start + simulation.received.sum(axis=1) - simulation.sold.sum(axis=1)
    np.testing.assert_allclose(balance, simulation.stock[:, -1], atol=1e-9)
    assert (simulation.sold <= demand).all() and (simulation.stock >= 0).all()
    due = sum(simulation.ordered[n, : max(days - leads[n], 0)].sum() for n in range(4))
    assert simulation.received.sum() == pytest.approx(due)
    later = simulation.from_day(days // 2)
    balance = later.initial_stock + later.received.sum(axis=1) - later.sold.sum(axis=1)
    np.testing.assert_allclose(balance, simulation.stock[:, -1], atol=1e-9)


def test_a_higher_order_up_to_level_sells_more_and_holds_more() -> None:
    demand = np.random.default_rng(0).poisson(5, (20, 120)).astype(float)
    simulations = [
        simulate(demand, lambda day, position, level=level: level - position, 3, 4)
        for level in (30, 40, 50)
    ]
    sold = [simulation.sold.sum() for simulation in simulations]
    stocks = [simulation.stock.sum() for simulation in simulations]
    assert sold == sorted(sold) and sold[0] < sold[-1]
    assert stocks == sorted(stocks)


def test_ordering_up_to_the_quantile_of_the_cycle_reaches_the_service_level() -> None:
    """Poisson demand with a known mean: the share of cycles without a lost sale is the level."""
    random = np.random.default_rng(1)
    demand = random.poisson(4, (400, 7 * 30)).astype(float)
    order_up_to = stats.poisson(4 * 7).ppf(0.9)
    simulation = simulate(
        demand, lambda day, position: order_up_to - position, 3, 4, np.full(400, order_up_to)
    )
    lost = (demand - simulation.sold)[:, 28 : 28 + 4 * 40]
    is_filled = lost.reshape(400, -1, 4).sum(axis=2) == 0
    assert 0.88 < is_filled.mean() < 0.96


@pytest.mark.parametrize(("lead_days", "review_days"), [(0, 1), (1, 0)])
def test_periods_of_less_than_a_day_are_refused(lead_days: int, review_days: int) -> None:
    with pytest.raises(ValueError, match="at least one day"):
        simulate(np.ones((1, 3)), lambda day, position: position, lead_days, review_days)

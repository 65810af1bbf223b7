"""Stock policies: known answers, and what holds for every demand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from scipy import stats

from batch_predictions.models.demand.replenishment.policy import (
    LARGEST_LEVEL,
    OrderTerms,
    StockLevels,
    critical_ratio,
    order_quantity,
    stock_levels,
)
from batch_predictions.models.demand.replenishment.simulator import simulate

USUAL = {
    "lead_time_days": 3,
    "review_days": 4,
    "service_level": 0.95,
    "pack_size": 1.0,
    "min_order": 0.0,
    "holding_cost": None,
    "lost_sale_cost": None,
}
AMOUNTS = st.floats(0, 1e6, allow_nan=False)


def terms(**own: float) -> OrderTerms:
    """Of one item with terms of its own."""
    nothing = {name: np.array([np.nan]) for name in USUAL}
    return OrderTerms.of({**nothing, **{k: np.array([v]) for k, v in own.items()}}, USUAL)


def stock(reorder_point: float, order_up_to: float) -> StockLevels:
    return StockLevels(np.array([reorder_point]), np.array([order_up_to]), np.array([0.0]))


def test_an_item_without_terms_has_the_usual_ones_and_its_own_win() -> None:
    usual = terms()
    assert (usual.lead[0], usual.review[0], usual.cycle[0]) == (3, 4, 7)
    assert (usual.level[0], usual.pack[0], usual.least[0]) == (0.95, 1, 0)
    own = terms(lead_time_days=9.2, review_days=1, service_level=0.8, pack_size=6, min_order=24)
    assert (own.lead[0], own.review[0], own.level[0]) == (10, 1, 0.8)
    assert (own.pack[0], own.least[0]) == (6, 24)


@pytest.mark.parametrize(
    "nonsense",
    [{"lead_time_days": -2}, {"review_days": 0}, {"service_level": 95}, {"pack_size": 0}],
)
def test_terms_that_cannot_be_are_the_usual_ones(nonsense: dict[str, float]) -> None:
    given, usual = terms(**nonsense), terms()
    assert given == usual or all(
        getattr(given, name)[0] == getattr(usual, name)[0]
        for name in ("lead", "review", "level", "pack", "least")
    )


def test_costs_of_both_kinds_beat_the_service_level() -> None:
    # A unit too many is kept for the 4 days until the next order: 9 / (9 + 4 * 0.25) = 0.9.
    assert terms(lost_sale_cost=9, holding_cost=0.25).level[0] == pytest.approx(0.9)
    assert terms(lost_sale_cost=9).level[0] == 0.95
    assert terms(lost_sale_cost=1e9, holding_cost=1e-9).level[0] == LARGEST_LEVEL


def test_the_critical_ratio_minimises_the_newsvendors_expected_cost() -> None:
    shortage, excess, demand = 5.0, 2.0, stats.poisson(12)
    wanted = np.arange(60)

    def cost(quantity: int) -> float:
        over, under = np.maximum(quantity - wanted, 0), np.maximum(wanted - quantity, 0)
        return float((demand.pmf(wanted) * (excess * over + shortage * under)).sum())

    best = min(range(40), key=cost)
    ratio = critical_ratio(np.array([shortage]), np.array([excess]))
    assert best == demand.ppf(ratio)[0]


def test_levels_of_a_normal_demand_are_the_textbooks() -> None:
    """Mean 10 and deviation 3 a day, lead time 3, review 4, service level 95 %: z = 1.645."""
    z = stats.norm.ppf(0.95)
    lead, cycle = 30 + z * 3 * np.sqrt(3), 70 + z * 3 * np.sqrt(7)
    found = stock_levels(np.array([lead]), np.array([cycle]), np.array([70.0]))
    assert found.reorder_point[0] == pytest.approx(38.55, abs=0.01)
    assert found.order_up_to[0] == pytest.approx(83.06, abs=0.01)
    assert found.safety_stock[0] == pytest.approx(z * 3 * np.sqrt(7))


@pytest.mark.parametrize(
    ("position", "pack", "least", "ordered"),
    [
        (40, 1, 0, 10),
        (50, 1, 0, 0),
        (60, 1, 0, 0),
        (41, 6, 0, 12),  # 9 are needed: two packs
        (-5, 1, 0, 55),  # more was sold than there was
        (45, 1, 12, 0),  # 5 are needed, 12 the least, and there is time
        (20, 1, 12, 30),
        (19, 1, 40, 40),  # at the reorder point the least is ordered
        (19, 6, 40, 42),
        (49.9999999999, 1, 0, 0),  # what rounding leaves is no order
    ],
)
def test_orders_are_of_whole_packs_and_not_less_than_the_least_unless_it_is_urgent(
    position: float, pack: float, least: float, ordered: float
) -> None:
    found = order_quantity(np.array([position]), stock(20, 50), pack, least)
    assert found[0] == ordered


@given(AMOUNTS, AMOUNTS, AMOUNTS, st.floats(-1e3, 1e6), st.floats(0.5, 100), st.floats(0, 500))
def test_levels_are_in_order_and_orders_reach_them(
    lead: float, cycle: float, mean: float, position: float, pack: float, least: float
) -> None:
    found = stock_levels(np.array([lead]), np.array([cycle]), np.array([mean]))
    assert 0 <= found.reorder_point[0] <= found.order_up_to[0] and found.safety_stock[0] >= 0
    quantity = order_quantity(np.array([position]), found, pack, least)[0]
    assert quantity >= 0 and abs(quantity / pack - round(quantity / pack)) < 1e-6
    if quantity:
        assert position + quantity >= found.order_up_to[0] - 1e-6 * max(1, pack)
        assert quantity >= least - 1e-6
    elif position <= found.reorder_point[0]:
        assert position >= found.order_up_to[0] - 1e-6 * max(1, pack)


def test_a_day_of_the_simulator_counted_on_fingers() -> None:
    """Order up to 5 every second evening, two days on the way, from a shelf of 4."""
    demand = np.array([[3.0, 3.0, 1.0, 4.0, 0.0]])
    found = simulate(demand, lambda day, position: 5 - position, 2, 2, np.array([4.0]))
    assert found.sold.tolist() == [[3, 1, 0, 4, 0]]
    assert found.ordered.tolist() == [[4, 0, 1, 0, 4]]
    assert found.received.tolist() == [[0, 0, 4, 0, 1]]
    assert found.stock.tolist() == [[1, 0, 4, 0, 1]]
    assert found.fill_rate == pytest.approx(8 / 11)
    assert found.mean_stock == pytest.approx(6 / 5)
    assert found.cost(holding=0.5, lost_sale=2.0) == pytest.approx(0.5 * 6 + 2 * 3)


@given(
    seed=st.integers(0, 10**6),
    lead=st.integers(1, 9),
    review=st.integers(1, 9),
    days=st.integers(1, 60),
)
@budget(max_examples=60, deadline=None)
def test_nothing_is_made_and_nothing_lost_in_the_simulator(
    seed: int, lead: int, review: int, days: int
) -> None:
    random = np.random.default_rng(seed)
    demand = random.poisson(3, (4, days)).astype(float)
    start, up_to = random.uniform(0, 20, 4), random.uniform(0, 60, 4)
    leads = random.integers(1, lead + 1, 4)
    found = simulate(demand, lambda day, position: up_to - position, leads, review, start)
    flow = start + found.received.sum(axis=1) - found.sold.sum(axis=1)
    np.testing.assert_allclose(flow, found.stock[:, -1], atol=1e-9)
    assert (found.sold <= demand).all() and (found.stock >= 0).all()
    arrived = sum(found.ordered[n, : max(days - leads[n], 0)].sum() for n in range(4))
    assert found.received.sum() == pytest.approx(arrived)
    later = found.from_day(days // 2)
    flow = later.start + later.received.sum(axis=1) - later.sold.sum(axis=1)
    np.testing.assert_allclose(flow, found.stock[:, -1], atol=1e-9)


def test_a_higher_level_sells_more_and_keeps_more() -> None:
    demand = np.random.default_rng(0).poisson(5, (20, 120)).astype(float)
    replays = [
        simulate(demand, lambda day, position, up=up: up - position, 3, 4) for up in (30, 40, 50)
    ]
    fills, stocks = [r.fill_rate for r in replays], [r.mean_stock for r in replays]
    assert fills == sorted(fills) and stocks == sorted(stocks) and fills[0] < fills[-1]


def test_a_base_stock_of_the_cycles_quantile_keeps_its_service_level() -> None:
    """Poisson demand, known exactly: the share of cycles without a lost sale is the level."""
    random = np.random.default_rng(1)
    demand = random.poisson(4, (400, 7 * 30)).astype(float)
    up_to = stats.poisson(4 * 7).ppf(0.9)
    found = simulate(demand, lambda day, position: up_to - position, 3, 4, np.full(400, up_to))
    lost = (demand - found.sold)[:, 28 : 28 + 4 * 40]
    cycles = lost.reshape(400, -1, 4).sum(axis=2) == 0
    assert 0.88 < cycles.mean() < 0.96


@pytest.mark.parametrize(("lead", "review"), [(0, 1), (1, 0)])
def test_a_simulator_without_time_is_refused(lead: int, review: int) -> None:
    with pytest.raises(ValueError, match="at least one day"):
        simulate(np.ones((1, 3)), lambda day, position: position, lead, review)

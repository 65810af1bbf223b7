"""A planted world through training, forecasts and orders: weekdays and promotions are found."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.home import State, write_state
from batch_predictions.inference.dagster.io_manager import JsonPathIOManager
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext
from batch_predictions.model_store import ModelStore
from batch_predictions.models.demand.panel_builder import PanelSpec
from batch_predictions.models.demand.training import UNTRAINED, DemandModels
from batch_predictions.predictions import demand_plots
from batch_predictions.predictions.demand import DemandScorer, demand_forecasts
from batch_predictions.predictions.demand import parameters as forecast_parameters
from batch_predictions.predictions.replenishment import replenishment_orders
from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.lookup.demand import forecast, forecast_lines, order_lines, orders
from batch_predictions.serving.release.publish import publish
from batch_predictions.serving.store.schema import Store
from batch_predictions.settings import DemandSettings, Settings
from batch_predictions.tables import INVENTORY
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.home import features_asset, model_asset, prediction_asset
from batch_predictions_tests.worlds.paths import CONTRACT
from batch_predictions_tests.worlds.sales import counted, goods, promoted, sold

MONDAY = dt.date(2024, 1, 1)
WEEKS = 16
SUNDAY = MONDAY + dt.timedelta(days=7 * WEEKS - 1)
WEEK = (SUNDAY - dt.timedelta(days=6)).isoformat()
ITEMS = 8
WEEKDAYS = (1.0, 1.0, 1.0, 1.0, 1.5, 2.0, 1.5)
LIFT = 3.0
DAILY = 10.0


def promotion_weeks(item: int) -> list[dt.date]:
    """Every fourth week of an item, in turn; the coming one is of items 0 and 4."""
    return [MONDAY + dt.timedelta(days=7 * n) for n in range(WEEKS + 2) if n % 4 == item % 4]


def settings_of(home: Path, **chosen: object) -> Settings:
    given = {
        "candidates": ["linear_promotions"],
        "origins": 3,
        "levels": ["item", "category"],
        **chosen,
    }
    return Settings(home=home, demand=DemandSettings(**given))  # type: ignore[arg-type]


def materialize(settings: Settings, assets: Sequence[dg.AssetsDefinition], key: str) -> None:
    resources = {
        "settings": settings,
        "warehouse": Warehouse.of(settings),
        "models": ModelStore.of(settings),
        "handles": JsonPathIOManager(home=str(settings.home)),
    }
    assert dg.materialize(list(assets), partition_key=key, resources=resources).success


def night(settings: Settings, day: dt.date) -> None:
    """Features, forecasts and orders of a day."""
    key = day.isoformat()
    materialize(settings, [features_asset("demand")], key)
    materialize(settings, [prediction_asset(demand_forecasts)], key)
    materialize(settings, [prediction_asset(replenishment_orders)], key)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tests_state: State) -> Settings:
    """Sixteen weeks of eight items, trained and predicted as of their last Sunday."""
    settings = settings_of(tmp_path_factory.mktemp("demand") / "home")
    write_state(settings.home, tests_state)
    warehouse = Warehouse.of(settings)
    random = np.random.default_rng(5)
    goods(
        warehouse,
        *({"item_id": f"i{n}", "category": "ab"[n % 2]} for n in range(ITEMS - 1)),
        {"item_id": "i7", "category": "b", "attributes": {"pack_size": "12", "review_days": "7"}},
        {"item_id": "slow", "attributes": {"lead_time_days": "30"}},
    )
    sales = []
    for step in range(7 * WEEKS):
        day = MONDAY + dt.timedelta(days=step)
        for item in range(ITEMS):
            lift = LIFT if day - dt.timedelta(days=day.weekday()) in promotion_weeks(item) else 1
            units = random.poisson(DAILY * WEEKDAYS[day.weekday()] * lift)
            sales.append({"day": day, "item": f"i{item}", "quantity": float(units)})
        sales.append({"day": day, "item": "slow", "quantity": 1.0})
    # An item that is new, and is not forecast yet.
    sales += [{"day": SUNDAY - dt.timedelta(days=n), "item": "new"} for n in range(5)]
    sold(warehouse, sales)
    promoted(
        warehouse,
        [MONDAY + dt.timedelta(days=7 * n) for n in range(WEEKS + 2)],
        *(
            {"item": f"i{item}", "starts": week, "ends": week + dt.timedelta(days=6)}
            for item in range(ITEMS)
            for week in promotion_weeks(item)
        ),
    )
    counted(warehouse, SUNDAY, *({"item": f"i{n}", "on_hand": 5.0 * n} for n in range(1, ITEMS)))
    materialize(settings, [model_asset("demand")], WEEK)
    night(settings, SUNDAY)
    return settings


def ask(settings: Settings, sql: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = Warehouse.of(settings).query(sql, {"date": SUNDAY}).to_pylist()
    return rows


def means(settings: Settings, item: str) -> np.ndarray:
    rows = ask(
        settings,
        f"select mean from predictions.demand_forecasts where date = $date and item_id = '{item}' "
        "order by target_date",
    )
    return np.array([row["mean"] for row in rows], float)


def test_the_champion_beats_the_baseline_and_says_so(world: Settings) -> None:
    [decision] = ModelStore.of(world).decisions("demand")
    assert decision.decision == "promoted" and "item:" in decision.why
    rows = ask(
        world,
        "select candidate, value from evaluation.model_metrics where model = 'demand' "
        "and metric = 'wape_sum'",
    )
    wape = {str(row["candidate"]): float(str(row["value"])) for row in rows}
    assert {"mean28_weekday", "seasonal_naive", "linear_promotions"} <= set(wape)
    assert wape["linear_promotions"] < 0.7 * wape["mean28_weekday"]


def test_a_planted_weekday_pattern_is_forecast(world: Settings) -> None:
    week = np.mean([means(world, f"i{item}")[:7] for item in (1, 2, 5)], axis=0)
    np.testing.assert_allclose(week, DAILY * np.array(WEEKDAYS), rtol=0.3)


def test_the_lift_of_a_promotion_that_is_known_ahead_is_forecast(world: Settings) -> None:
    promoted_now = np.mean([means(world, f"i{item}")[:7].sum() for item in (0, 4)])
    not_promoted = np.mean([means(world, f"i{item}")[:7].sum() for item in (2, 3, 6, 7)])
    assert 0.7 * LIFT < promoted_now / not_promoted < 1.3 * LIFT


def test_quantiles_are_in_order_and_hold_the_planted_means(world: Settings) -> None:
    [row] = ask(
        world,
        """select count(*) as rows, count(distinct target_date) as days,
        count(*) filter (0 <= q05 and q05 <= q10 and q10 <= q25 and q25 <= q50 and q50 <= q75
            and q75 <= q90 and q90 <= q95) as ordered
        from predictions.demand_forecasts where date = $date""",
    )
    assert row["rows"] == row["ordered"] and row["days"] == 14
    [sums] = ask(
        world,
        "select q50, q95, q99, level, q_level from predictions.lead_time_demand where "
        "date = $date and item_id = 'i2' and days = 7",
    )
    expected = DAILY * sum(WEEKDAYS)
    assert float(str(sums["q50"])) == pytest.approx(expected, rel=0.3)
    assert float(str(sums["q95"])) > expected * 0.95
    assert sums["level"] == 0.95 and sums["q_level"] == sums["q95"]


def test_totals_of_categories_are_forecast_and_not_ordered(world: Settings) -> None:
    total = means(world, "category:a")
    parts = sum(means(world, f"i{item}") for item in (0, 2, 4, 6))
    assert total.sum() == pytest.approx(float(np.sum(parts)), rel=0.35)
    rows = ask(world, "select item_id from predictions.replenishment_orders where date = $date")
    assert sorted(str(row["item_id"]) for row in rows) == [f"i{n}" for n in range(ITEMS)]


def test_orders_cover_what_is_coming_in_whole_packs(world: Settings) -> None:
    rows = ask(
        world, "select * from predictions.replenishment_orders where date = $date order by item_id"
    )
    found = {str(row["item_id"]): row for row in rows}
    promotion, usual = found["i4"], found["i2"]
    week = DAILY * sum(WEEKDAYS)
    assert float(str(promotion["order_up_to"])) > 0.9 * LIFT * week
    assert week * 0.9 < float(str(usual["order_up_to"])) < 2 * week
    quantity = float(str(usual["order_quantity"]))
    assert 10.0 + quantity >= float(str(usual["order_up_to"])) > 10.0 + quantity - 1
    # Stock of the first item was not counted: its levels stand alone.
    assert found["i0"]["on_hand"] is None and found["i0"]["order_quantity"] is None
    assert float(str(found["i7"]["order_quantity"])) % 12 == 0
    assert (found["i7"]["review_days"], usual["review_days"]) == (7, 4)
    assert float(str(found["i7"]["order_up_to"])) > float(str(usual["order_up_to"]))


def test_whoever_gets_no_row_is_named_with_the_reason(world: Settings) -> None:
    rows = ask(
        world,
        "select table_name, key, reason from predictions.exclusions where date = $date "
        "order by all",
    )
    found = {(row["table_name"], row["key"]): str(row["reason"]) for row in rows}
    assert set(found) == {
        ("demand_forecasts", "new|all"),
        ("replenishment_orders", "new|all"),
        ("replenishment_orders", "slow|all"),
    }
    assert "5 days old" in found["demand_forecasts", "new|all"]
    assert "no forecast" in found["replenishment_orders", "new|all"]
    assert "34 days" in found["replenishment_orders", "slow|all"]


def test_a_day_made_again_is_the_same(world: Settings) -> None:
    warehouse = Warehouse.of(world)
    tables = (demand_forecasts.table, *demand_forecasts.child_tables.values())
    paths = [
        warehouse.path(table, SUNDAY.isoformat()) for table in (*tables, replenishment_orders.table)
    ]
    before = [path.read_bytes() for path in paths]
    # Results that were kept would prove nothing.
    shutil.rmtree(world.home / "inference")
    night(world, SUNDAY)
    assert [path.read_bytes() for path in paths] == before


def test_a_series_is_forecast_alike_whatever_stands_beside_it(world: Settings) -> None:
    manifest = ModelStore.of(world).champion("demand", SUNDAY, 35, dt.date.fromisoformat(WEEK))
    folder = ModelStore.of(world).verified_folder("demand", manifest.version)
    scorer = DemandScorer.open(ScorerContext(folder, {}, dict(forecast_parameters(world))))
    rows = Warehouse.of(world).query(demand_forecasts.rows, {"date": SUNDAY})
    together = pa.Table.from_batches([scorer.score(rows.combine_chunks().to_batches()[0])])
    alone = [
        scorer.score(rows.slice(n, 1).combine_chunks().to_batches()[0])
        for n in range(rows.num_rows)
    ]
    order = [("item_id", "ascending"), ("target_date", "ascending")]
    columns = [name for name in together.column_names if name != "lead_time_demand"]
    apart = pa.Table.from_batches(alone).select(columns).sort_by(order)
    assert apart.equals(together.select(columns).sort_by(order))


def test_without_a_series_that_is_long_enough_nothing_is_learned_and_nothing_fails(
    tmp_path: Path, tests_state: State
) -> None:
    """A source whose rows carry no time has them all on one day."""
    settings = settings_of(tmp_path / "home")
    write_state(settings.home, tests_state)
    warehouse = Warehouse.of(settings)
    sold(warehouse, [{"day": SUNDAY, "item": f"i{n % 3}", "quantity": 1.0} for n in range(9)])
    counted(warehouse, SUNDAY)
    materialize(settings, [model_asset("demand")], WEEK)
    [decision] = ModelStore.of(settings).decisions("demand")
    assert decision.decision == "baseline"
    night(settings, SUNDAY)
    for table in ("demand_forecasts", "lead_time_demand", "replenishment_orders"):
        assert ask(settings, f"from predictions.{table}") == []
    [row] = ask(
        settings,
        "select count(*) as n, any_value(reason) as reason from predictions.exclusions "
        "where table_name = 'demand_forecasts'",
    )
    assert row["n"] == 4 and "1 days old" in str(row["reason"])
    manifest = ModelStore.of(settings).champion("demand", SUNDAY, 35, dt.date.fromisoformat(WEEK))
    assert manifest.candidate == UNTRAINED


def test_a_level_that_was_not_trained_is_excluded(tmp_path: Path) -> None:
    frame = PanelSpec(history_days=30, horizon=14)
    DemandModels(frame).save(tmp_path / "model")
    scorer = DemandScorer.open(
        ScorerContext(tmp_path / "model", {}, dict(forecast_parameters(Settings())))
    )
    rows = pa.RecordBatch.from_pylist(
        [
            {
                "date": SUNDAY,
                "item_id": "a",
                "location": "all",
                "level": "item",
                "category": "x",
                "first_date": SUNDAY - dt.timedelta(days=40),
                "units": [1.0],
            }
        ]
    )
    [row] = scorer.score(rows).to_pylist()
    assert row["item_id"] == "a" and "item" in row[EXCLUDED] and row["mean"] is None


def test_stock_of_several_places_is_one_and_old_counts_do_not_count(world: Settings) -> None:
    warehouse = Warehouse.of(world)
    kept = warehouse.path(INVENTORY, SUNDAY.isoformat()).read_bytes()
    query, parameters = replenishment_orders.rows, dict(replenishment_orders.parameters(world))
    counted(
        warehouse,
        SUNDAY,
        {"item": "i1", "on_hand": 3.0, "on_order": 2.0, "location": "east"},
        {"item": "i1", "on_hand": 4.0, "location": "west"},
        {"item": "i2", "on_hand": None, "location": "west"},
    )
    yesterday = SUNDAY - dt.timedelta(days=1)
    counted(warehouse, yesterday, {"item": "i2", "on_hand": 9.0})
    try:
        for age, second in ((0, None), (1, 9.0)):
            bound = {**parameters, "date": SUNDAY, "stock_max_age_days": age}
            rows = {row["item_id"]: row for row in warehouse.query(query, bound).to_pylist()}
            assert (rows["i1"]["on_hand"], rows["i1"]["on_order"]) == (7, 2)
            assert rows["i2"]["on_hand"] == second
    finally:
        warehouse.path(INVENTORY, SUNDAY.isoformat()).write_bytes(kept)
        warehouse.remove_partition(INVENTORY, yesterday.isoformat())


@pytest.fixture(scope="module")
def lookup(world: Settings) -> Iterator[Lookup]:
    """The release of the world's last day."""
    tables = [*demand_forecasts.released_tables, *replenishment_orders.released_tables]
    store = Store.of(world)
    publish(store, Warehouse.of(world), SUNDAY, tables, keep=2, now=dt.datetime(2024, 4, 22))
    store.close()
    with Lookup(world) as opened:
        yield opened


def test_a_lookup_tells_an_items_coming_days_and_sums(lookup: Lookup) -> None:
    answer = forecast(lookup, "i4")
    assert answer["as_of"] == SUNDAY.isoformat() and len(answer["forecasts"]) == 14
    assert [row["days"] for row in answer["lead_time_demand"]] == [3, 7]
    days = [row["target_date"] for row in answer["forecasts"]]
    assert days == sorted(days) and days[0] == SUNDAY + dt.timedelta(days=1)
    text = "\n".join(forecast_lines(answer))
    assert "units in 14 days" in text and "Mon 22 Apr" in text and "with a chance of 95%" in text
    assert len(forecast(lookup, "category:a")["forecasts"]) == 14


def test_a_lookup_of_what_is_not_forecast_says_so(lookup: Lookup) -> None:
    for item in ("new", "nobody"):
        answer = forecast(lookup, item)
        assert answer["forecasts"] == answer["lead_time_demand"] == []
        assert "no forecast" in "\n".join(forecast_lines(answer))
    assert "no orders" in "\n".join(order_lines(orders(lookup, "nobody")))


def test_orders_are_looked_up_largest_first(lookup: Lookup) -> None:
    every = orders(lookup)["orders"]
    quantities = [row["order_quantity"] or 0 for row in every]
    assert len(every) == ITEMS and quantities == sorted(quantities, reverse=True)
    assert every[0]["item_id"] == "i4"
    assert [row["item_id"] for row in orders(lookup, limit=2)["orders"]] == [
        row["item_id"] for row in every[:2]
    ]
    known = "\n".join(order_lines(orders(lookup, "i2")))
    assert "10 on hand, 0 on order" in known and "service level 95%" in known
    assert "not known" in "\n".join(order_lines(orders(lookup, "i0")))


def test_the_plots_are_drawn(world: Settings) -> None:
    for draw in (demand_plots.fan, demand_plots.orders):
        assert draw(Warehouse.of(world), SUNDAY.isoformat()) is not None
        assert draw(Warehouse.of(world), MONDAY.isoformat()) is None


def test_the_outside_contract_finds_nothing_broken(world: Settings) -> None:
    if not CONTRACT.exists():
        pytest.skip(f"{CONTRACT} is not beside this checkout")
    done = subprocess.run(
        [sys.executable, str(CONTRACT), str(world.home)], capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    broken = [line for line in lines if line.startswith("BROKEN") and "no rows" not in line]
    assert not broken and sum("ok     predictions." in line for line in lines) >= 4, done.stdout

"""Training, forecasts and orders on a world with known weekdays and promotions."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.core.home import write_state
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext
from batch_predictions.models.demand.assets import select_demand
from batch_predictions.models.demand.data.panel_builder import PanelSpec
from batch_predictions.models.demand.demand_training import UNTRAINED, DemandModels
from batch_predictions.models.model_store import ModelStore
from batch_predictions.predictions.demand import DemandScorer, demand_forecasts
from batch_predictions.predictions.demand import parameters as forecast_parameters
from batch_predictions.predictions.demand_plots import plot_forecasts, plot_orders
from batch_predictions.predictions.replenishment import replenishment_orders
from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.lookup.item_lookup import (
    forecast,
    forecast_lines,
    order_lines,
    orders,
)
from batch_predictions.serving.release.publish import publish
from batch_predictions.serving.store.store import Store
from batch_predictions.settings import Settings
from batch_predictions.tables import INVENTORY
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.demand_home import (
    DAILY_UNITS,
    ITEMS,
    LAST_WEEK,
    LIFT,
    MONDAY,
    SUNDAY,
    WEEKDAYS,
    build_demand_home,
    demand_settings,
    materialize,
    predict_day,
)
from batch_predictions_tests.worlds.home import model_asset
from batch_predictions_tests.worlds.home_state import STATE
from batch_predictions_tests.worlds.paths import CONTRACT
from batch_predictions_tests.worlds.sales import write_sales, write_stock_counts


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Sixteen weeks of sales, trained and predicted as of their last Sunday."""
    return build_demand_home(tmp_path_factory.mktemp("demand") / "home")


def query(settings: Settings, sql: str) -> list[dict[str, Any]]:
    """Rows of a query that may bind `$date`, the last Sunday."""
    rows: list[dict[str, Any]] = Warehouse.of(settings).query(sql, {"date": SUNDAY}).to_pylist()
    return rows


def mean_forecasts(settings: Settings, item: str) -> np.ndarray:
    """The means of an item's coming days."""
    rows = query(
        settings,
        f"select mean from predictions.demand_forecasts where date = $date and item_id = '{item}' "
        "order by target_date",
    )
    return np.array([row["mean"] for row in rows], float)


def served_folder(settings: Settings) -> Path:
    """Folder of the demand model that serves the last Sunday."""
    store = ModelStore.of(settings)
    manifest = store.champion("demand", SUNDAY, 35, dt.date.fromisoformat(LAST_WEEK))
    return store.verified_folder("demand", manifest.version)


def test_the_winner_beats_the_baseline_and_its_decision_is_recorded(world: Settings) -> None:
    [decision] = ModelStore.of(world).decisions("demand")
    assert decision.decision == "promoted" and "item:" in decision.why
    manifest = ModelStore.of(world).manifest("demand", decision.version)
    winner = manifest.parameters["served"]["item"]
    assert manifest.candidate == winner != "mean28_weekday" and winner in decision.why
    rows = query(
        world,
        "select candidate, value from evaluation.model_metrics where model = 'demand' "
        "and metric = 'wape_sum'",
    )
    wape = {row["candidate"]: row["value"] for row in rows}
    assert {"mean28_weekday", "seasonal_naive", "linear_promotions"} <= set(wape)
    assert wape["linear_promotions"] < 0.7 * wape["mean28_weekday"]


def test_the_weekday_pattern_is_forecast(world: Settings) -> None:
    week = np.mean([mean_forecasts(world, f"i{item}")[:7] for item in (1, 2, 5)], axis=0)
    np.testing.assert_allclose(week, DAILY_UNITS * np.array(WEEKDAYS), rtol=0.3)


def test_the_lift_of_a_promotion_known_in_advance_is_forecast(world: Settings) -> None:
    promoted = np.mean([mean_forecasts(world, f"i{item}")[:7].sum() for item in (0, 4)])
    unpromoted = np.mean([mean_forecasts(world, f"i{item}")[:7].sum() for item in (2, 3, 6, 7)])
    assert 0.7 * LIFT < promoted / unpromoted < 1.3 * LIFT


def test_quantiles_are_ordered_and_contain_the_known_means(world: Settings) -> None:
    [row] = query(
        world,
        """select count(*) as rows, count(distinct target_date) as days,
        count(*) filter (0 <= q05 and q05 <= q10 and q10 <= q25 and q25 <= q50 and q50 <= q75
            and q75 <= q90 and q90 <= q95) as ordered
        from predictions.demand_forecasts where date = $date""",
    )
    assert row["rows"] == row["ordered"] and row["days"] == 14
    [sums] = query(
        world,
        "select q50, q95, q99, level, q_level from predictions.lead_time_demand where "
        "date = $date and item_id = 'i2' and days = 7",
    )
    expected = DAILY_UNITS * sum(WEEKDAYS)
    assert sums["q50"] == pytest.approx(expected, rel=0.3)
    assert sums["q95"] > expected * 0.95
    assert sums["level"] == 0.95 and sums["q_level"] == sums["q95"]


def test_totals_of_categories_are_forecast_but_not_ordered(world: Settings) -> None:
    total = mean_forecasts(world, "category:a")
    items = [mean_forecasts(world, f"i{item}") for item in (0, 2, 4, 6)]
    assert total.sum() == pytest.approx(float(np.sum(items)), rel=0.35)
    rows = query(world, "select item_id from predictions.replenishment_orders where date = $date")
    assert sorted(row["item_id"] for row in rows) == [f"i{n}" for n in range(ITEMS)]


def test_orders_cover_the_coming_demand_in_whole_packs(world: Settings) -> None:
    rows = query(
        world, "select * from predictions.replenishment_orders where date = $date order by item_id"
    )
    order_of_item = {row["item_id"]: row for row in rows}
    promoted, usual, packed = (order_of_item[item] for item in ("i4", "i2", "i7"))
    week = DAILY_UNITS * sum(WEEKDAYS)
    assert promoted["order_up_to"] > 0.9 * LIFT * week
    assert week * 0.9 < usual["order_up_to"] < 2 * week
    quantity = usual["order_quantity"]
    assert 10.0 + quantity >= usual["order_up_to"] > 10.0 + quantity - 1
    # The stock of the first item was not counted: it has levels, but no order.
    uncounted = order_of_item["i0"]
    assert uncounted["on_hand"] is None and uncounted["order_quantity"] is None
    assert packed["order_quantity"] % 12 == 0
    assert (packed["review_days"], usual["review_days"]) == (7, 4)
    assert packed["order_up_to"] > usual["order_up_to"]


def test_excluded_series_are_recorded_with_the_reason(world: Settings) -> None:
    rows = query(
        world,
        "select table_name, key, reason from predictions.exclusions where date = $date "
        "order by all",
    )
    reasons = {(row["table_name"], row["key"]): row["reason"] for row in rows}
    assert set(reasons) == {
        ("demand_forecasts", "new|all"),
        ("replenishment_orders", "new|all"),
        ("replenishment_orders", "slow|all"),
    }
    assert "5 days old" in reasons["demand_forecasts", "new|all"]
    assert "no forecast" in reasons["replenishment_orders", "new|all"]
    assert "34 days" in reasons["replenishment_orders", "slow|all"]


def test_a_day_that_is_predicted_again_has_the_same_bytes(world: Settings) -> None:
    warehouse = Warehouse.of(world)
    tables = (demand_forecasts.table, *demand_forecasts.child_tables.values())
    paths = [
        warehouse.path(table, SUNDAY.isoformat()) for table in (*tables, replenishment_orders.table)
    ]
    bytes_before = [path.read_bytes() for path in paths]
    # Without the stored results of the shards, so that everything is scored again.
    shutil.rmtree(world.home / "inference")
    predict_day(world, SUNDAY)
    assert [path.read_bytes() for path in paths] == bytes_before


def test_the_selection_does_not_depend_on_the_row_order_of_the_query(
    world: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = Warehouse.of(world)
    expected = select_demand(warehouse, world, SUNDAY, lambda text: None)
    query_warehouse = Warehouse.query

    def reversed_query(self: Warehouse, *args: Any, **kwargs: Any) -> pa.Table:
        rows = query_warehouse(self, *args, **kwargs)
        return rows.take(np.arange(rows.num_rows)[::-1])

    monkeypatch.setattr(Warehouse, "query", reversed_query)
    selection = select_demand(warehouse, world, SUNDAY, lambda text: None)
    assert (selection.metrics, selection.why) == (expected.metrics, expected.why)


def test_the_forecast_of_a_series_does_not_depend_on_the_other_series(world: Settings) -> None:
    scorer = DemandScorer.open(
        ScorerContext(served_folder(world), {}, dict(forecast_parameters(world)))
    )
    rows = Warehouse.of(world).query(demand_forecasts.rows, {"date": SUNDAY})
    together = pa.Table.from_batches([scorer.score(rows.combine_chunks().to_batches()[0])])
    one_by_one = [
        scorer.score(rows.slice(n, 1).combine_chunks().to_batches()[0])
        for n in range(rows.num_rows)
    ]
    order = [("item_id", "ascending"), ("target_date", "ascending")]
    columns = [name for name in together.column_names if name != "lead_time_demand"]
    separate = pa.Table.from_batches(one_by_one).select(columns).sort_by(order)
    assert separate.equals(together.select(columns).sort_by(order))


def test_without_a_long_series_nothing_is_trained_and_nothing_fails(tmp_path: Path) -> None:
    """In a source whose rows carry no time, all rows are on one day."""
    settings = demand_settings(tmp_path / "home")
    write_state(settings.home, STATE)
    warehouse = Warehouse.of(settings)
    write_sales(
        warehouse, [{"day": SUNDAY, "item": f"i{n % 3}", "quantity": 1.0} for n in range(9)]
    )
    write_stock_counts(warehouse, SUNDAY)
    materialize(settings, [model_asset("demand")], LAST_WEEK)
    [decision] = ModelStore.of(settings).decisions("demand")
    assert decision.decision == "baseline"
    predict_day(settings, SUNDAY)
    for table in ("demand_forecasts", "lead_time_demand", "replenishment_orders"):
        assert query(settings, f"from predictions.{table}") == []
    [row] = query(
        settings,
        "select count(*) as n, any_value(reason) as reason from predictions.exclusions "
        "where table_name = 'demand_forecasts'",
    )
    assert row["n"] == 4 and "1 days old" in row["reason"]
    week = dt.date.fromisoformat(LAST_WEEK)
    assert ModelStore.of(settings).champion("demand", SUNDAY, 35, week).candidate == UNTRAINED


def test_series_of_a_level_without_a_model_are_excluded(tmp_path: Path) -> None:
    DemandModels(PanelSpec(history_days=30, horizon=14)).save(tmp_path / "model")
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


def test_stock_is_summed_over_locations_and_old_counts_are_ignored(world: Settings) -> None:
    warehouse = Warehouse.of(world)
    path = warehouse.path(INVENTORY, SUNDAY.isoformat())
    original = path.read_bytes()
    write_stock_counts(
        warehouse,
        SUNDAY,
        {"item": "i1", "on_hand": 3.0, "on_order": 2.0, "location": "east"},
        {"item": "i1", "on_hand": 4.0, "location": "west"},
        {"item": "i2", "on_hand": None, "location": "west"},
    )
    yesterday = SUNDAY - dt.timedelta(days=1)
    write_stock_counts(warehouse, yesterday, {"item": "i2", "on_hand": 9.0})
    try:
        for max_age_days, expected in ((0, None), (1, 9.0)):
            values = {
                **replenishment_orders.parameters(world),
                "date": SUNDAY,
                "stock_max_age_days": max_age_days,
            }
            rows = warehouse.query(replenishment_orders.rows, values).to_pylist()
            stock = {row["item_id"]: (row["on_hand"], row["on_order"]) for row in rows}
            assert stock["i1"] == (7, 2)
            assert stock["i2"][0] == expected
    finally:
        path.write_bytes(original)
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


def test_a_lookup_returns_an_items_coming_days_and_sums(lookup: Lookup) -> None:
    answer = forecast(lookup, "i4")
    assert answer["as_of"] == SUNDAY.isoformat() and len(answer["forecasts"]) == 14
    assert [row["days"] for row in answer["lead_time_demand"]] == [3, 7]
    days = [row["target_date"] for row in answer["forecasts"]]
    assert days == sorted(days) and days[0] == SUNDAY + dt.timedelta(days=1)
    text = "\n".join(forecast_lines(answer))
    assert "units in 14 days" in text and "Mon 22 Apr" in text
    assert "with a probability of 95%" in text
    assert len(forecast(lookup, "category:a")["forecasts"]) == 14


def test_a_lookup_of_an_item_without_forecast_is_empty(lookup: Lookup) -> None:
    for item in ("new", "unknown"):
        answer = forecast(lookup, item)
        assert answer["forecasts"] == answer["lead_time_demand"] == []
        assert "no forecast" in "\n".join(forecast_lines(answer))
    assert "no orders" in "\n".join(order_lines(orders(lookup, "unknown")))


def test_a_lookup_returns_the_largest_orders_first(lookup: Lookup) -> None:
    rows = orders(lookup)["orders"]
    quantities = [row["order_quantity"] or 0 for row in rows]
    assert len(rows) == ITEMS and quantities == sorted(quantities, reverse=True)
    assert rows[0]["item_id"] == "i4"
    limited = orders(lookup, limit=2)["orders"]
    assert [row["item_id"] for row in limited] == [row["item_id"] for row in rows[:2]]
    text = "\n".join(order_lines(orders(lookup, "i2")))
    assert "10 on hand, 0 on order" in text and "service level 95%" in text
    assert "not known" in "\n".join(order_lines(orders(lookup, "i0")))


def test_days_with_rows_are_plotted_and_others_are_not(world: Settings) -> None:
    for plot in (plot_forecasts, plot_orders):
        assert plot(Warehouse.of(world), SUNDAY.isoformat()) is not None
        assert plot(Warehouse.of(world), MONDAY.isoformat()) is None


def test_the_home_passes_the_contract_check(world: Settings) -> None:
    if not CONTRACT.exists():
        pytest.skip(f"there is no {CONTRACT}")
    result = subprocess.run(
        [sys.executable, str(CONTRACT), str(world.home)], capture_output=True, text=True
    )
    lines = result.stdout.splitlines()
    violations = [line for line in lines if line.startswith("BROKEN") and "no rows" not in line]
    passed = [line for line in lines if "ok     predictions." in line]
    assert not violations and len(passed) >= 4, result.stdout

"""The benchmark of a night: a generated shop, and every step in a process of its own."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from batch_predictions.cli.commands.benchmark_command import load_benchmark

FIRST_DAY = dt.date(2024, 1, 1)


def test_a_day_of_the_shop_does_not_depend_on_the_days_before(tmp_path: Path) -> None:
    world_class = load_benchmark("shop_world").ShopWorld
    for folder, days in (("all", range(3)), ("last", [2])):
        world = world_class(50, 30, 400, FIRST_DAY)
        world.write_tables(tmp_path / folder)
        for day in days:
            world.write_day(tmp_path / folder, day)
    files = [tmp_path / folder / "interactions/2024-01-03.parquet" for folder in ("all", "last")]
    assert pq.read_table(files[0]).equals(pq.read_table(files[1]))
    bought = f"'{tmp_path}/all/interactions/*.parquet'"
    events, users, items, repeated, first, last = duckdb.execute(
        f"""select count(*), count(distinct user_id), count(distinct item_id),
            count(*) - count(distinct (user_id, item_id)), min(occurred_at)::DATE,
            max(occurred_at)::DATE from {bought}
            semi join '{tmp_path}/all/users.parquet' using (user_id)
            semi join '{tmp_path}/all/items.parquet' using (item_id)"""
    ).fetchall()[0]
    assert (events, first, last) == (1200, FIRST_DAY, FIRST_DAY + dt.timedelta(days=2))
    assert users > 40 and items > 25 and repeated > 200


@pytest.mark.slow
def test_a_night_is_measured_step_by_step_and_ended_steps_are_kept(tmp_path: Path) -> None:
    night = load_benchmark("night")
    shop = {"users": 200, "items": 60, "events": 8000, "days": 20}
    result = night.measure(**shop, models=["demographic"], folder=tmp_path)
    assert list(result["steps"]) == list(load_benchmark("night_steps").FUNCTIONS)
    assert result["events"] == 8000 and result["steps"]["ingest_history"]["rows"] == 7600
    assert result["steps"]["ingest_day"]["rows"] == 400
    assert result["steps"]["features"]["rows"] > 200 and result["steps"]["predict"]["rows"] > 0
    assert result["steps"]["look_up"]["lookups"] == 2000
    for step in result["steps"].values():
        assert step["seconds"] > 0 and step["cpu_seconds"] > 0 and step["peak_mib"] > 50
    again = night.measure(**shop, models=["demographic"], folder=tmp_path)
    assert again["steps"] == result["steps"] and again["night"] == result["night"]


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    night = load_benchmark("night")
    with pytest.raises(ValueError, match="no such model: weather"):
        night.measure(10, 10, 100, 20, ["weather"], tmp_path)
    with pytest.raises(ValueError, match="at least 15 days"):
        night.measure(10, 10, 100, 14, ["churn"], tmp_path)

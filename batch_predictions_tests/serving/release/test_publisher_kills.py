"""A publisher is killed before each of its file operations and commits."""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.release.context_tables import ContextChoice
from batch_predictions.serving.store.store import Store
from batch_predictions.tables.release_tables import USER_HISTORY
from batch_predictions_tests.worlds.kills import states_of
from batch_predictions_tests.worlds.serving import DAY, ServingWorld, open_world
from batch_predictions_tests.worlds.table_rows import write_events

pytestmark = pytest.mark.slow

HISTORY = ContextChoice(history_items=2, history_days=1, event_types=("view",))
DAYS = 3


def publish(world: ServingWorld) -> None:
    """Publishes the newest day; two releases stay, so that the oldest is removed."""
    with Store.of(world.settings) as store:
        newest = dataclasses.replace(world, store=store)
        newest.publish(DAY + dt.timedelta(days=DAYS - 1), keep=2, context=HISTORY)


def served_day(world: ServingWorld) -> int:
    """The day that is served, from answers of one whole release."""
    with Lookup(world.settings) as lookup:
        answer = lookup.recommendations("u1")
        day = (dt.date.fromisoformat(answer["as_of"]) - DAY).days
        assert answer["model_version"] == f"als-v{day}x" and len(answer["items"]) == 4
        assert len(lookup.rows("recommendations")) == 12
        assert [row["item_id"] for row in lookup.rows(USER_HISTORY.name)] == [f"i{day}"]
    return day


def contents(world: ServingWorld) -> dict[str, object]:
    """The releases of the store, and the releases of the rows of its tables."""
    names = ("recommendations", "demographic_recommendations", "user_history", "items", "users")
    with closing(sqlite3.connect(world.settings.home / "serving.sqlite")) as db:
        return {
            "releases": db.execute("select release_id, status, manifest from releases").fetchall(),
            **{
                name: db.execute(
                    f"select release_id, count(*) from {name} group by 1 order by 1"
                ).fetchall()
                for name in names
            },
        }


def test_a_publisher_that_is_killed_anywhere_leaves_a_whole_release(tmp_path: Path) -> None:
    home = tmp_path / "home"
    world = open_world(home)
    for number in range(DAYS):
        day = DAY + dt.timedelta(days=number)
        world.predict(day, f"v{number}x")
        event = (day, "u1", f"i{number}", "view")
        write_events(world.warehouse, "date user_id item_id event_type", [event], quantity=1.0)
        if number < DAYS - 1:
            world.publish(day, keep=2, context=HISTORY)
    world.store.close()
    # The folder stays in place: its path is in the views of the warehouse.
    states = states_of(home, tmp_path / "states", publish, world)
    expected, days = contents(world), []
    for state in states:
        shutil.rmtree(home)
        state.rename(home)
        days.append(served_day(world))
        publish(world)
        assert contents(world) == expected and served_day(world) == DAYS - 1
    assert days == sorted(days) and set(days) == {DAYS - 2, DAYS - 1}
    assert len(days) > 10

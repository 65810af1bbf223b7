"""A publisher is killed before each of its file operations and commits."""

from __future__ import annotations

import datetime as dt
import itertools
import shutil
from pathlib import Path

import sqlalchemy as sa

from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.release.context_tables import ContextChoice
from batch_predictions.serving.release.records import releases
from batch_predictions.serving.store.schema import ITEMS, RELEASES, USERS
from batch_predictions.tables import INTERACTIONS
from batch_predictions.tables.releases import USER_HISTORY
from batch_predictions_tests.worlds.kills import kill_at
from batch_predictions_tests.worlds.serving import DAY, open_world

HISTORY = ContextChoice(history_items=2, history_days=1, event_types=("view",))
DAYS = 3


def publish(home: Path) -> None:
    """Publishes the newest day; two releases stay, so that the oldest is removed."""
    world = open_world(home)
    world.publish(DAY + dt.timedelta(days=DAYS - 1), keep=2, context=HISTORY)
    world.store.close()


def served_day(home: Path) -> int:
    """The day that is served, from answers of one whole release."""
    world = open_world(home)
    world.store.close()
    with Lookup(world.settings) as lookup:
        answer = lookup.recommendations("u1")
        day = (dt.date.fromisoformat(answer["as_of"]) - DAY).days
        assert answer["model_version"] == f"als-v{day}x" and len(answer["items"]) == 4
        assert len(lookup.rows("recommendations")) == 12
        assert [row["item_id"] for row in lookup.rows(USER_HISTORY.name)] == [f"i{day}"]
    return day


def contents(home: Path) -> dict[str, object]:
    """The releases of the store, and the releases of the rows of its tables."""
    world = open_world(home)
    ids = {release.release_id: release.status for release in releases(world.store)}
    tables = ("recommendations", "demographic_recommendations", USER_HISTORY.name)
    with world.store.read() as db:
        owners = {
            name: set(db.exec_driver_sql(f"select distinct release_id from {name}").scalars())
            for name in (*tables, ITEMS.name, USERS.name)
        }
        records = db.execute(sa.select(RELEASES.c.release_id, RELEASES.c.manifest)).all()
    world.store.close()
    return {"releases": ids, "rows": owners, "manifests": dict(map(tuple, records))}


def test_a_publisher_that_is_killed_anywhere_leaves_a_whole_release(tmp_path: Path) -> None:
    before = tmp_path / "before"
    world = open_world(before)
    for number in range(DAYS):
        day = DAY + dt.timedelta(days=number)
        world.predict(day, f"v{number}x")
        world.warehouse.replace_partition(
            INTERACTIONS,
            day.isoformat(),
            f"select 'e{number}' as event_id, 'u1' as user_id, 'i{number}' as item_id, "
            "'view' as event_type, 1.0 as quantity, 1.0 as amount, null as location, "
            "null::TIMESTAMP as occurred_at",
        )
        if number < DAYS - 1:
            world.publish(day, keep=2, context=HISTORY)
    world.store.close()
    after = tmp_path / "after"
    shutil.copytree(before, after)
    publish(after)
    expected, days = contents(after), []
    for number in itertools.count(1):
        home = tmp_path / f"home-{number}"
        shutil.copytree(before, home)
        was_killed = kill_at(number, publish, home)
        days.append(served_day(home))
        publish(home)
        assert contents(home) == expected and served_day(home) == DAYS - 1
        shutil.rmtree(home)
        if not was_killed:
            break
    assert days == sorted(days) and set(days) == {DAYS - 2, DAYS - 1}
    assert len(days) > 20

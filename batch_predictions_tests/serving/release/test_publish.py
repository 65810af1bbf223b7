"""Publishing and rolling back: the current release, and the rows in the store, after each call."""

from __future__ import annotations

import datetime as dt
import re
import threading

import pytest
import sqlalchemy as sa

from batch_predictions.core.read_only import StoreError
from batch_predictions.serving.lookup import Lookup, NotPublishedError
from batch_predictions.serving.release.release_records import rollback
from batch_predictions.serving.store.pointer import NoReleaseError, ReleaseError
from batch_predictions.serving.store.store import ITEMS, USERS
from batch_predictions.tables import RECOMMENDATIONS, Table, columns
from batch_predictions.tables import TABLES as DECLARED
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.serving import (
    DAY,
    TABLES,
    ServingWorld,
    count_rows,
    current_release_id,
    list_release_ids,
)

NEXT = DAY + dt.timedelta(days=1)
AUDIENCE = Table(
    "predictions",
    "retention_audience",
    "Inactive customers.",
    columns("""
        date DATE: as of the end of this day
        rank BIGINT: 1 is best
        user_id VARCHAR: customer
        offer_item_ids VARCHAR[]: offers
        held_out BOOLEAN: whether the customer must not be contacted
        model_version VARCHAR: model that scored it
    """),
    key=("rank",),
    order=("user_id",),
)
WEEKLY = Table(
    "predictions",
    "item_sentiments",
    "Sentiment of items.",
    columns("""
        week DATE: Monday
        item_id VARCHAR: item
        reviews BIGINT: number of reviews
        since DATE: first review
        newest_at TIMESTAMP: newest review
        model_version VARCHAR: model that classified them
    """),
    key=("item_id",),
    partition="week",
)


def test_a_release_has_the_days_rows_and_is_served(world: ServingWorld) -> None:
    release = world.release()
    assert release.moved
    assert release.current
    assert current_release_id(world) == release.release_id
    assert release.release_id == f"{DAY}-{release.content_hash[:8]}"
    assert release.rows == {"recommendations": 12, "demographic_recommendations": 44}
    assert release.manifest["tables"]["recommendations"]["model_versions"] == ["als-a"]
    # Items that occur in its tables, and users of the day.
    assert count_rows(world, ITEMS, release.release_id) == 6
    assert count_rows(world, USERS, release.release_id) == 5


def test_equal_rows_give_the_same_release(world: ServingWorld) -> None:
    first = world.release()
    second = world.release()
    assert second.release_id == first.release_id
    assert not second.moved
    assert "unchanged" in second.note
    assert list_release_ids(world) == [first.release_id]


def test_other_rows_of_the_same_day_are_served_and_the_first_ones_can_return(
    world: ServingWorld,
) -> None:
    first, second = world.release(tag="a"), world.release(tag="b")
    assert second.moved
    assert first.release_id != second.release_id
    back = world.release(tag="a")
    assert back.release_id == first.release_id
    assert back.moved
    assert current_release_id(world) == first.release_id


def test_an_older_day_is_kept_and_not_served(world: ServingWorld) -> None:
    newer = world.release(NEXT)
    older = world.release(DAY)
    assert not older.moved
    assert newer.release_id in older.note
    assert current_release_id(world) == newer.release_id
    assert list_release_ids(world) == [newer.release_id, older.release_id]
    with Lookup(world.settings) as up:
        assert up.freshness(NEXT)["as_of"] == NEXT.isoformat()


def test_a_missing_partition_is_an_error_unless_optional(world: ServingWorld) -> None:
    world.predict()
    with pytest.raises(ReleaseError, match=r"predictions\.retention_audience has no partition"):
        world.publish(DAY, AUDIENCE)
    assert current_release_id(world) is None
    assert world.publish(DAY, AUDIENCE, optional=("retention_audience",)).moved
    with pytest.raises(ValueError, match="not published: retention"):
        world.publish(DAY, optional=("retention",))


def test_a_table_that_was_not_made_for_the_day_is_of_its_newest_earlier_day(
    world: ServingWorld,
) -> None:
    world.release(DAY, "a")
    world.predict(NEXT, "b")
    world.warehouse.remove_partition(RECOMMENDATIONS, NEXT.isoformat())
    release = world.publish(NEXT)
    assert release.moved and release.as_of == NEXT
    assert release.earlier_days == {"recommendations": DAY.isoformat()}
    with Lookup(world.settings) as up:
        personal, unknown = up.recommendations("u1"), up.recommendations("nobody")
        assert (personal["as_of"], personal["model_version"]) == (DAY.isoformat(), "als-a")
        assert (unknown["as_of"], unknown["model_version"]) == (NEXT.isoformat(), "demo-b")
        answer = up.answer("recommendations", user_id="u1")
        assert answer["as_of"] == answer["partition"] == DAY.isoformat()
    # Made after all, it is released with the day.
    world.predict(NEXT, "b")
    complete = world.publish(NEXT)
    assert complete.moved and complete.earlier_days == {}
    with Lookup(world.settings) as up:
        assert up.recommendations("u1")["as_of"] == NEXT.isoformat()


def test_a_day_of_which_nothing_was_made_is_not_released(world: ServingWorld) -> None:
    world.release(DAY)
    with pytest.raises(ReleaseError, match="none of its tables has a partition of the day"):
        world.publish(NEXT)


def test_a_new_table_with_lists_is_added(
    world: ServingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DECLARED, AUDIENCE.qualified, AUDIENCE)
    first = world.release(DAY)
    world.predict(NEXT)
    world.warehouse.replace_partition(
        AUDIENCE,
        NEXT.isoformat(),
        "select * from (values (1, 'u9', ['x1', 'x2'], true, 'churn-1'), "
        "(2, 'u1', [], false, 'churn-1')) as a(rank, user_id, offer_item_ids, held_out, "
        "model_version)",
    )
    release = world.publish(NEXT, AUDIENCE)
    assert release.rows["retention_audience"] == 2
    assert count_rows(world, ITEMS, release.release_id) == 6 + 2
    with Lookup(world.settings) as up:
        (row,) = up.rows("retention_audience", user_id="u9")
        assert row == {
            "rank": 1,
            "user_id": "u9",
            "offer_item_ids": ["x1", "x2"],
            "held_out": True,
            "model_version": "churn-1",
        }
        assert [row["rank"] for row in up.rows("retention_audience")] == [1, 2]
        rollback(world.store)
        assert current_release_id(world) == first.release_id
        with pytest.raises(NotPublishedError, match="has no table retention_audience"):
            up.rows("retention_audience", user_id="u9")


def test_a_weekly_table_gives_the_newest_week_that_had_ended(
    world: ServingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DECLARED, WEEKLY.qualified, WEEKLY)
    world.predict(DAY)
    for week in ("2024-02-19", "2024-02-26", "2024-03-04"):
        world.warehouse.replace_partition(
            WEEKLY,
            week,
            f"select 'i1' as item_id, 3 as reviews, date '{week}' as since, "
            f"timestamp '{week} 10:11:12.5' as newest_at, 'sentiment-1' as model_version",
        )
    world.publish(DAY, WEEKLY)  # DAY is the Sunday of the week of 26 February.
    with Lookup(world.settings) as up:
        answer = up.answer("item_sentiments", item_id="i1", since="2024-02-26")
        assert answer["partition"] == "2024-02-26"
        assert answer["rows"][0]["newest_at"] == dt.datetime(2024, 2, 26, 10, 11, 12, 500_000)
    world.predict(DAY - dt.timedelta(days=1))
    saturday = world.publish(DAY - dt.timedelta(days=1), WEEKLY)
    assert saturday.manifest["tables"]["item_sentiments"]["partition"] == "2024-02-19"


def test_a_rollback_serves_the_previous_release_until_rows_change(world: ServingWorld) -> None:
    first, second = world.release(DAY), world.release(NEXT)
    back = rollback(world.store)
    assert back.release_id == first.release_id
    assert back.moved
    assert second.release_id in back.note
    # The nightly job runs again: the day stays rolled back.
    republished = world.publish(NEXT)
    assert not republished.moved
    assert "rolled back" in republished.note
    assert current_release_id(world) == first.release_id
    with pytest.raises(ReleaseError, match="there is no release before"):
        rollback(world.store)
    assert rollback(world.store, second.release_id).moved
    assert current_release_id(world) == second.release_id
    assert not rollback(world.store, second.release_id).moved
    rollback(world.store)
    assert world.release(NEXT, tag="corrected").moved
    with pytest.raises(ReleaseError, match="no release nonsense"):
        rollback(world.store, "nonsense")


def test_nothing_to_roll_back_to(world: ServingWorld) -> None:
    with pytest.raises(NoReleaseError, match="batch-predictions run"):
        rollback(world.store)


def test_a_fallback_without_everyone_is_not_served(world: ServingWorld) -> None:
    world.predict()
    world.warehouse.replace_partition(
        TABLES[1],
        DAY.isoformat(),
        "select 'age' as segment_level, '65+' as age_bracket, null as gender, null as location, "
        "1 as rank, 'a' as item_id, 1.0 as score, 1 as support, 'm' as model_version",
    )
    with pytest.raises(ReleaseError, match="no rows of the level everyone"):
        world.publish()
    assert current_release_id(world) is None


def test_a_stored_table_with_another_key_is_an_error(world: ServingWorld) -> None:
    world.release()
    changed = Table(
        "predictions", RECOMMENDATIONS.name, "", RECOMMENDATIONS.columns, key=("user_id",)
    )
    with pytest.raises(StoreError, match=r"has the key .* drop the table"):
        world.store.ensure([changed])


def test_a_new_column_is_added(world: ServingWorld) -> None:
    first = world.release()
    extended = Table(
        "predictions",
        RECOMMENDATIONS.name,
        "",
        (*RECOMMENDATIONS.columns, *columns("why_text VARCHAR: in words")),
        key=RECOMMENDATIONS.key,
    )
    table = world.store.ensure([extended])["recommendations"]
    with world.store.read() as db:
        assert db.execute(sa.select(table.c.why_text)).scalars().all() == [None] * 12
        assert db.execute(sa.text("select why_text from current_recommendations")).first() == (
            None,
        )
    assert world.release(NEXT).moved
    assert count_rows(world, table, first.release_id) == 12


def test_the_views_have_the_rows_of_the_current_release(world: ServingWorld) -> None:
    def read(sql: str) -> list[tuple[object, ...]]:
        with world.store.read() as db:
            return [tuple(row) for row in db.execute(sa.text(sql))]

    lists = "select user_id, count(*) from current_recommendations group by 1 order by 1"
    first = world.release(DAY)
    assert read(lists) == [("u0", 4), ("u1", 4), ("u2", 4)]
    world.predict(NEXT, "b")
    second = world.publish(NEXT)
    for release, tag in ((second, "b"), (first, "a")):
        if release is first:
            rollback(world.store)
        models = "select distinct release_id, model_version from"
        assert read(f"{models} current_recommendations") == [(release.release_id, f"als-{tag}")]
        [(item, day)] = read("select min(item_id), max(cast(as_of as char(10))) from current_items")
        assert str(item).startswith(tag) and day == str(release.as_of)
    assert len(read("select user_id from current_users")) == 5


def test_the_queries_of_the_page_find_lists(world: ServingWorld) -> None:
    world.release()
    page = (ROOT / "docs" / "how_to" / "releases_and_rollback.md").read_text()
    [code] = [text for text in re.findall(r"```sql\n(.*?)```", page, re.S) if "current_" in text]
    personal, fallback = code.strip().rstrip(";").split(";")
    with world.store.read() as db:
        for query in (personal, fallback):
            assert [rank for rank, _ in db.execute(sa.text(query))] == [1, 2, 3, 4]


def test_a_table_whose_view_would_have_the_pointer_s_name_is_refused(world: ServingWorld) -> None:
    table = Table("predictions", "release", "", RECOMMENDATIONS.columns, key=RECOMMENDATIONS.key)
    with pytest.raises(StoreError, match="cannot be named release"):
        world.store.ensure([table])


@pytest.mark.slow
def test_a_reader_of_a_view_sees_one_release_while_others_are_published(
    world: ServingWorld,
) -> None:
    world.release(tag="a")
    query = sa.text("select distinct release_id, model_version from current_recommendations")
    seen: list[list[object]] = []
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            with world.store.read() as db:
                seen.append([tuple(row) for row in db.execute(query)])

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(20):
            world.release(DAY + dt.timedelta(days=number + 1), tag="ab"[number % 2])
    finally:
        is_over.set()
        reader.join()
    assert {len(rows) for rows in seen} == {1}
    assert len({rows[0] for rows in seen}) > 1

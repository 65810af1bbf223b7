"""Releases: what is served after which call, and what is left in the store."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa

from batch_predictions.serving.lookup import Lookup, NotPublishedError
from batch_predictions.serving.release.pointer import NoReleaseError, ReleaseError
from batch_predictions.serving.release.publish import rollback
from batch_predictions.serving.store.database import StoreError
from batch_predictions.serving.store.schema import ITEMS, USERS
from batch_predictions.tables import RECOMMENDATIONS, Table, columns
from batch_predictions.tables import TABLES as DECLARED
from batch_predictions_tests.worlds.serving import DAY, TABLES, World, ids, rows_of, served

NEXT = DAY + dt.timedelta(days=1)
AUDIENCE = Table(
    "predictions",
    "retention_audience",
    "Whom to win back.",
    columns("""
        date DATE: as of the end of this day
        rank BIGINT: 1 is best
        user_id VARCHAR: who
        offer_item_ids VARCHAR[]: what to offer
        held_out BOOLEAN: whether nothing is sent
        model_version VARCHAR: model that scored it
    """),
    key=("rank",),
    order=("user_id",),
)
WEEKLY = Table(
    "predictions",
    "item_sentiments",
    "What reviews say.",
    columns("""
        week DATE: Monday
        item_id VARCHAR: which
        reviews BIGINT: how many
        since DATE: first review
        newest_at TIMESTAMP: newest review
        model_version VARCHAR: model that read them
    """),
    key=("item_id",),
    partition="week",
)


def test_a_release_holds_the_day_and_is_served(here: World) -> None:
    release = here.release()
    assert release.moved
    assert release.current
    assert served(here) == release.release_id
    assert release.release_id == f"{DAY}-{release.content_hash[:8]}"
    assert release.rows == {"recommendations": 12, "demographic_recommendations": 44}
    assert release.manifest["tables"]["recommendations"]["model_versions"] == ["als-a"]
    # Titles of items that occur, users of the day.
    assert rows_of(here, ITEMS, release.release_id) == 6
    assert rows_of(here, USERS, release.release_id) == 5


def test_the_same_rows_are_the_same_release(here: World) -> None:
    first = here.release()
    again = here.release()
    assert again.release_id == first.release_id
    assert not again.moved
    assert "unchanged" in again.note
    assert ids(here) == [first.release_id]


def test_other_rows_of_the_same_day_replace_it_and_come_back(here: World) -> None:
    first, second = here.release(tag="a"), here.release(tag="b")
    assert second.moved
    assert first.release_id != second.release_id
    back = here.release(tag="a")
    assert back.release_id == first.release_id
    assert back.moved
    assert served(here) == first.release_id


def test_an_older_day_is_kept_and_not_served(here: World) -> None:
    newer = here.release(NEXT)
    older = here.release(DAY)
    assert not older.moved
    assert newer.release_id in older.note
    assert served(here) == newer.release_id
    assert ids(here) == [newer.release_id, older.release_id]
    with Lookup(here.settings) as up:
        assert up.freshness(NEXT)["as_of"] == NEXT.isoformat()


def test_a_missing_partition_is_named_unless_optional(here: World) -> None:
    here.predict()
    with pytest.raises(ReleaseError, match=r"predictions\.retention_audience has no partition"):
        here.publish(DAY, AUDIENCE)
    assert served(here) is None
    assert here.publish(DAY, AUDIENCE, optional=("retention_audience",)).moved
    with pytest.raises(ValueError, match="not published: retention"):
        here.publish(DAY, optional=("retention",))


def test_a_new_table_with_lists_joins_and_leaves_the_others_alone(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DECLARED, AUDIENCE.qualified, AUDIENCE)
    before = here.release(DAY)
    here.predict(NEXT)
    here.warehouse.replace_partition(
        AUDIENCE,
        NEXT.isoformat(),
        "select * from (values (1, 'u9', ['x1', 'x2'], true, 'churn-1'), "
        "(2, 'u1', [], false, 'churn-1')) as a(rank, user_id, offer_item_ids, held_out, "
        "model_version)",
    )
    release = here.publish(NEXT, AUDIENCE)
    assert release.rows["retention_audience"] == 2
    assert rows_of(here, ITEMS, release.release_id) == 6 + 2
    with Lookup(here.settings) as up:
        (one,) = up.rows("retention_audience", user_id="u9")
        assert one == {
            "rank": 1,
            "user_id": "u9",
            "offer_item_ids": ["x1", "x2"],
            "held_out": True,
            "model_version": "churn-1",
        }
        assert [row["rank"] for row in up.rows("retention_audience")] == [1, 2]
        rollback(here.store)
        assert served(here) == before.release_id
        with pytest.raises(NotPublishedError, match="has no table retention_audience"):
            up.rows("retention_audience", user_id="u9")


def test_a_weekly_table_gives_the_newest_week_that_had_ended(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DECLARED, WEEKLY.qualified, WEEKLY)
    here.predict(DAY)
    for week in ("2024-02-19", "2024-02-26", "2024-03-04"):
        here.warehouse.replace_partition(
            WEEKLY,
            week,
            f"select 'i1' as item_id, 3 as reviews, date '{week}' as since, "
            f"timestamp '{week} 10:11:12.5' as newest_at, 'sentiment-1' as model_version",
        )
    here.publish(DAY, WEEKLY)  # DAY is the Sunday of the week of 26 February.
    with Lookup(here.settings) as up:
        answer = up.answer("item_sentiments", item_id="i1", since="2024-02-26")
        assert answer["partition"] == "2024-02-26"
        assert answer["rows"][0]["newest_at"] == dt.datetime(2024, 2, 26, 10, 11, 12, 500_000)
    here.predict(DAY - dt.timedelta(days=1))
    saturday = here.publish(DAY - dt.timedelta(days=1), WEEKLY)
    assert saturday.manifest["tables"]["item_sentiments"]["partition"] == "2024-02-19"


def test_a_rollback_serves_the_release_before_until_rows_change(here: World) -> None:
    first, second = here.release(DAY), here.release(NEXT)
    back = rollback(here.store)
    assert back.release_id == first.release_id
    assert back.moved
    assert second.release_id in back.note
    # The night's job runs again: the bad day stays rolled back.
    again = here.publish(NEXT)
    assert not again.moved
    assert "rolled back" in again.note
    assert served(here) == first.release_id
    with pytest.raises(ReleaseError, match="there is not a release before"):
        rollback(here.store)
    assert rollback(here.store, second.release_id).moved
    assert served(here) == second.release_id
    assert not rollback(here.store, second.release_id).moved
    rollback(here.store)
    mended = here.release(NEXT, tag="mended")
    assert mended.moved
    with pytest.raises(ReleaseError, match="not a release nonsense"):
        rollback(here.store, "nonsense")


def test_nothing_to_roll_back_to(here: World) -> None:
    with pytest.raises(NoReleaseError, match="batch-predictions run"):
        rollback(here.store)


def test_a_fallback_without_everyone_is_not_served(here: World) -> None:
    here.predict()
    here.warehouse.replace_partition(
        TABLES[1],
        DAY.isoformat(),
        "select 'age' as segment_level, '65+' as age_bracket, null as gender, null as location, "
        "1 as rank, 'a' as item_id, 1.0 as score, 1 as support, 'm' as model_version",
    )
    with pytest.raises(ReleaseError, match="no rows of the level everyone"):
        here.publish()
    assert served(here) is None


def test_a_table_of_another_key_is_refused_with_the_remedy(here: World) -> None:
    here.release()
    other = Table(
        "predictions", RECOMMENDATIONS.name, "", RECOMMENDATIONS.columns, key=("user_id",)
    )
    with pytest.raises(StoreError, match=r"has the key .* drop the table"):
        here.store.ensure([other])


def test_a_new_column_is_added(here: World) -> None:
    first = here.release()
    more = Table(
        "predictions",
        RECOMMENDATIONS.name,
        "",
        (*RECOMMENDATIONS.columns, *columns("why_text VARCHAR: in words")),
        key=RECOMMENDATIONS.key,
    )
    table = here.store.ensure([more])["recommendations"]
    with here.store.read() as db:
        assert db.execute(sa.select(table.c.why_text)).scalars().all() == [None] * 12
    assert here.release(NEXT).moved
    assert rows_of(here, table, first.release_id) == 12

"""Histories and quotes of a release: which rows they have, and that they live and go with it."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from batch_predictions.core.erasures import ErasedKeys
from batch_predictions.serving.erasure.store_erasure import erase_users
from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.lookup.item_lookup import item_sentiment
from batch_predictions.serving.release import context_tables, draft_records, user_histories
from batch_predictions.serving.release import publish as publishing
from batch_predictions.serving.release.context_tables import ContextChoice
from batch_predictions.serving.release.release_records import releases, rollback
from batch_predictions.serving.release_files.destinations import export_current
from batch_predictions.serving.release_files.release_source import ReleaseFiles
from batch_predictions.serving.store.pointer import ReleaseError
from batch_predictions.serving.store.store import ITEMS, store_table
from batch_predictions.settings import ServingSettings, Settings
from batch_predictions.tables import ITEM_SENTIMENTS, REVIEW_SENTIMENTS, REVIEWS, Table, columns
from batch_predictions.tables.release_tables import REVIEW_QUOTES, USER_HISTORY
from batch_predictions_tests.worlds.serving import DAY, ServingWorld, count_rows, current_release_id
from batch_predictions_tests.worlds.table_rows import named_rows, write_rows
from batch_predictions_tests.worlds.user_events import HISTORY, Event, ago, write_events

WEEK = dt.date(2024, 2, 26)
NEXT = DAY + dt.timedelta(days=1)
ALL = dataclasses.replace(HISTORY, quotes="all")


def write_reviews(world: ServingWorld, texts: dict[str, str | None], simulated: bool) -> None:
    """Reviews of item a1 by user u2, all of them examples of its sentiment."""
    values = {"date": DAY, "user_id": "u2", "item_id": "a1", "rating": 4.0, "simulated": simulated}
    rows = named_rows("review_id text", texts.items(), **values)
    write_rows(world.warehouse, REVIEWS, rows, DAY)
    week = {"week": WEEK, "item_id": "a1", "simulated": False, "model_version": "sentiment-1"}
    item = {**week, "reviews": 4, "net_sentiment": 0.4, "example_review_ids": list(texts)}
    write_rows(world.warehouse, ITEM_SENTIMENTS, [item])
    sentiments = [[name] for name in texts]
    scored = named_rows("review_id", sentiments, sentiment="positive", **week)
    write_rows(world.warehouse, REVIEW_SENTIMENTS, scored)


def publish(world: ServingWorld, context: ContextChoice, day: dt.date = DAY, **more: Any) -> str:
    tables = (ITEM_SENTIMENTS, REVIEW_SENTIMENTS) if context.quotes != "none" else ()
    return world.publish(day, *tables, context=context, **more).release_id


def history_of(world: ServingWorld, user_id: str) -> list[tuple[Any, ...]]:
    """Item, day, events and types of a user's history in the served release."""
    with Lookup(world.settings) as lookup:
        rows = lookup.rows(USER_HISTORY.name, user_id=user_id)
    assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
    return [(r["item_id"], r["last_on"], r["events"], r["event_types"]) for r in rows]


def test_a_history_has_the_newest_items_of_the_last_days(world: ServingWorld) -> None:
    world.predict()
    write_events(
        world,
        [
            (DAY, "u1", "early", "view", None, 9),
            (DAY, "u1", "late", "purchase", 1.0, 18),
            (ago(3), "u1", "early", "purchase", 1.0, 10),
            (ago(2), "u1", "back", "purchase", -1.0, None),
            (ago(5), "u1", "back", "purchase", 2.0, None),
            (ago(6), "u1", "fourth", "view", None, None),  # beyond history_items
            (DAY, "u1", "unread", "wishlist", None, 20),
            (ago(6), "u2", "at the bound", "view", None, None),
            (ago(7), "u3", "too old", "view", None, None),
            (NEXT, "u1", "tomorrow", "purchase", 1.0, None),
        ],
    )
    release_id = publish(world, HISTORY)
    assert history_of(world, "u1") == [
        ("late", DAY, 1, ["purchase"]),
        ("early", DAY, 2, ["purchase", "view"]),
        ("back", ago(2), 2, ["purchase", "return"]),
    ]
    assert history_of(world, "u2") == [("at the bound", ago(6), 1, ["view"])]
    assert history_of(world, "u3") == []
    with world.store.read() as db:
        titles = sa.select(ITEMS.c.item_id).where(ITEMS.c.release_id == release_id)
        stored = set(db.execute(titles).scalars())
    assert {"late", "early", "back", "at the bound"} <= stored
    assert not {"fourth", "unread", "too old", "tomorrow"} & stored


def test_of_equal_times_the_item_of_more_events_is_first(world: ServingWorld) -> None:
    world.predict()
    events: list[Event] = [(DAY, "u1", item, "view", None, None) for item in ("b", "c", "a", "c")]
    write_events(world, events)
    publish(world, HISTORY)
    assert [row[0] for row in history_of(world, "u1")] == ["c", "a", "b"]


def test_equal_rows_give_the_same_release_and_other_choices_another(world: ServingWorld) -> None:
    world.predict()
    write_events(world, [(DAY, "u1", item, "view", None, None) for item in ("a1", "a2")])
    write_reviews(world, {"r1": "soft"}, simulated=False)
    first = publish(world, ALL)
    assert publish(world, ALL) == first
    # An event that no history shows changes nothing.
    write_events(world, [(ago(20), "u1", "a1", "view", None, None)])
    assert publish(world, ALL) == first
    fewer = publish(world, dataclasses.replace(ALL, history_items=1))
    assert fewer != first and len(history_of(world, "u1")) == 1
    assert len({first, fewer, publish(world, ContextChoice())}) == 3
    [stored] = [r for r in releases(world.store) if r.release_id == first]
    assert stored.rows["user_history"] == 2 and stored.rows["review_quotes"] == 1
    assert not list((world.warehouse.folder / ".tmp").glob("*/*.parquet"))


def test_an_unchanged_publish_makes_no_rows(
    world: ServingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    make = context_tables.draft_context

    def count(*arguments: Any) -> Any:
        made.append(1)
        return make(*arguments)

    monkeypatch.setattr(publishing, "draft_context", count)
    world.predict()
    write_events(world, [(DAY, "u1", "a1", "view", None, None)])
    write_reviews(world, {"r1": "soft"}, simulated=False)
    first = publish(world, ALL)
    assert publish(world, ALL) == first and len(made) == 1
    # Whatever rows are made of makes them again, even if they are the same then.
    write_events(world, [(DAY, "u1", "a1", "view", None, 7)])
    assert publish(world, ALL) == first and len(made) == 2
    write_reviews(world, {"r1": "hard"}, simulated=False)
    second = publish(world, ALL)
    assert second != first and len(made) == 3
    write_reviews(world, {"r1": "soft"}, simulated=False)
    # Known, and still in the store.
    assert publish(world, ALL) == first and len(made) == 3
    records = world.warehouse.folder / draft_records.FILE_NAME
    for damage in ("", "[]", '{"x": 1}'):
        records.write_text(damage)
        assert publish(world, ALL) == first
    assert len(made) == 6


def test_an_input_that_changes_while_a_draft_is_made_is_not_remembered(
    world: ServingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.predict()
    write_events(world, [(DAY, "u1", "a1", "view", None, None)])
    batches = user_histories.HistoryQuery.batches

    def change(query: user_histories.HistoryQuery, warehouse: Any) -> Iterator[pa.RecordBatch]:
        yield from batches(query, warehouse)
        write_events(world, [(DAY, "u1", "a2", "view", None, None)])

    monkeypatch.setattr(user_histories.HistoryQuery, "batches", change)
    publish(world, HISTORY)
    monkeypatch.undo()
    assert not (world.warehouse.folder / draft_records.FILE_NAME).exists()
    publish(world, HISTORY)
    assert [row[0] for row in history_of(world, "u1")] == ["a2"]


def test_nothing_is_added_by_default_or_where_raw_rows_are_missing(world: ServingWorld) -> None:
    world.predict()
    tables = {"recommendations", "demographic_recommendations"}
    assert set(world.publish(DAY, context=ALL).rows) == tables
    write_events(world, [(DAY, "u1", "a1", "view", None, None)])
    assert set(world.publish(DAY).rows) == tables


def test_the_settings_choose(tmp_path: Path) -> None:
    def choice(**serving: Any) -> ContextChoice:
        home_settings = Settings(home=tmp_path, serving=ServingSettings(**serving))
        return ContextChoice.of(home_settings)

    default = choice()
    assert (default.history_items, default.history_days, default.quotes) == (10, 90, "simulated")
    assert {"purchase", "return"} <= set(default.event_types)
    assert choice(quotes=True).quotes == "all" and choice(quotes=False).quotes == "none"
    assert choice(history_items=0).history_items == 0


def test_quotes_are_of_the_examples_masked_and_cut(world: ServingWorld) -> None:
    world.predict()
    long = "All good things come to those who wait. " * 10
    write_reviews(
        world,
        {
            "r1": "Write me:\n ann.b@mail.example.com,  or call +49 (30) 123-4567!",
            "r2": long,
            "r3": "x" * 400,
            "r4": " ",
            "r5": "see https://shop.example/x?u=1 and @ann_b, 5 of 10, \0soft",
        },
        simulated=False,
    )
    publish(world, ALL)
    with Lookup(world.settings) as lookup:
        answer = item_sentiment(lookup, "a1")
    quotes = {quote["review_id"]: quote["text"] for quote in answer["quotes"]}
    assert quotes["r1"] == "Write me: …, or call …!"
    assert quotes["r5"] == "see … and …, 5 of 10, soft"
    cut = quotes["r2"]
    assert len(cut) <= 280 and cut.endswith("…") and long.startswith(cut[:-1] + " ")
    assert quotes["r3"] == "x" * 279 + "…"
    assert list(quotes) == ["r1", "r2", "r3", "r5"]
    assert {(q["rating"], q["sentiment"], q["written_on"]) for q in answer["quotes"]} == {
        (4.0, "positive", DAY)
    }
    assert "user_id" not in answer["quotes"][0]


def test_what_people_wrote_is_published_only_if_it_is_chosen(world: ServingWorld) -> None:
    world.predict()
    write_reviews(world, {"r1": "soft"}, simulated=False)
    write_events(world, [(DAY, "u1", "a1", "view", None, None)])
    simulated_only = dataclasses.replace(ALL, quotes="simulated")

    def quotes() -> Any:
        with Lookup(world.settings) as lookup:
            return item_sentiment(lookup, "a1")["quotes"]

    publish(world, simulated_only)
    assert quotes() == []
    world.publish(DAY, ITEM_SENTIMENTS, REVIEW_SENTIMENTS, context=HISTORY)
    assert quotes() is None
    write_reviews(world, {"r1": "soft"}, simulated=True)
    publish(world, simulated_only)
    assert [quote["text"] for quote in quotes()] == ["soft"]


def test_they_go_with_their_release_and_a_rollback_brings_them_back(world: ServingWorld) -> None:
    ids = []
    write_reviews(world, {"r1": "soft"}, simulated=False)
    for number in range(4):
        day = DAY + dt.timedelta(days=number)
        world.predict(day)
        write_events(world, [(day, "u1", f"i{number}", "view", None, None)])
        ids.append(publish(world, ALL, day, keep=2))
    tables = [
        store_table(t.name, {c.name: c.type for c in t.columns}, t.key)
        for t in (USER_HISTORY, REVIEW_QUOTES)
    ]
    kept = [[count_rows(world, table, release_id) for table in tables] for release_id in ids]
    assert kept == [[0, 0], [0, 0], [3, 1], [3, 1]]
    assert [row[0] for row in history_of(world, "u1")] == ["i3", "i2", "i1"]
    rollback(world.store)
    assert current_release_id(world) == ids[2]
    assert [row[0] for row in history_of(world, "u1")] == ["i2", "i1", "i0"]


def test_a_release_file_has_them(world: ServingWorld, tmp_path: Path) -> None:
    world.predict()
    write_events(world, [(DAY, "u1", "a1", "view", None, None)])
    write_reviews(world, {"r1": "soft"}, simulated=False)
    publish(world, ALL)
    exported = export_current(world.settings, tmp_path / "files").manifest
    assert exported.tables["user_history"].rows == exported.tables["review_quotes"].rows == 1
    with (
        ReleaseFiles(tmp_path / "files", poll_seconds=None) as files,
        Lookup(world.settings) as stored,
    ):
        filed = Lookup(files)
        for table, key in (("user_history", {"user_id": "u1"}), ("review_quotes", {})):
            rows = stored.rows(table, limit=None, **key)
            assert rows and filed.rows(table, limit=None, **key) == rows


def test_they_are_erased_with_their_user(world: ServingWorld, tmp_path: Path) -> None:
    """As DELETE does it, which knows the user's id and not those of their reviews."""
    world.predict()
    write_events(world, [(DAY, user, "a1", "view", None, None) for user in ("u1", "u2")])
    write_reviews(world, {"r1": "soft"}, simulated=False)
    publish(world, ALL)
    erase_users(world.store.engine, ErasedKeys(lambda user: user == "u2", frozenset({"u2"})))
    assert len(history_of(world, "u1")) == 1 and history_of(world, "u2") == []
    with Lookup(world.settings) as lookup:
        assert item_sentiment(lookup, "a1")["quotes"] == []
    # The record has the new numbers of rows, or the export would be refused.
    exported = export_current(world.settings, tmp_path / "files").manifest
    assert exported.tables["user_history"].rows == 1
    assert exported.tables["review_quotes"].rows == 0


def test_a_table_of_a_plugin_cannot_have_their_name(world: ServingWorld) -> None:
    world.predict()
    taken = Table(
        "predictions",
        "user_history",
        "A plugin's table.",
        columns("""
            date DATE: day
            user_id VARCHAR: user
        """),
        key=("user_id",),
    )
    path = world.warehouse.folder / "predictions" / "user_history" / f"date={DAY}"
    path.mkdir(parents=True)
    pq.write_table(pa.table({"user_id": ["u1"]}), path / "data.parquet")
    with pytest.raises(ReleaseError, match="a published table cannot be named user_history"):
        world.publish(DAY, taken, context=HISTORY)


def test_the_bytes_of_a_draft_do_not_depend_on_where_batches_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(context_tables, "GROUP_ROWS", 4)
    table = pa.table({"n": list(range(11)), "name": [None, *"abcdefghij"]})
    groups = []
    for size in (1, 3, 4, 11):
        reader = table.to_reader(max_chunksize=size)
        groups.append(
            [group.to_pylist() for group in context_tables._equal_groups(reader, table.schema)]
        )
    assert [len(group) for group in groups[0]] == [4, 4, 3]
    assert groups[0] == groups[1] == groups[2] == groups[3]
    assert [row for group in groups[0] for row in group] == table.to_pylist()

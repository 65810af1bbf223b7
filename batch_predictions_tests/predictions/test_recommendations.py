"""The daily lists: rules and reasons reach them, nobody is lost, unavailable items never show."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_predictions.inference.scorer import EXCLUDED, ScorerContext, ScorerMetric, metrics_in
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import WANTED
from batch_predictions.models.recommender.generators.ease import EASE
from batch_predictions.models.recommender.two_stage import TwoStage
from batch_predictions.predictions.recommendations import (
    NO_HISTORY,
    NOTHING_LEFT,
    RecommendationScorer,
)

AS_OF = dt.date(2024, 3, 31)
USERS, ITEMS, DAYS = 60, 24, 60


def world(seed: int = 3) -> pa.Table:
    """Planted tastes: users of a colour take its squares, four favourites of their own most."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        colour = np.arange(user % 2, ITEMS, 2)
        favourites = random.choice(colour, 4, replace=False)
        for day in range(0, DAYS, 2):
            item = random.choice(favourites) if random.random() < 0.8 else random.choice(colour)
            rows.append((f"u{user:02}", f"i{item:02}", AS_OF - dt.timedelta(days=day), 1.0))
    names = ("user_id", "item_id", "date", "events")
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("recommender")
    rows = Interactions.from_table(world())
    TwoStage.fit(rows, AS_OF, exclude_seen=False, seed=1, lesson_users=200).save(place / "model")
    yield place


def staged(extra: list[dict[str, Any]] | None = None) -> pa.RecordBatch:
    import duckdb

    events = world()
    with duckdb.connect() as db:
        db.register("events", events)
        rows = db.sql(
            """select user_id, list(item_id order by item_id, date) as item_ids,
            list((DATE '2024-03-31' - date)::INTEGER order by item_id, date) as ages,
            list(events order by item_id, date) as events,
            list(0::BIGINT order by item_id, date) as moments,
            list(null::DOUBLE order by item_id, date) as ratings, 'unknown' as age_bracket,
            'unknown' as gender, 'unknown' as location from events group by 1 order by 1"""
        ).to_arrow_table()
    if extra:
        more = pa.Table.from_pylist(extra, rows.schema)
        rows = pa.concat_tables([rows, more])
    return rows.combine_chunks().to_batches()[0]


def scorer(folder: Path, gone: list[str] | None = None, **changed: Any) -> RecommendationScorer:
    import duckdb

    events = world()
    items = sorted(set(events["item_id"].to_pylist()))
    with duckdb.connect() as db:
        db.register("events_", events)
        wanted = db.sql(WANTED.format(events="events_"), params={"date": AS_OF}).to_arrow_table()
    nothing = pa.table({"item_id": pa.array([], pa.string())})
    flags = pa.array([], pa.bool_())
    sides = {
        "wanted": wanted,
        "promoted": pa.table(
            {
                "weeks_ahead": pa.array([], pa.int32()),
                "item_id": pa.array([], pa.string()),
                "location": pa.array([], pa.string()),
                "display": flags,
                "mailer": flags,
                "tomorrow": flags,
            }
        ),
        "unavailable": pa.table({"item_id": pa.array(gone or [], pa.string())}),
        "boosted": changed.pop("boosted", nothing),
        "trending": pa.table({"item_id": items}),
        "categories": pa.table(
            {"item_id": items, "category": [f"c{int(item[1:]) % 3}" for item in items]}
        ),
    }
    side = {}
    for name, table in sides.items():
        side[name] = folder / f"{name}-{abs(hash((str(gone), str(changed))))}.parquet"
        pq.write_table(table, side[name])
    parameters = {
        "k": 8,
        "exclude_seen": False,
        "per_category": 0,
        "new_share": 0.0,
        "boost_places": 5,
        "blocked_items": [],
        "kept_scores": 12,
        "planned_weeks": 1,
        **changed,
    }
    return RecommendationScorer.open(ScorerContext(folder / "model", side, parameters))


def lists(answer: pa.RecordBatch) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in answer.to_pylist():
        if row[EXCLUDED] is None:
            found.setdefault(row["user_id"], []).append(row["item_id"])
    return found


def test_how_many_weeks_of_promotions_were_known_is_noted_where_more_are_asked_for(
    folder: Path,
) -> None:
    rows = staged()
    answer = scorer(folder, planned_weeks=4).score(rows)
    # The calendar is empty.
    assert metrics_in(answer.schema) == {
        "planned_weeks_known": ScorerMetric(mean=0.0, of=rows.num_rows)
    }
    assert metrics_in(scorer(folder).score(rows).schema) == {}


def test_planted_tastes_are_found(folder: Path) -> None:
    answer = lists(scorer(folder).score(staged()))
    assert len(answer) == USERS
    right = [int(item[1:]) % 2 == int(user[1:]) % 2 for user in answer for item in answer[user][:5]]
    assert np.mean(right) > 0.97


def test_an_item_that_goes_out_of_stock_is_offered_to_nobody(folder: Path) -> None:
    before = lists(scorer(folder).score(staged()))
    item = next(iter(before.values()))[0]
    after = lists(scorer(folder, gone=[item]).score(staged()))
    assert all(item not in each and len(each) == 8 for each in after.values())
    blocked = lists(scorer(folder, blocked_items=[item]).score(staged()))
    assert blocked == after


def test_a_user_without_history_is_left_to_the_fallback_and_one_of_unknown_items_is_not(
    folder: Path,
) -> None:
    unknown = {"age_bracket": "unknown", "gender": "unknown", "location": "unknown"}
    people = [
        {
            "user_id": "new",
            "item_ids": None,
            "ages": None,
            "events": None,
            "moments": None,
            "ratings": None,
            **unknown,
        },
        {
            "user_id": "odd",
            "item_ids": ["never"],
            "ages": [1],
            "events": [1.0],
            "moments": [0],
            "ratings": [4.0],
            **unknown,
        },
    ]
    answer = scorer(folder).score(staged(people))
    why = {row["user_id"]: row[EXCLUDED] for row in answer.to_pylist() if row[EXCLUDED]}
    assert why == {"new": NO_HISTORY}
    assert len(lists(answer)["odd"]) == 8


def test_where_everything_is_gone_the_reason_says_so(folder: Path) -> None:
    gone = sorted(set(world()["item_id"].to_pylist()))
    answer = scorer(folder, gone=gone).score(staged())
    assert {row[EXCLUDED] for row in answer.to_pylist()} == {NOTHING_LEFT}


def test_rules_reach_the_lists(folder: Path) -> None:
    capped = lists(scorer(folder, per_category=3).score(staged()))
    for items in capped.values():
        kinds = [int(item[1:]) % 3 for item in items]
        assert max(kinds.count(kind) for kind in range(3)) == 3
    had = {row["user_id"]: set(row["item_ids"]) for row in staged().to_pylist()}
    fresh = lists(scorer(folder, new_share=0.5).score(staged()))
    assert all(len(set(items) - had[user]) >= 4 for user, items in fresh.items())
    seen = lists(scorer(folder, exclude_seen=True).score(staged()))
    assert all(not set(items) & had[user] for user, items in seen.items())


def test_a_boosted_item_moves_up_by_its_places(folder: Path) -> None:
    plain = lists(scorer(folder).score(staged()))
    user, items = next(iter(plain.items()))
    boosted = pa.table({"item_id": [items[6]]})
    moved = lists(scorer(folder, boosted=boosted, boost_places=4).score(staged()))[user]
    assert moved.index(items[6]) == 2


def test_reasons_can_be_said_of_their_items(folder: Path) -> None:
    rows = staged()
    had = {row["user_id"]: set(row["item_ids"]) for row in rows.to_pylist()}
    reasons = set()
    for row in scorer(folder).score(rows).to_pylist():
        reason = row["reason"]
        reasons.add(reason.split(":")[0])
        if reason == "bought_before":
            assert row["item_id"] in had[row["user_id"]]
        if reason.startswith("because_you_liked:"):
            cause = reason.removeprefix("because_you_liked:")
            assert cause in had[row["user_id"]] and cause != row["item_id"]
    assert "bought_before" in reasons
    assert reasons <= {"bought_before", "because_you_liked", "trending"}


def test_a_user_gets_the_same_list_whatever_shard_it_is_in(folder: Path) -> None:
    rows, one = staged(), scorer(folder)
    whole = one.score(rows).to_pylist()
    parts = [row for at in range(0, USERS, 7) for row in one.score(rows.slice(at, 7)).to_pylist()]
    assert parts == whole


def test_the_candidates_are_kept_once_a_user_best_first(folder: Path) -> None:
    answer = scorer(folder).score(staged()).to_pylist()
    kept = [row for row in answer if row["item_scores"] is not None]
    assert len(kept) == USERS and all(row["rank"] == 1 for row in kept)
    for row in kept:
        scores = [entry["score"] for entry in row["item_scores"]]
        assert len(scores) == 12 and scores == sorted(scores, reverse=True)
        assert row["item_scores"][0] == {"item_id": row["item_id"], "score": row["score"]}


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_a_linear_model_that_serves_alone_is_searched_exactly(
    tmp_path: Path, exclude_seen: bool
) -> None:
    interactions = Interactions.from_table(world())
    model = EASE.fit(interactions, AS_OF, l2=3.0)
    model.save(tmp_path / "model")
    rows = staged()
    one = scorer(tmp_path, gone=["i05"], exclude_seen=exclude_seen, kept_scores=8)
    dense = model.rank(
        Histories.from_rows(rows, model.items),
        one.facts,
        5,
        exclude_seen=exclude_seen,
        blocked=one.blocked,
    )
    found = lists(one.score(rows))
    for row, user in enumerate(rows["user_id"].to_pylist()):
        expected = [model.items[int(place)].as_py() for place in dense.positions[row]]
        assert found[user][:5] == expected and "i05" not in found[user]


@pytest.mark.parametrize(
    ("kind", "wanted"), [("als", True), ("popularity", False), ("two_stage", False)]
)
def test_a_gpu_is_for_a_linear_model_that_serves_alone(
    tmp_path: Path, kind: str, wanted: bool
) -> None:
    (tmp_path / "recommender.json").write_text(f'{{"kind": "{kind}"}}', encoding="utf-8")
    assert RecommendationScorer.uses_gpu(tmp_path) is wanted

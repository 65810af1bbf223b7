"""The recommendation scorer: rules, reasons, exclusions, and unavailable items."""

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
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ITEM_STATS_SQL
from batch_predictions.models.recommender.data.staged_histories import IdLookup, read_histories
from batch_predictions.models.recommender.generators.ease import EASE, EASEParams
from batch_predictions.models.recommender.training.config import TwoStageConfig
from batch_predictions.models.recommender.training.trainer import RankerTrainer
from batch_predictions.predictions.recommendation_lists import NO_HISTORY, NOTHING_LEFT
from batch_predictions.predictions.recommendation_scorer import PROCESS_USERS, RecommendationScorer
from batch_predictions.predictions.recommendations import parameters, plot
from batch_predictions.settings import Settings
from batch_predictions.tables import RECOMMENDATIONS
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.table_rows import named_rows, write_rows

AS_OF = dt.date(2024, 3, 31)
USERS, ITEMS, DAYS = 60, 24, 60


def make_rows(seed: int = 3) -> pa.Table:
    """Users take the items of their parity, four favourites of their own most often."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        same_parity = np.arange(user % 2, ITEMS, 2)
        favourites = rng.choice(same_parity, 4, replace=False)
        for day in range(0, DAYS, 2):
            item = rng.choice(favourites) if rng.random() < 0.8 else rng.choice(same_parity)
            rows.append((f"u{user:02}", f"i{item:02}", AS_OF - dt.timedelta(days=day), 1.0))
    names = ("user_id", "item_id", "date", "events")
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("recommender")
    config = TwoStageConfig(exclude_seen=False, seed=1, max_labelled_users=200)
    model = RankerTrainer(config).fit(Interactions.from_table(make_rows()), AS_OF)
    model.save(folder / "model")
    yield folder


def make_batch(extra: list[dict[str, Any]] | None = None) -> pa.RecordBatch:
    import duckdb

    events = make_rows()
    with duckdb.connect() as db:
        db.register("events", events)
        rows = db.sql(
            """select user_id, list(item_id order by item_id, date) as item_ids,
            list((DATE '2024-03-31' - date)::INTEGER order by item_id, date) as ages,
            list(events order by item_id, date) as events,
            list(0::BIGINT order by item_id, date) as timestamps,
            list(null::DOUBLE order by item_id, date) as ratings, 'unknown' as age_bracket,
            'unknown' as gender, 'unknown' as location from events group by 1 order by 1"""
        ).to_arrow_table()
    if extra:
        more = pa.Table.from_pylist(extra, rows.schema)
        rows = pa.concat_tables([rows, more])
    return rows.combine_chunks().to_batches()[0]


def open_scorer(
    folder: Path, unavailable: list[str] | None = None, **changed: Any
) -> RecommendationScorer:
    import duckdb

    events = make_rows()
    items = sorted(set(events["item_id"].to_pylist()))
    with duckdb.connect() as db:
        db.register("events_", events)
        stats = db.sql(
            ITEM_STATS_SQL.format(interactions="(select *, events as targets from events_)"),
            params={"date": AS_OF},
        ).to_arrow_table()
    flags = pa.array([], pa.bool_())
    tables = {
        "item_stats": stats,
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
        "unavailable": pa.table({"item_id": pa.array(unavailable or [], pa.string())}),
        "rules": changed.pop("rules", rules_of(items)),
        "trending": pa.table({"item_id": [i for i in items if i not in (unavailable or [])]}),
    }
    files = {}
    for name, table in tables.items():
        files[name] = folder / f"{name}-{abs(hash((str(unavailable), str(changed))))}.parquet"
        pq.write_table(table, files[name])
    parameters = {
        "k": 8,
        "exclude_seen": False,
        "limits": [],
        "new_share": 0.0,
        "kept_scores": 12,
        "planned_weeks": 1,
        **changed,
    }
    return RecommendationScorer.open(ScorerContext(folder / "model", files, parameters))


def rules_of(items: list[str], boost: int = 0, groups: list[list[str]] | None = None) -> pa.Table:
    """Rows of features.item_rules."""
    return pa.table(
        {
            "item_id": items,
            "boost": pa.array([boost] * len(items), pa.int32()),
            "groups": pa.array(groups or [[]] * len(items), pa.list_(pa.string())),
        }
    )


def lists_of(scored: pa.RecordBatch) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for row in scored.to_pylist():
        if row[EXCLUDED] is None:
            lists.setdefault(row["user_id"], []).append(row["item_id"])
    return lists


def test_the_number_of_known_promotion_weeks_is_a_metric(
    folder: Path,
) -> None:
    rows = make_batch()
    answer = open_scorer(folder, planned_weeks=4).score(rows)
    # The calendar is empty.
    assert metrics_in(answer.schema) == {
        "planned_weeks_known": ScorerMetric(mean=0.0, sample_size=rows.num_rows)
    }
    assert metrics_in(open_scorer(folder).score(rows).schema) == {}


def test_planted_tastes_are_found(folder: Path) -> None:
    answer = lists_of(open_scorer(folder).score(make_batch()))
    assert len(answer) == USERS
    same_taste = [
        int(item[1:]) % 2 == int(user[1:]) % 2 for user in answer for item in answer[user][:5]
    ]
    assert np.mean(same_taste) > 0.97


def test_an_unavailable_item_is_not_recommended(folder: Path) -> None:
    lists_before = lists_of(open_scorer(folder).score(make_batch()))
    item = next(iter(lists_before.values()))[0]
    lists_after = lists_of(open_scorer(folder, unavailable=[item]).score(make_batch()))
    assert all(item not in items and len(items) == 8 for items in lists_after.values())


def test_only_users_without_any_history_are_excluded(
    folder: Path,
) -> None:
    unknown = {"age_bracket": "unknown", "gender": "unknown", "location": "unknown"}
    users: list[dict[str, Any]] = [
        {
            "user_id": "new",
            "item_ids": None,
            "ages": None,
            "events": None,
            "timestamps": None,
            "ratings": None,
            **unknown,
        },
        {
            "user_id": "unknown_items",
            "item_ids": ["never"],
            "ages": [1],
            "events": [1.0],
            "timestamps": [0],
            "ratings": [4.0],
            **unknown,
        },
    ]
    answer = open_scorer(folder).score(make_batch(users))
    reasons = {row["user_id"]: row[EXCLUDED] for row in answer.to_pylist() if row[EXCLUDED]}
    assert reasons == {"new": NO_HISTORY}
    assert len(lists_of(answer)["unknown_items"]) == 8


def test_users_are_excluded_where_no_item_is_available(folder: Path) -> None:
    items = sorted(set(make_rows()["item_id"].to_pylist()))
    answer = open_scorer(folder, unavailable=items).score(make_batch())
    assert {row[EXCLUDED] for row in answer.to_pylist()} == {NOTHING_LEFT}


def test_rules_reach_the_lists(folder: Path) -> None:
    items = sorted(set(make_rows()["item_id"].to_pylist()))
    rules = rules_of(items, groups=[[f"c{int(item[1:]) % 3}"] for item in items])
    capped = lists_of(open_scorer(folder, rules=rules, limits=[3]).score(make_batch()))
    for items in capped.values():
        categories = [int(item[1:]) % 3 for item in items]
        assert max(categories.count(category) for category in range(3)) == 3
    histories = {row["user_id"]: set(row["item_ids"]) for row in make_batch().to_pylist()}
    new_half = lists_of(open_scorer(folder, new_share=0.5).score(make_batch()))
    assert all(len(set(items) - histories[user]) >= 4 for user, items in new_half.items())
    unseen = lists_of(open_scorer(folder, exclude_seen=True).score(make_batch()))
    assert all(not set(items) & histories[user] for user, items in unseen.items())


def test_a_boosted_item_moves_up_by_its_places(folder: Path) -> None:
    plain = lists_of(open_scorer(folder).score(make_batch()))
    user, items = next(iter(plain.items()))
    rules = rules_of([items[6]], boost=4)
    moved = lists_of(open_scorer(folder, rules=rules).score(make_batch()))[user]
    assert moved.index(items[6]) == 2


def test_reasons_fit_their_items(folder: Path) -> None:
    rows = make_batch()
    histories = {row["user_id"]: set(row["item_ids"]) for row in rows.to_pylist()}
    reasons = set()
    for row in open_scorer(folder).score(rows).to_pylist():
        reason = row["reason"]
        reasons.add(reason.split(":")[0])
        if reason == "bought_before":
            assert row["item_id"] in histories[row["user_id"]]
        if reason.startswith("because_you_liked:"):
            contributor = reason.removeprefix("because_you_liked:")
            assert contributor in histories[row["user_id"]] and contributor != row["item_id"]
    assert "bought_before" in reasons
    assert reasons <= {"bought_before", "because_you_liked", "trending"}


def test_a_viewed_item_may_be_offered_and_says_so(folder: Path) -> None:
    rows = make_batch()
    lists = rows["item_ids"].to_pylist()
    # Users viewed their item of the lowest id, and took the others.
    viewed = {
        user: min(items) for user, items in zip(rows["user_id"].to_pylist(), lists, strict=True)
    }
    taken = [[item != min(items) for item in items] for items in lists]
    rows = rows.append_column("targets", pa.array([[float(flag) for flag in row] for row in taken]))
    rows = rows.append_column("is_seen", pa.array(taken))
    scored = open_scorer(folder, exclude_seen=True).score(rows).to_pylist()
    offered = {(row["user_id"], row["item_id"]): row["reason"] for row in scored}
    histories = {
        user: set(items) for user, items in zip(rows["user_id"].to_pylist(), lists, strict=True)
    }
    known = {pair: reason for pair, reason in offered.items() if pair[1] in histories[pair[0]]}
    assert known and all(viewed[user] == item for user, item in known)
    assert "viewed_before" in known.values() and "bought_before" not in offered.values()


def test_a_users_list_does_not_depend_on_the_shard(folder: Path) -> None:
    rows, scorer = make_batch(), open_scorer(folder)
    all_rows = scorer.score(rows).to_pylist()
    shards = [rows.slice(start, 7) for start in range(0, USERS, 7)]
    by_shard = [row for shard in shards for row in scorer.score(shard).to_pylist()]
    assert by_shard == all_rows


def test_the_candidates_are_kept_once_a_user_best_first(folder: Path) -> None:
    answer = open_scorer(folder).score(make_batch()).to_pylist()
    scored = [row for row in answer if row["item_scores"] is not None]
    assert len(scored) == USERS and all(row["rank"] == 1 for row in scored)
    for row in scored:
        scores = [entry["score"] for entry in row["item_scores"]]
        assert len(scores) == 12 and scores == sorted(scores, reverse=True)
        assert row["item_scores"][0] == {"item_id": row["item_id"], "score": row["score"]}


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_a_single_linear_model_uses_exact_search(tmp_path: Path, exclude_seen: bool) -> None:
    interactions = Interactions.from_table(make_rows())
    model = EASE.fit(interactions, AS_OF, EASEParams(l2=3.0))
    model.save(tmp_path / "model")
    rows = make_batch()
    scorer = open_scorer(tmp_path, unavailable=["i05"], exclude_seen=exclude_seen, kept_scores=8)
    dense = model.rank(
        read_histories(rows, IdLookup.of(model.items)),
        scorer.item_features,
        5,
        exclude_seen=exclude_seen,
        blocked=scorer.blocked,
    )
    lists = lists_of(scorer.score(rows))
    for row, user in enumerate(rows["user_id"].to_pylist()):
        expected = [model.items[int(position)].as_py() for position in dense.positions[row]]
        assert lists[user][:5] == expected and "i05" not in lists[user]


@pytest.mark.parametrize(
    ("kind", "uses_gpu", "process_rows"),
    [("als", True, None), ("popularity", False, None), ("two_stage", False, PROCESS_USERS)],
)
def test_a_linear_model_uses_a_gpu_and_two_stages_many_processes(
    tmp_path: Path, kind: str, uses_gpu: bool, process_rows: int | None
) -> None:
    (tmp_path / "recommender.json").write_text(f'{{"kind": "{kind}"}}', encoding="utf-8")
    assert RecommendationScorer.uses_gpu(tmp_path) is uses_gpu
    assert RecommendationScorer.process_rows(tmp_path) == process_rows


def test_scores_are_kept_as_deep_as_promotion_audiences_read_them(tmp_path: Path) -> None:
    day = pa.table({"user_id": ["u"], "item_id": ["i"], "date": [AS_OF]})
    pq.write_table(day, tmp_path / "interactions.parquet")
    source = {"kind": "files", "path": tmp_path}
    settings = Settings.model_validate({"home": tmp_path / "home", "source": source})
    assert parameters(settings)["kept_scores"] == settings.recommendations.k
    promotions = {"campaign_id": ["c"], "item_id": ["i"], "starts_on": [AS_OF], "ends_on": [AS_OF]}
    pq.write_table(pa.table(promotions), tmp_path / "promotions.parquet")
    assert parameters(settings)["kept_scores"] == 200
    config = settings.recommendations.model_copy(update={"kept_scores": 50})
    changed = settings.model_copy(update={"recommendations": config})
    assert parameters(changed)["kept_scores"] == 50


def test_the_plot_has_the_users_of_every_recommended_item(warehouse: Warehouse) -> None:
    lists = [("u0", 1, "a"), ("u1", 1, "a"), ("u1", 2, "b")]
    rows = named_rows("user_id rank item_id", lists, date=AS_OF)
    write_rows(warehouse, RECOMMENDATIONS, rows)
    figure = plot(warehouse, str(AS_OF))
    assert figure is not None
    [line] = figure.axes[0].lines
    assert np.asarray(line.get_ydata()).tolist() == [2, 1]
    assert plot(warehouse, "2024-03-01") is None

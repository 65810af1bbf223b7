"""The contest: a real pattern wins, noise does not, and small data never breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.base import Recommender
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFacts
from batch_predictions.models.recommender.selection import (
    FALLBACK,
    OWN_HISTORY,
    POPULARITY,
    Selection,
    select,
)
from batch_predictions.models.recommender.training.trainer import Course
from batch_predictions.models.recommender.two_stage import TwoStage
from batch_predictions_tests.worlds.paths import MOVIELENS

THROUGH = date(2024, 3, 31)
ML = MOVIELENS / "ml-100k.inter"
FEW = ("ease", "item_neighbours", "recent", "own_history")
"""Generators that are quick to fit."""


def course(exclude_seen: bool, seed: int = 0, **changed: object) -> Course:
    """Enough for tiny worlds, and quick."""
    return Course(
        exclude_seen=exclude_seen,
        seed=seed,
        threads=1,
        **{"generators": FEW, "lesson_users": 200, **changed},  # type: ignore[arg-type]
    )


def table(users: list[str], items: list[str], days: list[date]) -> pa.Table:
    return pa.table({"user_id": users, "item_id": items, "date": days, "events": [1] * len(users)})


def turns(seed: int = 0, users: int = 50, items: int = 60, own: int = 14) -> Interactions:
    """Every user takes its own items in turn, one a day: those longest not taken are next, which
    nothing but their age in the history can tell."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        mine = random.permutation(items)[:own]
        rows += [
            (f"u{user:02}", f"i{mine[day % own]:02}", THROUGH - timedelta(days=55 - day))
            for day in range(56)
        ]
    return Interactions.from_table(table(*map(list, zip(*rows, strict=True))))


def delays(seed: int = 0, users: int = 50, days: int = 60) -> Interactions:
    """Two new items a day, one of each colour; scouts take them at once, all others, of their own
    colour, eight to fourteen days later: what was most taken lately is over."""
    random = np.random.default_rng(seed)
    start = THROUGH - timedelta(days=days - 1)
    rows = [
        (f"scout{colour}", f"i{day:02}{colour}", start + timedelta(days=day))
        for day in range(days)
        for colour in (0, 1)
    ]
    for user in range(users):
        seen: set[int] = set()
        for day in range(14 + user % 2, days, 2):
            free = [each for each in range(day - 14, day - 7) if each not in seen]
            item = free[int(random.integers(len(free)))]
            seen.add(item)
            rows.append((f"u{user:02}", f"i{item:02}{user % 2}", start + timedelta(days=day)))
    return Interactions.from_table(table(*map(list, zip(*rows, strict=True))))


def noise(seed: int = 0, users: int = 60, items: int = 30) -> Interactions:
    """Anyone takes anything, over 40 days."""
    random = np.random.default_rng(seed)
    rows = [
        (f"u{user:02}", f"i{int(random.integers(items)):02}", THROUGH - timedelta(days=day))
        for user in range(users)
        for day in range(40)
    ]
    return Interactions.from_table(table(*map(list, zip(*rows, strict=True))))


def check(selection: Selection) -> None:
    keys = [(row["candidate"], row["metric"]) for row in selection.metrics]
    assert len(keys) == len(set(keys))
    for row in selection.metrics:
        assert row["value"] is not None
        if row["lower"] is not None:
            assert row["lower"] <= row["value"] <= row["upper"]
    assert selection.model.name == selection.chosen
    assert selection.why.endswith(".") and selection.chosen in selection.why


def ndcgs(selection: Selection) -> dict[str, float]:
    return {
        str(row["candidate"]): float(row["value"] or 0)
        for row in selection.metrics
        if row["metric"] == "ndcg@10"
    }


def best_of(model: Recommender, rows: Interactions, k: int = 5) -> np.ndarray:
    """The best items of every user, by position in the model's items."""
    histories = Histories.of(rows, np.arange(len(rows.user_ids)), model.items, THROUGH)
    facts = ItemFacts.of(rows, THROUGH, model.items)
    return model.rank(histories, facts, k, exclude_seen=False).positions


@pytest.mark.parametrize(("world", "exclude_seen"), [(turns, False), (delays, True)])
def test_a_personal_pattern_is_promoted(world: Callable[[], Interactions], exclude_seen: bool):
    lines: list[str] = []
    taught = course(exclude_seen, say=lines.append)
    selection = select(world(), THROUGH, taught)
    check(selection)
    assert selection.beats_baseline and selection.chosen == "two_stage"
    assert isinstance(selection.model, TwoStage)
    assert selection.split == "time" and "95 % interval" in selection.why
    assert any("past windows" in line for line in lines)
    own = set() if exclude_seen else {"own_history", *OWN_HISTORY}
    expected = {"two_stage", "ease", "item_neighbours", *POPULARITY, *own}
    assert {row["candidate"] for row in selection.metrics} == expected == {*selection.measured}
    # The winner has learned again from the days of the contest as well.
    assert selection.model.items.equals(world().item_ids)
    gain = next(row for row in selection.metrics if row["metric"] == "ndcg@10_gain")
    found = ndcgs(selection)
    best = max(value for name, value in found.items() if name != "two_stage")
    assert gain["value"] == pytest.approx(found["two_stage"] - best) and gain["lower"] > 0


def test_noise_is_not_promoted():
    selection = select(noise(), THROUGH, course(False))
    check(selection)
    assert not selection.beats_baseline and selection.chosen != "two_stage"
    found = ndcgs(selection)
    assert "two_stage" in found
    simpler = {name: value for name, value in found.items() if name != "two_stage"}
    assert selection.chosen == max(simpler, key=lambda name: simpler[name])


def test_rows_after_the_training_day_are_not_looked_at():
    rows = turns()
    early = THROUGH - timedelta(days=10)
    one = select(rows, early, course(False))
    two = select(rows.up_to(early), early, course(False))
    assert one.metrics == two.metrics and one.why == two.why
    np.testing.assert_array_equal(best_of(one.model, rows), best_of(two.model, rows))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path):
    models = [
        select(turns(), THROUGH, course(False, seed=3, generators=None)).model for _ in range(2)
    ]
    for name, model in zip("ab", models, strict=True):
        model.save(tmp_path / name)
    files = contents(tmp_path / "a")
    assert files == contents(tmp_path / "b")
    assert {"recommender.json", "ranker-0.txt", "als/gram.npy", "ease/weights.npy"} <= files.keys()
    loaded = Recommender.load(tmp_path / "a")
    assert loaded.name == "two_stage" and loaded.params == models[0].params
    np.testing.assert_array_equal(best_of(loaded, turns()), best_of(models[0], turns()))


def test_trees_of_more_seeds_are_added_to_those_of_one():
    rows = turns()
    one = course(False)
    lessons = one.past(rows, THROUGH)
    single, double = (
        replace(one, seeds=seeds).ranker(lessons).mixed.trees.texts for seeds in (1, 2)
    )
    assert double[: len(single)] == single and len(double) == 2 * len(single)
    assert not {*double[len(single) :]} & {*single}


def test_parameters_reach_their_generator():
    changed = course(False, params={"ease": {"max_items": 12}})
    selection = select(turns(), THROUGH, changed)
    assert isinstance(selection.model, TwoStage)
    sizes = {m.declared.name: len(m.model.items) for m in selection.model.bundle.members}
    assert sizes["ease"] == 12 and sizes["item_neighbours"] == 60


def test_rare_items_of_ones_own_are_offered_though_no_other_generator_knows_them():
    rows = turns()
    selection = select(rows, THROUGH, course(False, max_items=15))
    assert isinstance(selection.model, TwoStage)
    bundle = selection.model.bundle
    assert {m.declared.name: len(m.model.items) for m in bundle.members} == {
        "ease": 15,
        "item_neighbours": 15,
        "recent": 15,
        "own_history": 60,
    }
    assert bundle.items.equals(rows.item_ids)
    # A week ahead are the seven items longest not taken, wherever they stand in the catalogue.
    offered = best_of(selection.model, rows, 1)[:, 0]
    histories = Histories.of(rows, np.arange(50), bundle.items, THROUGH)
    entries = histories.entry_of(offered[:, np.newaxis])[:, 0]
    assert (histories.youngest[entries] >= 7).all()


def test_newest_items_are_learned_from_newest_items():
    rows = delays()
    lessons = course(True, lesson_users=120).past(rows, THROUGH, "leave_newest")
    # 50 users a lesson, each hiding what is newest after the one before.
    assert len(lessons) == 3 and all(len(each.groups) for each in lessons)


def test_what_reads_times_is_not_fitted_where_there_are_none():
    taught = course(True, generators=("ease", "sequence_ease", "sequence_neighbours"))
    timed = turns(users=8)
    fitted = [each.declared.name for each in taught.bundle(timed, THROUGH).members]
    assert fitted == ["ease", "sequence_neighbours", "sequence_ease"]
    without = timed.where(timed.dates == timed.dates.max())
    fitted = [each.declared.name for each in taught.bundle(without, THROUGH).members]
    assert fitted == ["ease"]


@pytest.mark.parametrize("alone", ["als", "graph_filter", "current_neighbours"])
def test_a_generator_that_wins_alone_serves_under_its_own_name(alone: str):
    """Users like squares of their colour: any likeness of items finds them, popularity cannot."""
    random = np.random.default_rng(0)
    rows = [
        (f"u{user:02}", f"i{int(random.integers(15)) * 2 + user % 2:02}", day)
        for user in range(60)
        for day in (THROUGH - timedelta(days=age) for age in range(0, 40, 3))
    ]
    world = Interactions.from_table(table(*map(list, zip(*rows, strict=True))))
    only = course(True, generators=[alone])
    selection = select(world, THROUGH, only, candidates=())
    check(selection)
    assert selection.chosen == alone and not selection.beats_baseline
    assert "two_stage" not in ndcgs(selection)


def test_an_unknown_candidate_is_refused():
    with pytest.raises(ValueError, match="svd"):
        select(turns(), THROUGH, course(False), candidates=["svd"])


THREE = (["a", "b", "c"] * 3, ["x", "y", "z", "y", "z", "x", "z", "x", "y"])
SMALL = {
    "one row": table(["a"], ["x"], [THROUGH]),
    "one day": table(*THREE, [THROUGH] * 9),
    "three days": table(*THREE, [THROUGH - timedelta(days=10 * (i // 3)) for i in range(9)]),
    "only the hold-out": table(*THREE, [THROUGH - timedelta(days=i // 3) for i in range(9)]),
    "nobody came back": table(["a", "b"], ["x", "y"], [THROUGH - timedelta(days=30), THROUGH]),
    "only the same again": table(["a"] * 2, ["x"] * 2, [THROUGH - timedelta(days=30), THROUGH]),
    "long ago": table(["a", "b"], ["x", "y"], [date(2020, 1, 1), date(2020, 1, 2)]),
}


@pytest.mark.parametrize("exclude_seen", [False, True])
@pytest.mark.parametrize("world", sorted(SMALL))
def test_small_data_is_enough(world: str, exclude_seen: bool):
    interactions = Interactions.from_table(SMALL[world])
    selection = select(interactions, THROUGH, Course(exclude_seen=exclude_seen, threads=1))
    check(selection)
    if world not in ("one day", "three days", "only the same again"):
        assert "nothing could be measured" in selection.why and selection.metrics == []
        assert selection.chosen == (FALLBACK if world != "one row" else "popularity")
    top = best_of(selection.model, interactions, 2)
    assert top.shape == (len(interactions.user_ids), 2)
    if world == "one day":
        assert selection.split == "leave_out" and selection.metrics
    if world == "only the same again":
        assert ("none took anything new" in selection.why) == exclude_seen


def test_nothing_to_learn_from_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="no interactions up to 2019"):
        select(turns(), date(2019, 1, 1), course(False))


@pytest.mark.real_data
@pytest.mark.skipif(not ML.exists(), reason="MovieLens 100K is not beside the checkout")
def test_movielens_films_are_ranked_as_well_as_is_known():
    rows = np.loadtxt(ML, skiprows=1, dtype=str, delimiter="\t")
    days = rows[:, 3].astype(np.int64).astype("datetime64[s]").astype("datetime64[D]")
    films = Interactions.from_table(
        pa.table(
            {"user_id": rows[:, 0], "item_id": rows[:, 1], "date": days, "events": [1] * len(rows)}
        )
    )
    taught = Course(exclude_seen=True, window_days=22, seed=0)
    selection = select(films, date(1998, 4, 22), taught)
    check(selection)
    found = ndcgs(selection)
    assert found["als"] > 0.18 and found["ease"] > 0.17
    assert found["recency_popularity_14d"] > 0.2 > found["popularity"]
    assert found["two_stage"] > 0.24 and found["two_stage"] > found["recency_popularity_14d"]
    # 88 users are too few to be sure of it.
    assert selection.beats_baseline == (selection.chosen == "two_stage")

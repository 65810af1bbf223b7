"""Selection: a real pattern wins, noise does not, and the smallest data is enough."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_predictions.models.recommender.base import Recommender
from batch_predictions.models.recommender.combined_evaluation import BLEND
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.generators.base import generators
from batch_predictions.models.recommender.generators.candidate_generation import Progress
from batch_predictions.models.recommender.ranker.two_stage import (
    TwoStageRecommender,
    load_recommender,
)
from batch_predictions.models.recommender.recommender_inputs import (
    candidates_of_each,
    two_stage_config,
)
from batch_predictions.models.recommender.recommender_selection import (
    COMBINED_CANDIDATES,
    FALLBACK,
    POPULARITY_BASELINES,
    USER_FREQUENCY_BASELINES,
    Selection,
    select,
)
from batch_predictions.models.recommender.training.config import TwoStageConfig
from batch_predictions.models.recommender.training.trainer import RankerTrainer
from batch_predictions.settings import (
    RecommendationsSettings,
    RecommenderSettings,
    Settings,
    SourceSettings,
)
from batch_predictions_tests.worlds.paths import MOVIELENS

THROUGH = date(2024, 3, 31)
ML = MOVIELENS / "ml-100k.inter"
QUICK_GENERATORS = ("ease", "item_neighbours", "recent", "own_history")


def trainer(
    exclude_seen: bool, seed: int = 0, progress: Progress | None = None, **config: Any
) -> RankerTrainer:
    """A trainer that is quick on tiny worlds."""
    defaults = {"generators": QUICK_GENERATORS, "max_labelled_users": 200, "threads": 1}
    return RankerTrainer(
        TwoStageConfig(exclude_seen=exclude_seen, seed=seed, **{**defaults, **config}),
        progress=progress,
    )


def table(users: list[str], items: list[str], days: list[date]) -> pa.Table:
    return pa.table({"user_id": users, "item_id": items, "date": days, "events": [1] * len(users)})


def cyclic_tastes(seed: int = 0, users: int = 50, items: int = 60, own: int = 14) -> Interactions:
    """Every user takes its own items in turn, one a day.

    The item taken longest ago is next, which only the age in the history reveals.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        user_items = rng.permutation(items)[:own]
        rows += [
            (f"u{user:02}", f"i{user_items[day % own]:02}", THROUGH - timedelta(days=55 - day))
            for day in range(56)
        ]
    return Interactions.from_table(table(*map(list, zip(*rows, strict=True))))


def followers(seed: int = 0, users: int = 50, days: int = 60) -> Interactions:
    """Two new items a day, one of each colour.

    Scouts take them at once, all other users, of their own colour, 8 to 14 days later: recent
    popularity comes too early.
    """
    rng = np.random.default_rng(seed)
    start = THROUGH - timedelta(days=days - 1)
    rows = [
        (f"scout{colour}", f"i{day:02}{colour}", start + timedelta(days=day))
        for day in range(days)
        for colour in (0, 1)
    ]
    for user in range(users):
        seen: set[int] = set()
        for day in range(14 + user % 2, days, 2):
            unseen = [item for item in range(day - 14, day - 7) if item not in seen]
            item = unseen[int(rng.integers(len(unseen)))]
            seen.add(item)
            rows.append((f"u{user:02}", f"i{item:02}{user % 2}", start + timedelta(days=day)))
    return Interactions.from_table(table(*map(list, zip(*rows, strict=True))))


def noise(seed: int = 0, users: int = 60, items: int = 30) -> Interactions:
    """Every user takes random items over 40 days."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"u{user:02}", f"i{int(rng.integers(items)):02}", THROUGH - timedelta(days=day))
        for user in range(users)
        for day in range(40)
    ]
    return Interactions.from_table(table(*map(list, zip(*rows, strict=True))))


def check_metrics(selection: Selection) -> None:
    rows: list[dict[str, Any]] = selection.metrics
    keys = [(row["candidate"], row["metric"]) for row in rows]
    assert len(keys) == len(set(keys))
    for row in rows:
        assert row["value"] is not None
        if row["lower"] is not None:
            assert row["lower"] <= row["value"] <= row["upper"]
    assert selection.model.name == selection.candidate
    assert selection.why.endswith(".") and selection.candidate in selection.why


def ndcgs(selection: Selection) -> dict[str, float]:
    return {
        str(row["candidate"]): float(row["value"] or 0)
        for row in selection.metrics
        if row["metric"] == "ndcg@10"
    }


def best_of(model: Recommender, rows: Interactions, k: int = 5) -> np.ndarray:
    """The best items of every user, by position in the model's items."""
    histories = Histories.from_interactions(
        rows, np.arange(len(rows.user_ids)), model.items, THROUGH
    )
    features = ItemFeatures.from_interactions(rows, THROUGH, model.items)
    return model.rank(histories, features, k, exclude_seen=False).positions


@pytest.mark.parametrize(("world", "exclude_seen"), [(cyclic_tastes, False), (followers, True)])
def test_a_personal_pattern_is_promoted(
    world: Callable[[], Interactions], exclude_seen: bool
) -> None:
    lines: list[str] = []
    selection = select(world(), THROUGH, trainer(exclude_seen, progress=lines.append))
    check_metrics(selection)
    assert selection.beats_baseline and selection.candidate == "two_stage"
    assert isinstance(selection.model, TwoStageRecommender)
    assert selection.split == "time" and "95 % interval" in selection.why
    assert any("past windows" in line for line in lines)
    frequency = set() if exclude_seen else {"own_history", *USER_FREQUENCY_BASELINES}
    expected = {"two_stage", "blend", "ease", "item_neighbours", *POPULARITY_BASELINES, *frequency}
    assert {row["candidate"] for row in selection.metrics} == expected == {*selection.evaluations}
    # The winner was fitted again, on the days of the hold-out too.
    assert selection.model.items.equals(world().item_ids)
    by_name = ndcgs(selection)
    best = max(value for name, value in by_name.items() if name not in COMBINED_CANDIDATES)
    gains: dict[Any, dict[str, Any]] = {
        r["candidate"]: r for r in selection.metrics if r["metric"] == "ndcg@10_gain"
    }
    for name in COMBINED_CANDIDATES:
        assert gains[name]["value"] == pytest.approx(by_name[name] - best)
    assert gains["two_stage"]["lower"] > 0
    assert {"ndcg@20_gain", "recall@20_gain"} <= {row["metric"] for row in selection.metrics}


def test_noise_is_not_promoted() -> None:
    selection = select(noise(), THROUGH, trainer(False))
    check_metrics(selection)
    assert not selection.beats_baseline and selection.candidate not in COMBINED_CANDIDATES
    assert "neither blend nor two_stage beats" in selection.why
    by_name = ndcgs(selection)
    assert {*COMBINED_CANDIDATES} <= by_name.keys()
    simpler = {name: value for name, value in by_name.items() if name not in COMBINED_CANDIDATES}
    assert selection.candidate == max(simpler, key=lambda name: simpler[name])


def test_a_blend_serves_where_scores_are_all_that_matters(tmp_path: Path) -> None:
    """A user takes items of its colour and popular ones: no generator sees both."""
    rng = np.random.default_rng(0)
    popular = 1 / np.arange(1, 121)
    rows = []
    for user in range(300):
        for age in range(user % 3, 56, 3):
            item = int(rng.integers(15)) * 8 + user % 8
            if rng.random() < 0.4:
                item = int(rng.choice(120, p=popular / popular.sum()))
            rows.append((f"u{user:03}", f"i{item:03}", THROUGH - timedelta(days=age)))
    world = Interactions.from_table(table(*map(list, zip(*rows, strict=True))))
    generators = ("ease", "recent")
    selection = select(world, THROUGH, trainer(True, generators=generators), candidates=[BLEND])
    check_metrics(selection)
    assert selection.candidate == BLEND and selection.beats_baseline
    assert isinstance(selection.model, TwoStageRecommender) and selection.model.ranker.trees is None
    assert [column.name for column in selection.model.params.columns] == [*generators]
    selection.model.save(tmp_path)
    loaded = load_recommender(tmp_path)
    assert loaded.name == BLEND and loaded.params == selection.model.params
    np.testing.assert_array_equal(best_of(loaded, world), best_of(selection.model, world))


def test_rows_after_the_training_day_are_not_read() -> None:
    rows = cyclic_tastes()
    early = THROUGH - timedelta(days=10)
    with_later = select(rows, early, trainer(False))
    without = select(rows.up_to(early), early, trainer(False))
    assert with_later.metrics == without.metrics and with_later.why == without.why
    np.testing.assert_array_equal(best_of(with_later.model, rows), best_of(without.model, rows))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    rows = cyclic_tastes()
    models = [
        select(rows, THROUGH, trainer(False, seed=3, generators=None)).model for _ in range(2)
    ]
    for name, model in zip("ab", models, strict=True):
        model.save(tmp_path / name)
    files = contents(tmp_path / "a")
    assert files == contents(tmp_path / "b")
    assert {"recommender.json", "ranker-0.txt", "als/gram.npy", "ease/weights.npy"} <= files.keys()
    loaded = load_recommender(tmp_path / "a")
    assert loaded.name == "two_stage" and loaded.params == models[0].params
    np.testing.assert_array_equal(best_of(loaded, rows), best_of(models[0], rows))


def test_trees_of_more_seeds_are_added_to_those_of_one() -> None:
    rows = cyclic_tastes()
    datasets = trainer(False).build_datasets(rows, THROUGH)
    trees = [
        trainer(False, ranker_seeds=seeds).fit_ranker(datasets).ranker.trees for seeds in (1, 2)
    ]
    single, double = (ranker.models for ranker in trees if ranker is not None)
    assert double[: len(single)] == single and len(double) == 2 * len(single)
    assert not {*double[len(single) :]} & {*single}


def test_parameters_reach_their_generator() -> None:
    overrides = {"ease": {"max_items": 12}}
    selection = select(cyclic_tastes(), THROUGH, trainer(False, generator_params=overrides))
    assert isinstance(selection.model, TwoStageRecommender)
    sizes = {g.name: len(g.model.items) for g in selection.model.ensemble.generators}
    assert sizes["ease"] == 12 and sizes["item_neighbours"] == 60


def test_a_users_rare_items_are_ranked_if_only_one_generator_proposes_them() -> None:
    rows = cyclic_tastes()
    selection = select(rows, THROUGH, trainer(False, max_items=15))
    assert isinstance(selection.model, TwoStageRecommender)
    ensemble = selection.model.ensemble
    assert {g.name: len(g.model.items) for g in ensemble.generators} == {
        "ease": 15,
        "item_neighbours": 15,
        "recent": 15,
        "own_history": 60,
    }
    assert ensemble.items.equals(rows.item_ids)
    # Those of the coming week are the seven items taken longest ago, however rare they are.
    offered = best_of(selection.model, rows, 1)[:, 0]
    histories = Histories.from_interactions(rows, np.arange(50), ensemble.items, THROUGH)
    entries = histories.find_entries(offered[:, np.newaxis])[:, 0]
    assert (histories.days_since_last[entries] >= 7).all()


def test_for_a_hold_out_of_newest_items_windows_hide_ever_older_newest_items() -> None:
    rows = followers()
    datasets = trainer(True, max_labelled_users=120).build_datasets(rows, THROUGH, "leave_newest")
    # 50 users a window, each of which hides the newest items that the one before left.
    assert len(datasets) == 3 and all(dataset.users for dataset in datasets)


def test_generators_that_need_times_are_not_fitted_where_there_are_none() -> None:
    chosen = trainer(True, generators=("ease", "sequence_ease", "sequence_neighbours"))
    timed = cyclic_tastes(users=8)
    ensemble = chosen.fit_generators(timed, THROUGH)
    names = [generator.name for generator in ensemble.generators]
    assert names == ["ease", "sequence_neighbours", "sequence_ease"]
    untimed = timed.filter(timed.dates == timed.dates.max())
    ensemble = chosen.fit_generators(untimed, THROUGH)
    assert [generator.name for generator in ensemble.generators] == ["ease"]


def test_the_network_is_used_from_many_rows_on(tmp_path: Path) -> None:
    source = SourceSettings(kind="files", path=tmp_path)
    settings = Settings(
        home=tmp_path, source=source, recommendations=RecommendationsSettings(exclude_seen=True)
    )
    needed = generators()["sequence"].min_rows
    few, many = (RankerTrainer(two_stage_config(settings, rows)) for rows in (needed - 1, needed))
    assert {*many.generator_names(THROUGH)} - {*few.generator_names(THROUGH)} == {"sequence"}
    # What a week adds changes nothing, so that the training before has what this one needs.
    assert two_stage_config(settings, 100_000) == two_stage_config(settings, 102_000)
    assert two_stage_config(settings, 250_000).generator_params["sequence"]["minutes"] == 6
    never = RecommenderSettings(sequence_minutes=0)
    config = two_stage_config(settings.model_copy(update={"recommender": never}), 250_000)
    assert config.generators is not None and "sequence" not in config.generators
    assert "sequence" not in config.generator_params


@pytest.mark.parametrize(
    ("lists", "recommender", "expected"),
    [
        ({}, {}, 30),
        ({"k": 50}, {}, 50),
        ({"per_category": 2}, {}, 60),
        ({"new_share": 0.5}, {}, 60),
        ({"rules": [{"exclude": "price < 5"}]}, {}, 60),
        ({"kept_scores": 100}, {}, 60),
        ({"per_category": 2}, {"candidates_each": 40}, 40),
    ],
)
def test_candidates_are_more_where_somebody_reads_far_down(
    tmp_path: Path, lists: dict[str, object], recommender: dict[str, object], expected: int
) -> None:
    day = pa.array([date(2024, 1, 1)])
    rows = pa.table({"user_id": ["u"], "item_id": ["i"], "date": day})
    pq.write_table(rows, tmp_path / "interactions.parquet")
    settings = Settings(
        home=tmp_path / "home",
        source=SourceSettings(kind="files", path=tmp_path, timezone="UTC"),
        recommendations=RecommendationsSettings.model_validate(lists),
        recommender=RecommenderSettings.model_validate(recommender),
    )
    many = 200_000
    assert candidates_of_each(settings, many) == expected
    assert candidates_of_each(settings, many - 1) == max(expected, 40 if recommender else 60)
    campaign = pa.table({"campaign_id": ["c"], "item_id": ["i"], "starts_on": day, "ends_on": day})
    pq.write_table(campaign, tmp_path / "promotions.parquet")
    assert candidates_of_each(settings, many) == max(expected, 40 if recommender else 60)


def test_the_network_reads_no_rows_after_the_day() -> None:
    params = {"sequence": {"minutes": 0.001, "width": 4}}
    chosen = trainer(True, generators=("sequence",), generator_params=params)
    rows, cut = cyclic_tastes(users=8), THROUGH - timedelta(days=3)
    [fitted] = chosen.fit_generators(rows, cut).generators
    [alone] = chosen.fit_generators(rows.up_to(cut), cut).generators
    assert len(rows.after(cut))
    for name, array in fitted.model.arrays.items():
        np.testing.assert_array_equal(array, alone.model.arrays[name])


@pytest.mark.parametrize("alone", ["als", "graph_filter", "current_neighbours"])
def test_a_generator_that_wins_alone_serves_under_its_own_name(alone: str) -> None:
    """Users like items of their colour: any item similarity finds them, popularity cannot."""
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user:02}", f"i{int(rng.integers(15)) * 2 + user % 2:02}", day)
        for user in range(60)
        for day in (THROUGH - timedelta(days=age) for age in range(0, 40, 3))
    ]
    world = Interactions.from_table(table(*map(list, zip(*rows, strict=True))))
    selection = select(world, THROUGH, trainer(True, generators=(alone,)), candidates=())
    check_metrics(selection)
    assert selection.candidate == alone and not selection.beats_baseline
    assert "two_stage" not in ndcgs(selection)


def test_an_unknown_candidate_is_refused() -> None:
    with pytest.raises(ValueError, match="svd"):
        select(cyclic_tastes(), THROUGH, trainer(False), candidates=["svd"])


THREE_USERS = (["a", "b", "c"] * 3, ["x", "y", "z", "y", "z", "x", "z", "x", "y"])
SMALL = {
    "one row": table(["a"], ["x"], [THROUGH]),
    "one day": table(*THREE_USERS, [THROUGH] * 9),
    "three days": table(*THREE_USERS, [THROUGH - timedelta(days=10 * (i // 3)) for i in range(9)]),
    "only the hold-out": table(*THREE_USERS, [THROUGH - timedelta(days=i // 3) for i in range(9)]),
    "no user returned": table(["a", "b"], ["x", "y"], [THROUGH - timedelta(days=30), THROUGH]),
    "only repeats": table(["a"] * 2, ["x"] * 2, [THROUGH - timedelta(days=30), THROUGH]),
    "long ago": table(["a", "b"], ["x", "y"], [date(2020, 1, 1), date(2020, 1, 2)]),
}


@pytest.mark.parametrize("exclude_seen", [False, True])
@pytest.mark.parametrize("world", sorted(SMALL))
def test_small_data_is_enough(world: str, exclude_seen: bool) -> None:
    interactions = Interactions.from_table(SMALL[world])
    config = TwoStageConfig(exclude_seen=exclude_seen, threads=1)
    selection = select(interactions, THROUGH, RankerTrainer(config))
    check_metrics(selection)
    if world not in ("one day", "three days", "only repeats"):
        assert "nothing could be evaluated" in selection.why and selection.metrics == []
        assert selection.candidate == (FALLBACK if world != "one row" else "popularity")
    top = best_of(selection.model, interactions, 2)
    assert top.shape == (len(interactions.user_ids), 2)
    if world == "one day":
        assert selection.split == "leave_out" and selection.metrics
    if world == "only repeats":
        assert ("none took anything new" in selection.why) == exclude_seen


def test_no_interactions_are_an_error() -> None:
    with pytest.raises(ValueError, match="no interactions up to 2019"):
        select(cyclic_tastes(), date(2019, 1, 1), trainer(False))


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif(not ML.exists(), reason="MovieLens 100K is missing")
def test_movielens_reaches_the_known_figures() -> None:
    rows = np.loadtxt(ML, skiprows=1, dtype=str, delimiter="\t")
    days = rows[:, 3].astype(np.int64).astype("datetime64[s]").astype("datetime64[D]")
    ratings = Interactions.from_table(
        pa.table(
            {"user_id": rows[:, 0], "item_id": rows[:, 1], "date": days, "events": [1] * len(rows)}
        )
    )
    # Without those that take longest to fit, in fewer windows: a quarter of the time.
    generators = ("als", "ease", "item_neighbours", "current_neighbours", "recent")
    config = TwoStageConfig(exclude_seen=True, window_days=22, generators=generators, max_windows=6)
    selection = select(ratings, date(1998, 4, 22), RankerTrainer(config))
    check_metrics(selection)
    by_name = ndcgs(selection)
    assert by_name["als"] > 0.18 and by_name["ease"] > 0.17
    assert by_name["recency_popularity_14d"] > 0.2 > by_name["popularity"]
    assert by_name["two_stage"] > 0.24 and by_name["two_stage"] > by_name["recency_popularity_14d"]
    # 88 users are too few to be sure of it.
    assert selection.beats_baseline == (selection.candidate == "two_stage")

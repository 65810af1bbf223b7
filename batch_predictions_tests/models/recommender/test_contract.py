"""The contract of every recommender, and personal ones on a checkerboard."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.base import (
    LinearRecommender,
    TrainableRecommender,
    override_params,
)
from batch_predictions.models.recommender.data.histories import TRAITS, Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.generators.als import ALS
from batch_predictions.models.recommender.generators.ease import EASE
from batch_predictions.models.recommender.generators.graph_filter import GraphFilter
from batch_predictions.models.recommender.generators.item_knn_rating import ItemKNNRating
from batch_predictions.models.recommender.generators.item_neighbours import ItemNeighbours
from batch_predictions.models.recommender.generators.liked_ease import LikedEASE
from batch_predictions.models.recommender.generators.popularity import Popularity
from batch_predictions.models.recommender.generators.promoted_items import PromotedItems
from batch_predictions.models.recommender.generators.registry import recommender_classes
from batch_predictions.models.recommender.generators.segment_popularity import SegmentPopularity
from batch_predictions.models.recommender.generators.sequence_ease import SequenceEASE
from batch_predictions.models.recommender.generators.sequence_neighbours import SequenceNeighbours
from batch_predictions.models.recommender.generators.user_frequency import UserFrequency
from batch_predictions.models.recommender.registry import load
from batch_predictions_tests.worlds.checkerboard import checkerboard

DIRECTED: dict[str, Any] = {"target_half_life_days": 14, "newest_days": None}
MODELS: dict[str, tuple[type[TrainableRecommender], dict[str, Any]]] = {
    "als": (ALS, {"factors": 4, "seed": 3}),
    "ease": (EASE, {"l2": 1.0}),
    "item_neighbours": (ItemNeighbours, {"newest_days": None}),
    "current_neighbours": (ItemNeighbours, DIRECTED),
    "graph_filter": (GraphFilter, {"factors": 2}),
    "sequence_neighbours": (SequenceNeighbours, {"newest": 3}),
    "next_neighbours": (SequenceNeighbours, {"newest": 1}),
    "sequence_ease": (SequenceEASE, {"l2": 1.0, "places": 50}),
    "popularity": (Popularity, {}),
    "recency_popularity_14d": (Popularity, {"half_life_days": 14}),
    "own_history": (UserFrequency, {}),
    "own_history_90d": (UserFrequency, {"half_life_days": 90}),
    "segment_taste": (SegmentPopularity, {"min_users": 1, "kappa": 1.0}),
    "promoted": (PromotedItems, {}),
    "predicted_rating": (ItemKNNRating, {}),
    "rating_lift": (ItemKNNRating, {"lift": True}),
    "liked_ease": (LikedEASE, {"l2": 1.0}),
}
PERSONAL = ["als", "current_neighbours", "ease", "graph_filter", "item_neighbours"]
WORLD = checkerboard(users=12, items=12, seed=5)
BOARD = Interactions.from_table(WORLD.interactions)
DAYS = (0, 3, 17, 40)


def traits(user_ids: pa.StringArray) -> pa.Table:
    """Users are black or white by turns, in two locations; traits of some are unknown."""
    n = len(user_ids)
    columns = {
        "user_id": user_ids,
        "age_bracket": [["black", "white", "unknown"][i % 3] for i in range(n)],
        "gender": [None if i % 3 == 2 else "f" for i in range(n)],
        "location": [["here", "there", None][i // 2 % 3] for i in range(n)],
    }
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def random_rows(users: int, items: int, rows: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    ages = rng.choice(DAYS, rows)
    return pa.table(
        {
            "user_id": [f"u{user:03}" for user in rng.integers(0, users, rows)],
            "item_id": [f"i{item:03}" for item in rng.zipf(1.4, rows) % items],
            "date": pa.array([WORLD.as_of - timedelta(days=int(a)) for a in ages], pa.date32()),
            "events": rng.integers(1, 5, rows),
            "rating": [int(r) if r else None for r in rng.integers(0, 6, rows)],
        }
    )


def fit(
    model_class: type[TrainableRecommender],
    interactions: Interactions,
    users: pa.Table | None = None,
    **params: Any,
) -> Any:
    """A model with some parameters, as of the world's day."""
    return model_class.fit(interactions, WORLD.as_of, model_class.Params(**params), users)


def fitted(name: str, interactions: Interactions = BOARD) -> Any:
    model_class, params = MODELS[name]
    return fit(model_class, interactions, traits(interactions.user_ids), **params)


def all_histories(interactions: Interactions, model: TrainableRecommender) -> Histories:
    """The histories of all users."""
    users = np.arange(len(interactions.user_ids))
    user_traits = traits(interactions.user_ids)
    return Histories.from_interactions(interactions, users, model.items, WORLD.as_of, user_traits)


def item_features(interactions: Interactions, items: pa.StringArray) -> ItemFeatures:
    """Item features with a promotion of the first item in one location, of the last in another."""
    promotions = pa.table(
        {
            "weeks_ahead": [1, 1],
            "item_id": pa.array([items[0].as_py(), items[-1].as_py()], pa.string()),
            "location": ["here", "there"],
            "display": [True, False],
            "mailer": [True, True],
            "tomorrow": [True, True],
        }
    )
    return ItemFeatures.from_interactions(interactions, WORLD.as_of, items, promotions=promotions)


def scores(model: TrainableRecommender, interactions: Interactions) -> np.ndarray[Any, Any]:
    return model.scores(
        all_histories(interactions, model), item_features(interactions, model.items)
    )


def history_of(model: TrainableRecommender, *items: str) -> Histories:
    """One user who took some items on the day."""
    rows = pa.table(
        {
            "user_id": ["x"] * len(items),
            "item_id": list(items),
            "date": [WORLD.as_of] * len(items),
            "events": [1] * len(items),
        }
    )
    return Histories.from_interactions(
        Interactions.from_table(rows), np.array([0]), model.items, WORLD.as_of
    )


@pytest.fixture(params=sorted(MODELS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_generator_is_tested():
    classes = {model_class for model_class, _ in MODELS.values()}
    assert classes == set(recommender_classes().values())


def test_scoring_does_not_change_the_histories(name: str):
    model = fitted(name)
    histories = all_histories(BOARD, model)
    before = histories.entry_items.tolist(), histories.indptr.tolist(), histories.events.tolist()
    model.scores(histories, item_features(BOARD, model.items))
    after = histories.entry_items.tolist(), histories.indptr.tolist(), histories.events.tolist()
    assert after == before


@pytest.mark.parametrize("personal", PERSONAL)
def test_a_checkerboard_user_gets_the_unseen_square_of_its_colour(personal: str):
    model = fitted(personal)
    ranked = model.rank(
        all_histories(BOARD, model), item_features(BOARD, model.items), 1, exclude_seen=True
    )
    for user, top in enumerate(ranked.positions[:, 0]):
        assert [model.items[int(top)].as_py()] == WORLD.unseen_same_colour(user)


@pytest.mark.parametrize("personal", PERSONAL)
def test_a_user_without_training_rows_is_served_from_its_history(personal: str):
    model = fitted(personal)
    white = WORLD.items[1::2]
    ranked = model.rank(
        history_of(model, *white[:4]), item_features(BOARD, model.items), 2, exclude_seen=True
    )
    assert {model.items[int(i)].as_py() for i in ranked.positions[0]} == set(white[4:])


@pytest.mark.parametrize("personal", PERSONAL)
def test_explanations_are_items_of_the_history(personal: str):
    model = fitted(personal)
    histories = all_histories(BOARD, model)
    picks = np.tile(np.arange(len(model.items)), (histories.users, 1))
    contributors = model.explain(histories, picks)
    for user in range(histories.users):
        history = set(WORLD.history(user))
        for pick, contributor in zip(picks[user], contributors[user], strict=True):
            if pick % 2 == user % 2 or contributor >= 0:
                assert model.items[int(contributor)].as_py() in history


def test_own_history_gives_the_pick_itself_as_its_reason():
    model = fitted("own_history")
    histories = all_histories(BOARD, model)
    contributors = model.explain(histories, np.tile(np.arange(12), (12, 1)))
    in_history = histories.matrix().toarray() > 0
    np.testing.assert_array_equal(contributors, np.where(in_history, np.arange(12), -1))


def test_explanations_of_als_are_the_terms_of_its_scores():
    """Without an item's confidence on the right-hand side, exactly its term is missing."""
    model = fitted("als", Interactions.from_table(random_rows(40, 30, 400)))
    assert isinstance(model, ALS)
    histories = history_of(model, "i001", "i002", "i005")
    batch = next(model._batches(histories.matrix()))[1]
    systems, sides = model._systems(batch)
    items, confidences, vectors = model._history_of(batch, 0)
    targets = np.asarray(model.targets(), dtype=np.float64)
    total = targets @ np.linalg.solve(systems[0], sides[0])
    terms = np.stack(
        [
            targets @ np.linalg.solve(systems[0], c * y)
            for c, y in zip(confidences, vectors, strict=True)
        ],
        axis=1,
    )
    np.testing.assert_allclose(terms.sum(axis=1), total, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.scores(histories)[0], total, atol=1e-5)
    contributors = model.explain(histories, np.arange(len(model.items))[np.newaxis])[0]
    expected = np.where(terms.max(axis=1) > 0, items[terms.argmax(axis=1)], -1)
    np.testing.assert_array_equal(contributors, expected)


def test_ease_solves_its_equations():
    """Steck 2019, eq. 8: B = I - P / diag(P), P the inverse of X'X + l2 I."""
    interactions = Interactions.from_table(random_rows(50, 20, 600))
    model = fit(EASE, interactions, l2=3.0)
    x = np.log1p(interactions.matrix().toarray().astype(np.float64))
    inverse = np.linalg.inv(x.T @ x + 3.0 * np.eye(x.shape[1]))
    expected = np.eye(x.shape[1]) - inverse / np.diag(inverse)
    np.testing.assert_allclose(model.targets().T, expected, atol=1e-5)
    np.testing.assert_allclose(scores(model, interactions), x @ expected, atol=1e-4)


def test_als_folds_in_to_the_factors_that_implicit_would_recalculate():
    from implicit.cpu.als import AlternatingLeastSquares

    interactions = Interactions.from_table(random_rows(40, 30, 400))
    model = fitted("als", interactions)
    assert isinstance(model, ALS)
    implicit_model = AlternatingLeastSquares(
        factors=4, regularization=1.0, alpha=1.0, num_threads=1
    )
    implicit_model.item_factors = np.array(model.targets())
    confidence = interactions.matrix().copy()
    confidence.data = 1 + 10 * np.log1p(confidence.data)
    expected = implicit_model.recalculate_user(np.arange(confidence.shape[0]), confidence)
    np.testing.assert_allclose(model.queries(interactions.matrix()), expected, rtol=2e-3, atol=1e-4)


def test_item_neighbours_sum_cosines_over_the_root_of_the_number_item_roots():
    interactions = Interactions.from_table(random_rows(40, 20, 300))
    model = fitted("item_neighbours", interactions)
    is_taken = (interactions.matrix().toarray() > 0).astype(np.float64)
    lengths = np.sqrt(is_taken.sum(axis=0))
    cosine = is_taken.T @ is_taken / np.outer(lengths, lengths)
    np.fill_diagonal(cosine, 0.0)
    expected = is_taken @ cosine / np.sqrt(is_taken.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(scores(model, interactions), expected, atol=1e-5)


def test_current_neighbours_weigh_what_users_of_an_item_take_now():
    interactions = Interactions.from_table(random_rows(40, 20, 300))
    model = fitted("current_neighbours", interactions)
    now = interactions.with_decayed_events(14, WORLD.as_of).matrix().toarray().astype(np.float64)
    is_taken = (interactions.matrix().toarray() > 0).astype(np.float64)
    sizes = is_taken.sum(axis=1, keepdims=True)
    expected = is_taken / np.sqrt(sizes) @ ((is_taken / np.sqrt(sizes)).T @ now)
    np.testing.assert_allclose(scores(model, interactions), expected, atol=1e-4)


def test_only_the_neighbours_that_are_kept_and_the_newest_days_count():
    table = pa.table(
        {
            "user_id": ["a", "a", "a", "b", "b"],
            "item_id": ["x", "y", "z", "x", "y"],
            "date": [WORLD.as_of, WORLD.as_of, WORLD.as_of - timedelta(days=5), *[WORLD.as_of] * 2],
            "events": [1] * 5,
        }
    )
    interactions = Interactions.from_table(table)
    nearest = fit(ItemNeighbours, interactions, neighbours=1, newest_days=None)
    # x and y are each other's nearest; z has x first, which ties with y by position.
    np.testing.assert_array_equal(nearest.arrays["neighbour_ids"][:, 0], [1, 0, 0])
    all_days = fit(ItemNeighbours, interactions, newest_days=None)
    newest = fit(ItemNeighbours, interactions, newest_days=1)
    similarity = 1 / np.sqrt(2)
    assert scores(all_days, interactions)[0] == pytest.approx(
        np.array([1 + similarity, 1 + similarity, 2 * similarity]) / np.sqrt(3)
    )
    assert scores(newest, interactions)[0] == pytest.approx(
        np.array([1, 1, 2 * similarity]) / np.sqrt(2)
    )


def test_items_near_in_a_session_are_ranked_next():
    """Every user takes all eight items on one day, in alphabetical order or in reverse."""
    letters = list("abcdefgh")
    rows = [
        (f"u{user}", item, time)
        for user in range(6)
        for time, item in enumerate(letters[:: 1 if user % 2 else -1])
    ]
    # The last user has taken four of them.
    rows += [("x", item, time) for time, item in enumerate("abcd")]
    users, items, times = zip(*rows, strict=True)
    n = len(rows)
    table = pa.table(
        {
            "user_id": users,
            "item_id": items,
            "date": [WORLD.as_of] * n,
            "events": [1] * n,
            "event_time": times,
        }
    )
    interactions = Interactions.from_table(table)
    model = fit(SequenceNeighbours, interactions, half_life=1.0, fade=0.5)
    histories = all_histories(interactions, model).slice_users(6, 7)
    assert histories.recency_rank.tolist() == [3, 2, 1, 0]
    ranked = model.rank(
        histories, item_features(interactions, model.items), 4, exclude_seen=True
    ).positions
    assert [letters[position] for position in ranked[0]] == ["e", "f", "g", "h"]
    assert [letters[i] for i in model.explain(histories, ranked)[0]] == ["d"] * 4
    # By hand: c comes after d three times and before it, which counts half, four times; both occur
    # 7 times.
    neighbours = model.arrays["neighbour_ids"][3].tolist()
    similarity = model.arrays["similarity"][3]
    assert similarity[neighbours.index(2)] == pytest.approx((3 + 4 / 2) * 0.5 / 7)
    assert similarity[neighbours.index(5)] == pytest.approx((3 + 3 / 2) * 0.25 / np.sqrt(7 * 6))
    # Without a time of day, items of a day are in alphabetical order.
    untimed = Interactions.from_table(table.drop_columns("event_time"))
    untimed_model = fit(SequenceNeighbours, untimed, half_life=1.0)
    assert np.isfinite(untimed_model.arrays["similarity"]).all()


def make_sequences(sequences: dict[str, str]) -> Interactions:
    """Users who took letters one after the other on one day."""
    rows = [(u, item, n) for u, items in sequences.items() for n, item in enumerate(items)]
    users, items, times = zip(*rows, strict=True)
    table = pa.table(
        {
            "user_id": users,
            "item_id": items,
            "date": [WORLD.as_of] * len(rows),
            "events": [1] * len(rows),
            "event_time": times,
        }
    )
    return Interactions.from_table(table)


def test_sequence_ease_is_the_ridge_regression_on_the_following_items():
    interactions = make_sequences({"u": "abc", "v": "cab", "w": "ba"})
    fades, l2 = (0.5, 0.25), 2.0
    settings: dict[str, Any] = {"fades": fades, "l2": l2, "ahead": 2, "ahead_fade": 0.5}
    model = fit(SequenceEASE, interactions, **settings, backward=0.25)
    gram, sides = np.zeros((6, 6)), np.zeros((6, 3))
    for sequence in ("abc", "cab", "ba"):
        for letters, weight in ((sequence, 1.0), (sequence[::-1], 0.25)):
            for cut in range(1, len(letters)):
                before, after = np.zeros(6), np.zeros(3)
                for back, item in enumerate(letters[:cut][::-1]):
                    for block, fade in enumerate(fades):
                        before[3 * block + "abc".index(item)] = fade**back
                for ahead, item in enumerate(letters[cut : cut + 2]):
                    after["abc".index(item)] = 0.5**ahead
                gram += weight * np.outer(before, before)
                sides += weight * np.outer(before, after)
    expected = np.linalg.solve(gram + l2 * np.eye(6), sides)
    np.testing.assert_allclose(model.arrays["weights"], expected, rtol=1e-5, atol=1e-7)
    # u took c last, then b, then a.
    profile = np.array([0.25, 0.5, 1, 0.0625, 0.25, 1])
    np.testing.assert_allclose(scores(model, interactions)[0], profile @ expected, rtol=1e-5)


def test_sequence_ease_ranks_the_next_item_and_explains_it_by_the_previous():
    interactions = make_sequences({**{f"u{n}": "abcdef" for n in range(9)}, "x": "bc", "y": "de"})
    model = fit(SequenceEASE, interactions, l2=1.0, fades=(0.5,), ahead=2, backward=0.0)
    ranked = model.rank(
        all_histories(interactions, model).slice_users(9, 11),
        item_features(interactions, model.items),
        1,
        exclude_seen=True,
    )
    assert [model.items[int(position)].as_py() for position in ranked.positions[:, 0]] == ["d", "f"]
    contributors = model.explain(
        all_histories(interactions, model).slice_users(9, 11), ranked.positions
    )
    assert [model.items[int(position)].as_py() for position in contributors[:, 0]] == ["c", "e"]
    # A few positions are enough for a pattern that all users share; rare items are left out.
    small = fit(SequenceEASE, interactions, l2=1.0, ahead=1, places=12, max_items=5)
    assert small.items.to_pylist() == list("abcde")
    with pytest.raises(ValueError, match="fades"):
        fit(SequenceEASE, interactions, fades=(1.0,))


def test_a_graph_filter_adds_normalised_cooccurrence_and_a_truncated_svd():
    interactions = Interactions.from_table(random_rows(40, 20, 300))
    model = fit(GraphFilter, interactions, factors=5, weight=0.3)
    x = np.log1p(interactions.matrix().toarray().astype(np.float64))
    item_roots = np.sqrt(x.sum(axis=0))
    graph = x / np.sqrt(x.sum(axis=1, keepdims=True)) / item_roots
    basis = np.linalg.svd(graph)[2][:5].T
    ideal = basis @ basis.T / item_roots[:, np.newaxis] * item_roots
    scaled = x / np.sqrt((x > 0).sum(axis=1, keepdims=True))
    expected = scaled @ (graph.T @ graph + 0.3 * ideal)
    np.testing.assert_allclose(scores(model, interactions), expected, atol=1e-4)


def test_shapes_types_and_names(name: str):
    model = fitted(name)
    assert model.kind == MODELS[name][0].kind
    assert model.items.to_pylist() == sorted(WORLD.items)
    model_scores = scores(model, BOARD)
    assert model_scores.shape == (12, 12) and model_scores.dtype == np.float32
    assert np.isfinite(model_scores).any() and not np.isinf(model_scores).any()
    no_users = all_histories(BOARD, model).slice_users(0, 0)
    assert model.scores(no_users, item_features(BOARD, model.items)).shape == (0, 12)
    if isinstance(model, LinearRecommender):
        queries, targets = model.queries(all_histories(BOARD, model).matrix()), model.targets()
        assert queries.dtype == targets.dtype == np.float32
        assert queries.shape == (12, targets.shape[1]) and targets.shape[0] == 12


def test_items_without_a_score_are_nan():
    in_history = all_histories(BOARD, fitted("own_history")).matrix().toarray() > 0
    np.testing.assert_array_equal(np.isfinite(scores(fitted("own_history"), BOARD)), in_history)
    is_scored = np.isfinite(scores(fitted("promoted"), BOARD))
    assert (is_scored == [item in (0, 11) for item in range(12)]).all()
    user_traits = traits(BOARD.user_ids)
    unknown = np.logical_and.reduce(
        [user_traits[name].is_null().to_numpy() for name in ("location", "gender")]
    )
    is_nan = np.isnan(scores(fitted("segment_taste"), BOARD))
    assert is_nan[unknown].all() and not is_nan[~unknown].any() and unknown.any()
    model = fit(PromotedItems, BOARD)
    no_promotions = ItemFeatures.from_interactions(BOARD, WORLD.as_of, model.items)
    assert np.isnan(model.scores(all_histories(BOARD, model), no_promotions)).all()


def test_items_without_a_score_are_not_ranked():
    model = fitted("own_history")
    histories = all_histories(BOARD, model)
    features = item_features(BOARD, model.items)
    ranked = model.rank(histories, features, 8, exclude_seen=False)
    assert ((ranked.positions >= 0).sum(axis=1) == np.diff(histories.indptr)).all()
    assert (np.isneginf(ranked.scores) == (ranked.positions < 0)).all()
    assert (model.rank(histories, features, 8, exclude_seen=True).positions == -1).all()


def test_blocked_and_seen_items_are_not_ranked(name: str):
    model = fitted(name)
    blocked = np.arange(12) < 6
    histories, features = all_histories(BOARD, model), item_features(BOARD, model.items)
    ranked = model.rank(histories, features, 12, exclude_seen=True, blocked=blocked).positions
    allowed = (histories.matrix().toarray() == 0) & ~blocked & np.isfinite(scores(model, BOARD))
    for user in range(12):
        assert sorted(ranked[user][ranked[user] >= 0]) == np.flatnonzero(allowed[user]).tolist()


def test_proposals_equal_rankings(name: str):
    interactions = Interactions.from_table(random_rows(30, 12, 300))
    model = fitted(name, interactions)
    histories = all_histories(interactions, model)
    features = item_features(interactions, model.items)
    blocked = np.arange(len(model.items)) == 3
    all_items = np.tile(np.arange(-1, len(model.items)), (histories.users, 1))
    for exclude_seen in (False, True):
        rules = {"exclude_seen": exclude_seen, "blocked": blocked}
        proposed = model.propose(histories, features, 5, **rules)
        ranked = model.rank(histories, features, 5, **rules)
        np.testing.assert_array_equal(proposed.positions, ranked.positions)
        proposed_scores = proposed.scores_of(all_items)
        assert np.isnan(proposed_scores[:, 0]).all() and np.isnan(proposed_scores[:, 1 + 3]).all()
        is_item = ranked.positions >= 0
        ranked_scores = np.take_along_axis(proposed_scores, 1 + ranked.positions, axis=1)
        np.testing.assert_array_equal(ranked_scores[is_item], ranked.scores[is_item])
        complete = model.rank(histories, features, len(model.items), **rules).positions
        assert (np.isfinite(proposed_scores).sum(axis=1) == (complete >= 0).sum(axis=1)).all()


def test_a_users_scores_do_not_depend_on_the_batch(name: str):
    interactions = Interactions.from_table(random_rows(300, 60, 4000))
    model = fitted(name, interactions)
    histories = all_histories(interactions, model)
    features = item_features(interactions, model.items)
    batches = [histories.slice_users(start, start + 7) for start in range(0, histories.users, 7)]
    by_batch = np.concatenate([model.scores(batch, features) for batch in batches])
    np.testing.assert_allclose(model.scores(histories, features), by_batch, rtol=1e-4, atol=1e-6)
    # Rankings are served from shards of any size: not a bit may differ.
    ranked = model.rank(histories, features, 10, exclude_seen=False)
    rankings = [model.rank(batch, features, 10, exclude_seen=False) for batch in batches]
    np.testing.assert_array_equal(ranked.positions, np.concatenate([r.positions for r in rankings]))
    np.testing.assert_array_equal(ranked.scores, np.concatenate([r.scores for r in rankings]))


def test_empty_picks_and_histories_have_no_explanation(name: str):
    model = fitted(name)
    histories = all_histories(BOARD, model)
    contributors = model.explain(histories.slice_users(0, 1), np.array([[-1, -1]]))
    assert (contributors == -1).all()
    unknown = pa.table({trait: pa.nulls(2, pa.string()) for trait in TRAITS})
    empty = replace(histories.slice_users(0, 0), users=2, traits=unknown)
    assert (model.explain(empty, np.array([[3, 5], [-1, 0]])) == -1).all()
    assert not np.isinf(model.scores(empty, item_features(BOARD, model.items))).any()


def test_a_loaded_model_scores_as_the_saved_one(name: str, tmp_path: Path):
    model = fitted(name)
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert (
        type(loaded) is type(model) and loaded.name == model.name and loaded.params == model.params
    )
    assert loaded.items.equals(model.items)
    np.testing.assert_array_equal(scores(loaded, BOARD), scores(model, BOARD))
    picks = np.tile(np.arange(5), (12, 1))
    histories = all_histories(BOARD, model)
    np.testing.assert_array_equal(loaded.explain(histories, picks), model.explain(histories, picks))
    assert loaded.arrays.keys() == model.arrays.keys()
    assert all(isinstance(array, np.memmap) for array in loaded.arrays.values())


def test_a_model_of_an_unknown_kind_is_not_loaded(tmp_path: Path):
    fitted("popularity").save(tmp_path)
    manifest = json.loads((tmp_path / "recommender.json").read_text())
    (tmp_path / "recommender.json").write_text(json.dumps({**manifest, "kind": "oracle"}))
    with pytest.raises(ValueError, match="oracle"):
        load(tmp_path)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_equal_rows_in_any_order_give_equal_bytes(name: str, tmp_path: Path):
    table = random_rows(60, 40, 900)
    shuffled = table.take(np.random.default_rng(1).permutation(table.num_rows))
    fitted(name, Interactions.from_table(table)).save(tmp_path / "a")
    fitted(name, Interactions.from_table(shuffled)).save(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_fitting_does_not_change_the_interactions(name: str):
    """Several recommenders are fitted on the same rows."""
    interactions = Interactions.from_table(random_rows(60, 40, 900))
    before = interactions.matrix().toarray()
    fitted(name, interactions)
    np.testing.assert_array_equal(interactions.matrix().toarray(), before)


@pytest.mark.parametrize("personal", ["als", "ease", "graph_filter"])
def test_the_number_of_threads_does_not_change_a_byte(personal: str, tmp_path: Path):
    """Large enough for BLAS to use several threads."""
    from threadpoolctl import threadpool_limits

    interactions = Interactions.from_table(random_rows(700, 600, 30_000))
    for threads in (1, 2):
        with threadpool_limits(limits=threads):
            fit(MODELS[personal][0], interactions).save(tmp_path / str(threads))
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_the_smallest_data_is_enough(name: str, tmp_path: Path):
    row = {"user_id": ["u"], "item_id": ["i"], "date": [WORLD.as_of], "events": [2]}
    interactions = Interactions.from_table(pa.table(row))
    model = fitted(name, interactions)
    model_scores = scores(model, interactions)
    assert model_scores.shape == (1, 1) and not np.isinf(model_scores).any()
    model.save(tmp_path)
    np.testing.assert_array_equal(scores(load(tmp_path), interactions), model_scores)


def test_an_unknown_parameter_is_refused(name: str):
    with pytest.raises(ValueError, match=f"{name} has no parameters factorz: it has"):
        override_params(MODELS[name][0].Params(), {"factorz": 3}, name)


@pytest.mark.parametrize("linear", ["als", "ease"])
def test_histories_of_another_model_are_refused(linear: str):
    model = fitted(linear)
    histories = Histories.from_interactions(BOARD, np.arange(12), model.items[:5], WORLD.as_of)
    with pytest.raises(ValueError, match="5 columns"):
        model.scores(histories)


def test_recent_popularity_halves_with_every_half_life():
    table = pa.table(
        {
            "user_id": ["a", "b", "b"],
            "item_id": ["new", "old", "older"],
            "date": [date(2024, 3, 31), date(2024, 3, 17), date(2024, 3, 3)],
            "events": [1, 2, 8],
        }
    )
    rows = Interactions.from_table(table)
    recent, ever = (
        scores(fitted(each, rows), rows) for each in ("recency_popularity_14d", "popularity")
    )
    assert recent[0] == pytest.approx([0.25, 0.25, 0.5])
    assert ever[1] == pytest.approx([1 / 11, 2 / 11, 8 / 11])
    with pytest.raises(ValueError, match="half_life_days"):
        fit(Popularity, rows, half_life_days=15)


def test_own_history_halves_with_every_half_life():
    table = pa.table(
        {
            "user_id": ["a", "a", "a"],
            "item_id": ["x", "x", "y"],
            "date": [WORLD.as_of, WORLD.as_of - timedelta(days=90), WORLD.as_of],
            "events": [1, 2, 4],
        }
    )
    rows = Interactions.from_table(table)
    assert scores(fitted("own_history", rows), rows).tolist() == [[3.0, 4.0]]
    assert scores(fitted("own_history_90d", rows), rows).tolist() == [[2.0, 4.0]]


def test_segment_popularity_is_shrunk_to_overall_shares():
    users = [f"u{i}" for i in range(8)]
    table = pa.table(
        {
            "user_id": users * 2,
            "item_id": ["all"] * 8 + ["left", "right"] * 4,
            "date": [WORLD.as_of] * 16,
            "events": [1] * 16,
        }
    )
    user_traits = pa.table(
        {
            "user_id": users,
            "age_bracket": ["unknown"] * 8,
            "gender": pa.nulls(8, pa.string()),
            "location": ["l", "r"] * 4,
        }
    )
    rows = Interactions.from_table(table)
    model = fit(SegmentPopularity, rows, users=user_traits, min_users=4, kappa=8.0)
    assert model.fitted_values == {"location": ["l", "r"], "demographic": []}
    histories = Histories.from_interactions(
        rows, np.arange(2), rows.item_ids, WORLD.as_of, user_traits
    )
    # Segments of 8 events are shrunk to the overall shares (1/2, 1/4, 1/4) by kappa = 8 events.
    left = np.log([0.5, (4 + 2) / 16, (0 + 2) / 16])
    assert model.scores(histories)[0] == pytest.approx(left)
    assert model.scores(histories)[1] == pytest.approx(left[[0, 2, 1]])
    model = fit(SegmentPopularity, rows, users=user_traits, min_users=5)
    assert np.isnan(model.scores(histories)).all()


def test_items_promoted_in_the_users_shop_score_higher():
    model = fitted("promoted")
    features = item_features(BOARD, model.items)
    popularity = features.share("decayed_events_14")
    # "here" promotes the first item, "there" the last; each is half of the shops.
    user_traits = pa.table(
        {name: pa.array(["here", "there", None], pa.string()) for name in TRAITS}
    )
    no_rows = np.empty(0, dtype=np.int32)
    histories = Histories(3, 12, no_rows, no_rows, no_rows, np.empty(0), user_traits)
    promoted_scores = model.scores(histories, features)[:, [0, 11]]
    base = popularity[[0, 11]] * 0.6
    in_users_shop = np.array([[popularity[0], 0], [0, popularity[11]], [0, 0]])
    np.testing.assert_allclose(promoted_scores, base + in_users_shop, rtol=1e-5)


def test_ease_keeps_the_items_with_most_events():
    table = pa.table(
        {
            "user_id": ["a"] * 3,
            "item_id": ["x", "y", "z"],
            "date": [WORLD.as_of] * 3,
            "events": [5, 1, 2],
        }
    )
    model = fit(EASE, Interactions.from_table(table), max_items=2)
    assert model.items.to_pylist() == ["x", "z"]

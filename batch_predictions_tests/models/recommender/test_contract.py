"""What every recommender keeps to, and what the personal ones know about a checkerboard."""

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
    """Users are black or white by turns, in two places, and of some nothing is known."""
    n = len(user_ids)
    columns = {
        "user_id": user_ids,
        "age_bracket": [["black", "white", "unknown"][i % 3] for i in range(n)],
        "gender": [None if i % 3 == 2 else "f" for i in range(n)],
        "location": [["here", "there", None][i // 2 % 3] for i in range(n)],
    }
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def random_rows(users: int, items: int, rows: int, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    ages = random.choice(DAYS, rows)
    return pa.table(
        {
            "user_id": [f"u{user:03}" for user in random.integers(0, users, rows)],
            "item_id": [f"i{item:03}" for item in random.zipf(1.4, rows) % items],
            "date": pa.array([WORLD.as_of - timedelta(days=int(a)) for a in ages], pa.date32()),
            "events": random.integers(1, 5, rows),
            "rating": [int(r) if r else None for r in random.integers(0, 6, rows)],
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


def asked(interactions: Interactions, model: TrainableRecommender) -> Histories:
    """The histories of all users."""
    users = np.arange(len(interactions.user_ids))
    known = traits(interactions.user_ids)
    return Histories.from_interactions(interactions, users, model.items, WORLD.as_of, known)


def facts(interactions: Interactions, items: pa.StringArray) -> ItemFeatures:
    """With a promotion of the first item in one place and of the last in another."""
    promoted = pa.table(
        {
            "weeks_ahead": [1, 1],
            "item_id": pa.array([items[0].as_py(), items[-1].as_py()], pa.string()),
            "location": ["here", "there"],
            "display": [True, False],
            "mailer": [True, True],
            "tomorrow": [True, True],
        }
    )
    return ItemFeatures.from_interactions(interactions, WORLD.as_of, items, promotions=promoted)


def scores(model: TrainableRecommender, interactions: Interactions) -> np.ndarray[Any, Any]:
    return model.scores(asked(interactions, model), facts(interactions, model.items))


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


def test_every_generator_is_held_to_the_contract():
    classes = {model_class for model_class, _ in MODELS.values()}
    assert classes == set(recommender_classes().values())


def test_scoring_leaves_the_histories_as_they_are(name: str):
    model = fitted(name)
    histories = asked(BOARD, model)
    before = histories.entry_items.tolist(), histories.indptr.tolist(), histories.events.tolist()
    model.scores(histories, facts(BOARD, model.items))
    after = histories.entry_items.tolist(), histories.indptr.tolist(), histories.events.tolist()
    assert after == before


@pytest.mark.parametrize("personal", PERSONAL)
def test_a_checkerboard_user_is_offered_the_other_square_of_its_colour(personal: str):
    model = fitted(personal)
    ranked = model.rank(asked(BOARD, model), facts(BOARD, model.items), 1, exclude_seen=True)
    for user, top in enumerate(ranked.positions[:, 0]):
        assert [model.items[int(top)].as_py()] == WORLD.unseen_same_colour(user)


@pytest.mark.parametrize("personal", PERSONAL)
def test_a_user_who_came_after_the_training_is_served_from_its_history(personal: str):
    model = fitted(personal)
    white = WORLD.items[1::2]
    ranked = model.rank(
        history_of(model, *white[:4]), facts(BOARD, model.items), 2, exclude_seen=True
    )
    assert {model.items[int(i)].as_py() for i in ranked.positions[0]} == set(white[4:])


@pytest.mark.parametrize("personal", PERSONAL)
def test_the_reason_for_a_pick_is_an_item_of_the_history(personal: str):
    model = fitted(personal)
    histories = asked(BOARD, model)
    picks = np.tile(np.arange(len(model.items)), (histories.users, 1))
    because = model.explain(histories, picks)
    for user in range(histories.users):
        own = set(WORLD.history(user))
        for pick, reason in zip(picks[user], because[user], strict=True):
            if pick % 2 == user % 2 or reason >= 0:
                assert model.items[int(reason)].as_py() in own


def test_own_history_gives_the_pick_itself_as_its_reason():
    model = fitted("own_history")
    histories = asked(BOARD, model)
    because = model.explain(histories, np.tile(np.arange(12), (12, 1)))
    held = histories.matrix().toarray() > 0
    np.testing.assert_array_equal(because, np.where(held, np.arange(12), -1))


def test_reasons_of_als_are_the_parts_of_its_scores():
    """Leaving an item's confidence out of the right-hand side takes exactly its part away."""
    model = fitted("als", Interactions.from_table(random_rows(40, 30, 400)))
    assert isinstance(model, ALS)
    histories = history_of(model, "i001", "i002", "i005")
    batch = next(model._batches(histories.matrix()))[1]
    systems, sides = model._systems(batch)
    items, confidences, vectors = model._history_of(batch, 0)
    targets = np.asarray(model.targets(), dtype=np.float64)
    whole = targets @ np.linalg.solve(systems[0], sides[0])
    parts = np.stack(
        [
            targets @ np.linalg.solve(systems[0], c * y)
            for c, y in zip(confidences, vectors, strict=True)
        ],
        axis=1,
    )
    np.testing.assert_allclose(parts.sum(axis=1), whole, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.scores(histories)[0], whole, atol=1e-5)
    because = model.explain(histories, np.arange(len(model.items))[np.newaxis])[0]
    expected = np.where(parts.max(axis=1) > 0, items[parts.argmax(axis=1)], -1)
    np.testing.assert_array_equal(because, expected)


def test_ease_solves_its_own_equations():
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
    theirs = AlternatingLeastSquares(factors=4, regularization=1.0, alpha=1.0, num_threads=1)
    theirs.item_factors = np.array(model.targets())
    confidence = interactions.matrix().copy()
    confidence.data = 1 + 10 * np.log1p(confidence.data)
    expected = theirs.recalculate_user(np.arange(confidence.shape[0]), confidence)
    np.testing.assert_allclose(model.queries(interactions.matrix()), expected, rtol=2e-3, atol=1e-4)


def test_item_neighbours_sum_cosines_over_the_root_of_the_number_of_items():
    interactions = Interactions.from_table(random_rows(40, 20, 300))
    model = fitted("item_neighbours", interactions)
    taken = (interactions.matrix().toarray() > 0).astype(np.float64)
    lengths = np.sqrt(taken.sum(axis=0))
    cosine = taken.T @ taken / np.outer(lengths, lengths)
    np.fill_diagonal(cosine, 0.0)
    expected = taken @ cosine / np.sqrt(taken.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(scores(model, interactions), expected, atol=1e-5)


def test_current_neighbours_know_what_those_who_took_an_item_take_now():
    interactions = Interactions.from_table(random_rows(40, 20, 300))
    model = fitted("current_neighbours", interactions)
    now = interactions.with_decayed_events(14, WORLD.as_of).matrix().toarray().astype(np.float64)
    taken = (interactions.matrix().toarray() > 0).astype(np.float64)
    sizes = taken.sum(axis=1, keepdims=True)
    expected = taken / np.sqrt(sizes) @ ((taken / np.sqrt(sizes)).T @ now)
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
    one = fit(ItemNeighbours, interactions, neighbours=1, newest_days=None)
    # x and y are each other's nearest; z has x first, which ties with y by position.
    np.testing.assert_array_equal(one.arrays["neighbour_ids"][:, 0], [1, 0, 0])
    all_days = fit(ItemNeighbours, interactions, newest_days=None)
    newest = fit(ItemNeighbours, interactions, newest_days=1)
    likeness = 1 / np.sqrt(2)
    assert scores(all_days, interactions)[0] == pytest.approx(
        np.array([1 + likeness, 1 + likeness, 2 * likeness]) / np.sqrt(3)
    )
    assert scores(newest, interactions)[0] == pytest.approx(
        np.array([1, 1, 2 * likeness]) / np.sqrt(2)
    )


def test_what_stands_near_in_a_sitting_is_offered_next_whatever_the_day_has():
    """Everyone takes all eight items on one day, in the order of the alphabet or against it."""
    letters = list("abcdefgh")
    rows = [
        (f"u{user}", item, moment)
        for user in range(6)
        for moment, item in enumerate(letters[:: 1 if user % 2 else -1])
    ]
    # The last one is in the middle of it.
    rows += [("x", item, moment) for moment, item in enumerate("abcd")]
    users, items, moments = zip(*rows, strict=True)
    n = len(rows)
    table = pa.table(
        {
            "user_id": users,
            "item_id": items,
            "date": [WORLD.as_of] * n,
            "events": [1] * n,
            "event_time": moments,
        }
    )
    known = Interactions.from_table(table)
    model = fit(SequenceNeighbours, known, half_life=1.0, fade=0.5)
    histories = asked(known, model).slice_users(6, 7)
    assert histories.recency_rank.tolist() == [3, 2, 1, 0]
    ranked = model.rank(histories, facts(known, model.items), 4, exclude_seen=True).positions
    assert [letters[place] for place in ranked[0]] == ["e", "f", "g", "h"]
    assert [letters[i] for i in model.explain(histories, ranked)[0]] == ["d"] * 4
    # By hand: c stands after d three times and before it, which counts half, four times; both have
    # 7 places.
    near = model.arrays["neighbour_ids"][3].tolist()
    likeness = model.arrays["similarity"][3]
    assert likeness[near.index(2)] == pytest.approx((3 + 4 / 2) * 0.5 / 7)
    assert likeness[near.index(5)] == pytest.approx((3 + 3 / 2) * 0.25 / np.sqrt(7 * 6))
    # Without the time of day all of a day stand as the alphabet has them.
    untimed = Interactions.from_table(table.drop_columns("event_time"))
    blind = fit(SequenceNeighbours, untimed, half_life=1.0)
    assert np.isfinite(blind.arrays["similarity"]).all()


def in_order(sequences: dict[str, str]) -> Interactions:
    """Users who took letters one after the other on one day."""
    rows = [(u, item, n) for u, items in sequences.items() for n, item in enumerate(items)]
    users, items, moments = zip(*rows, strict=True)
    table = pa.table(
        {
            "user_id": users,
            "item_id": items,
            "date": [WORLD.as_of] * len(rows),
            "events": [1] * len(rows),
            "event_time": moments,
        }
    )
    return Interactions.from_table(table)


def test_ease_in_the_order_of_time_is_the_ridge_regression_of_what_came_next():
    known = in_order({"u": "abc", "v": "cab", "w": "ba"})
    fades, l2 = (0.5, 0.25), 2.0
    settings: dict[str, Any] = {"fades": fades, "l2": l2, "ahead": 2, "ahead_fade": 0.5}
    model = fit(SequenceEASE, known, **settings, backward=0.25)
    gram, sides = np.zeros((6, 6)), np.zeros((6, 3))
    for sequence in ("abc", "cab", "ba"):
        for read, loudness in ((sequence, 1.0), (sequence[::-1], 0.25)):
            for at in range(1, len(read)):
                before, after = np.zeros(6), np.zeros(3)
                for back, item in enumerate(read[:at][::-1]):
                    for block, fade in enumerate(fades):
                        before[3 * block + "abc".index(item)] = fade**back
                for ahead, item in enumerate(read[at : at + 2]):
                    after["abc".index(item)] = 0.5**ahead
                gram += loudness * np.outer(before, before)
                sides += loudness * np.outer(before, after)
    expected = np.linalg.solve(gram + l2 * np.eye(6), sides)
    np.testing.assert_allclose(model.arrays["weights"], expected, rtol=1e-5, atol=1e-7)
    # u took c last, then b, then a.
    heard = np.array([0.25, 0.5, 1, 0.0625, 0.25, 1])
    np.testing.assert_allclose(scores(model, known)[0], heard @ expected, rtol=1e-5)


def test_ease_in_the_order_of_time_offers_what_comes_next_and_says_after_what():
    known = in_order({**{f"u{n}": "abcdef" for n in range(9)}, "x": "bc", "y": "de"})
    model = fit(SequenceEASE, known, l2=1.0, fades=(0.5,), ahead=2, backward=0.0)
    ranked = model.rank(
        asked(known, model).slice_users(9, 11), facts(known, model.items), 1, exclude_seen=True
    )
    assert [model.items[int(place)].as_py() for place in ranked.positions[:, 0]] == ["d", "f"]
    because = model.explain(asked(known, model).slice_users(9, 11), ranked.positions)
    assert [model.items[int(place)].as_py() for place in because[:, 0]] == ["c", "e"]
    # Few places are enough for what is the same everywhere, and rare items are left out.
    few = fit(SequenceEASE, known, l2=1.0, ahead=1, places=12, max_items=5)
    assert few.items.to_pylist() == list("abcde")
    with pytest.raises(ValueError, match="fades"):
        fit(SequenceEASE, known, fades=(1.0,))


def test_a_graph_filter_adds_normalised_cooccurrence_and_a_truncated_svd():
    interactions = Interactions.from_table(random_rows(40, 20, 300))
    model = fit(GraphFilter, interactions, factors=5, weight=0.3)
    x = np.log1p(interactions.matrix().toarray().astype(np.float64))
    of_items = np.sqrt(x.sum(axis=0))
    graph = x / np.sqrt(x.sum(axis=1, keepdims=True)) / of_items
    basis = np.linalg.svd(graph)[2][:5].T
    ideal = basis @ basis.T / of_items[:, np.newaxis] * of_items
    damped = x / np.sqrt((x > 0).sum(axis=1, keepdims=True))
    expected = damped @ (graph.T @ graph + 0.3 * ideal)
    np.testing.assert_allclose(scores(model, interactions), expected, atol=1e-4)


def test_shapes_types_and_names(name: str):
    model = fitted(name)
    assert model.kind == MODELS[name][0].kind
    assert model.items.to_pylist() == sorted(WORLD.items)
    answer = scores(model, BOARD)
    assert answer.shape == (12, 12) and answer.dtype == np.float32
    assert np.isfinite(answer).any() and not np.isinf(answer).any()
    nobody = asked(BOARD, model).slice_users(0, 0)
    assert model.scores(nobody, facts(BOARD, model.items)).shape == (0, 12)
    if isinstance(model, LinearRecommender):
        queries, targets = model.queries(asked(BOARD, model).matrix()), model.targets()
        assert queries.dtype == targets.dtype == np.float32
        assert queries.shape == (12, targets.shape[1]) and targets.shape[0] == 12


def test_a_model_that_has_nothing_to_say_of_an_item_says_nan():
    held = asked(BOARD, fitted("own_history")).matrix().toarray() > 0
    np.testing.assert_array_equal(np.isfinite(scores(fitted("own_history"), BOARD)), held)
    offered = np.isfinite(scores(fitted("promoted"), BOARD))
    assert (offered == [place in (0, 11) for place in range(12)]).all()
    known = traits(BOARD.user_ids)
    nowhere = known["location"].is_null().to_numpy() & known["gender"].is_null().to_numpy()
    silent = np.isnan(scores(fitted("segment_taste"), BOARD))
    assert silent[nowhere].all() and not silent[~nowhere].any() and nowhere.any()
    without = fit(PromotedItems, BOARD)
    nothing = ItemFeatures.from_interactions(BOARD, WORLD.as_of, without.items)
    assert np.isnan(without.scores(asked(BOARD, without), nothing)).all()


def test_nobody_is_offered_what_the_model_says_nothing_of():
    model = fitted("own_history")
    histories = asked(BOARD, model)
    known = facts(BOARD, model.items)
    ranked = model.rank(histories, known, 8, exclude_seen=False)
    assert ((ranked.positions >= 0).sum(axis=1) == np.diff(histories.indptr)).all()
    assert (np.isneginf(ranked.scores) == (ranked.positions < 0)).all()
    assert (model.rank(histories, known, 8, exclude_seen=True).positions == -1).all()


def test_blocked_and_seen_items_are_not_offered(name: str):
    model = fitted(name)
    blocked = np.array([place < 6 for place in range(12)])
    histories, known = asked(BOARD, model), facts(BOARD, model.items)
    ranked = model.rank(histories, known, 12, exclude_seen=True, blocked=blocked).positions
    allowed = (histories.matrix().toarray() == 0) & ~blocked & np.isfinite(scores(model, BOARD))
    for user in range(12):
        assert sorted(ranked[user][ranked[user] >= 0]) == np.flatnonzero(allowed[user]).tolist()


def test_what_is_proposed_is_what_is_ranked(name: str):
    interactions = Interactions.from_table(random_rows(30, 12, 300))
    model = fitted(name, interactions)
    histories, known = asked(interactions, model), facts(interactions, model.items)
    blocked = np.array([place == 3 for place in range(len(model.items))])
    asked_of = np.tile(np.arange(-1, len(model.items)), (histories.users, 1))
    for exclude_seen in (False, True):
        rules = {"exclude_seen": exclude_seen, "blocked": blocked}
        proposed = model.propose(histories, known, 5, **rules)
        ranked = model.rank(histories, known, 5, **rules)
        np.testing.assert_array_equal(proposed.positions, ranked.positions)
        worth = proposed.scores_of(asked_of)
        assert np.isnan(worth[:, 0]).all() and np.isnan(worth[:, 1 + 3]).all()
        there = ranked.positions >= 0
        of_ranked = np.take_along_axis(worth, 1 + ranked.positions, axis=1)
        np.testing.assert_array_equal(of_ranked[there], ranked.scores[there])
        everything = model.rank(histories, known, len(model.items), **rules).positions
        assert (np.isfinite(worth).sum(axis=1) == (everything >= 0).sum(axis=1)).all()


def test_a_users_scores_do_not_depend_on_the_batch_around_it(name: str):
    interactions = Interactions.from_table(random_rows(300, 60, 4000))
    model = fitted(name, interactions)
    histories, known = asked(interactions, model), facts(interactions, model.items)
    whole = model.scores(histories, known)
    spans = range(0, histories.users, 7)
    alone = np.concatenate([model.scores(histories.slice_users(i, i + 7), known) for i in spans])
    np.testing.assert_allclose(whole, alone, rtol=1e-4, atol=1e-6)
    # Rankings are served from shards of any size: not a bit may differ.
    ranked = model.rank(histories, known, 10, exclude_seen=False)
    parts = [
        model.rank(histories.slice_users(i, i + 7), known, 10, exclude_seen=False) for i in spans
    ]
    np.testing.assert_array_equal(ranked.positions, np.concatenate([p.positions for p in parts]))
    np.testing.assert_array_equal(ranked.scores, np.concatenate([p.scores for p in parts]))


def test_reasons_of_nothing_are_nothing(name: str):
    model = fitted(name)
    histories = asked(BOARD, model)
    because = model.explain(histories.slice_users(0, 1), np.array([[-1, -1]]))
    assert (because == -1).all()
    unknown = pa.table({each: pa.nulls(2, pa.string()) for each in TRAITS})
    empty = replace(histories.slice_users(0, 0), users=2, traits=unknown)
    assert (model.explain(empty, np.array([[3, 5], [-1, 0]])) == -1).all()
    assert not np.isinf(model.scores(empty, facts(BOARD, model.items))).any()


def test_saved_and_loaded_it_answers_the_same(name: str, tmp_path: Path):
    model = fitted(name)
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert (
        type(loaded) is type(model) and loaded.name == model.name and loaded.params == model.params
    )
    assert loaded.items.equals(model.items)
    np.testing.assert_array_equal(scores(loaded, BOARD), scores(model, BOARD))
    picks = np.tile(np.arange(5), (12, 1))
    histories = asked(BOARD, model)
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


def test_learning_leaves_the_interactions_as_they_are(name: str):
    """Several families learn from the same rows, one after the other."""
    interactions = Interactions.from_table(random_rows(60, 40, 900))
    before = interactions.matrix().toarray()
    fitted(name, interactions)
    np.testing.assert_array_equal(interactions.matrix().toarray(), before)


@pytest.mark.parametrize("personal", ["als", "ease", "graph_filter"])
def test_the_number_of_threads_does_not_change_a_byte(personal: str, tmp_path: Path):
    """Large enough for BLAS to share out its work."""
    from threadpoolctl import threadpool_limits

    interactions = Interactions.from_table(random_rows(700, 600, 30_000))
    for threads in (1, 2):
        with threadpool_limits(limits=threads):
            fit(MODELS[personal][0], interactions).save(tmp_path / str(threads))
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_the_smallest_data_is_enough(name: str, tmp_path: Path):
    one = {"user_id": ["u"], "item_id": ["i"], "date": [WORLD.as_of], "events": [2]}
    interactions = Interactions.from_table(pa.table(one))
    model = fitted(name, interactions)
    answer = scores(model, interactions)
    assert answer.shape == (1, 1) and not np.isinf(answer).any()
    model.save(tmp_path)
    np.testing.assert_array_equal(scores(load(tmp_path), interactions), answer)


def test_an_unknown_parameter_is_refused(name: str):
    with pytest.raises(ValueError, match=f"{name} has no parameters factorz: it has"):
        override_params(MODELS[name][0].Params(), {"factorz": 3}, name)


@pytest.mark.parametrize("linear", ["als", "ease"])
def test_histories_of_another_model_are_refused(linear: str):
    model = fitted(linear)
    other = Histories.from_interactions(BOARD, np.arange(12), model.items[:5], WORLD.as_of)
    with pytest.raises(ValueError, match="5 columns"):
        model.scores(other)


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


def test_a_segment_is_offered_what_it_takes_more_than_others_do():
    users = [f"u{i}" for i in range(8)]
    table = pa.table(
        {
            "user_id": users * 2,
            "item_id": ["all"] * 8 + ["left", "right"] * 4,
            "date": [WORLD.as_of] * 16,
            "events": [1] * 16,
        }
    )
    known = pa.table(
        {
            "user_id": users,
            "age_bracket": ["unknown"] * 8,
            "gender": pa.nulls(8, pa.string()),
            "location": ["l", "r"] * 4,
        }
    )
    rows = Interactions.from_table(table)
    model = fit(SegmentPopularity, rows, users=known, min_users=4, kappa=8.0)
    assert model.learned == {"place": ["l", "r"], "people": []}
    histories = Histories.from_interactions(rows, np.arange(2), rows.item_ids, WORLD.as_of, known)
    # Shares are drawn to everyone's (1/2, 1/4, 1/4) by as many events as a segment has.
    left = np.log([0.5, (4 + 2) / 16, (0 + 2) / 16])
    assert model.scores(histories)[0] == pytest.approx(left)
    assert model.scores(histories)[1] == pytest.approx(left[[0, 2, 1]])
    few = fit(SegmentPopularity, rows, users=known, min_users=5)
    assert np.isnan(few.scores(histories)).all()


def test_what_is_promoted_in_ones_own_shop_comes_first():
    model = fitted("promoted")
    known = facts(BOARD, model.items)
    wanted = known.share("decayed_events_14")
    # "here" promotes the first item, "there" the last; each is half of the shops.
    home = pa.table({name: pa.array(["here", "there", None], pa.string()) for name in TRAITS})
    nothing = np.empty(0, dtype=np.int32)
    histories = Histories(3, 12, nothing, nothing, nothing, np.empty(0), home)
    answer = model.scores(histories, known)[:, [0, 11]]
    base = wanted[[0, 11]] * 0.6
    at_home = np.array([[wanted[0], 0], [0, wanted[11]], [0, 0]])
    np.testing.assert_allclose(answer, base + at_home, rtol=1e-5)


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

"""The contract of every recommender, and personal ones on a checkerboard."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.base import (
    MIN_SEARCHED_ITEMS,
    LinearRecommender,
    TrainableRecommender,
    override_params,
)
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.generators.als import ALS, ALSParams
from batch_predictions.models.recommender.generators.base import recommender_classes
from batch_predictions.models.recommender.generators.popularity import PromotedItems
from batch_predictions.models.recommender.ranker.two_stage import load_recommender
from batch_predictions.tables import TRAITS
from batch_predictions_tests.worlds.checkerboard import AS_OF
from batch_predictions_tests.worlds.recommenders import (
    BOARD,
    CHECKERBOARD,
    MODELS,
    PERSONAL_MODELS,
    all_histories,
    fit,
    fit_named,
    item_features,
    make_user_traits,
    random_rows,
    score_users,
    single_user_history,
)


@pytest.fixture(params=sorted(MODELS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_generator_is_tested() -> None:
    classes = {model_class for model_class, _ in MODELS.values()}
    assert classes == set(recommender_classes().values())


def test_scoring_does_not_change_the_histories(name: str) -> None:
    model = fit_named(name)
    histories = all_histories(BOARD, model)
    before = histories.entry_items.tolist(), histories.indptr.tolist(), histories.events.tolist()
    model.scores(histories, item_features(BOARD, model.items))
    after = histories.entry_items.tolist(), histories.indptr.tolist(), histories.events.tolist()
    assert after == before


@pytest.mark.parametrize("personal", PERSONAL_MODELS)
def test_a_checkerboard_user_gets_the_unseen_square_of_its_colour(personal: str) -> None:
    model = fit_named(personal)
    ranked = model.rank(
        all_histories(BOARD, model), item_features(BOARD, model.items), 1, exclude_seen=True
    )
    for user, top in enumerate(ranked.positions[:, 0]):
        assert [model.items[int(top)].as_py()] == CHECKERBOARD.unseen_same_colour(user)


@pytest.mark.parametrize("personal", PERSONAL_MODELS)
def test_a_user_without_training_rows_is_served_from_its_history(personal: str) -> None:
    model = fit_named(personal)
    white = CHECKERBOARD.items[1::2]
    ranked = model.rank(
        single_user_history(model, *white[:4]),
        item_features(BOARD, model.items),
        2,
        exclude_seen=True,
    )
    assert {model.items[int(i)].as_py() for i in ranked.positions[0]} == set(white[4:])


@pytest.mark.parametrize("personal", PERSONAL_MODELS)
def test_explanations_are_items_of_the_history(personal: str) -> None:
    model = fit_named(personal)
    histories = all_histories(BOARD, model)
    picks = np.tile(np.arange(len(model.items)), (histories.users, 1))
    contributors = model.explain(histories, picks)
    for user in range(histories.users):
        history = set(CHECKERBOARD.history(user))
        for pick, contributor in zip(picks[user], contributors[user], strict=True):
            if pick % 2 == user % 2 or contributor >= 0:
                assert model.items[int(contributor)].as_py() in history


def test_shapes_types_and_names(name: str) -> None:
    model = fit_named(name)
    assert model.kind == MODELS[name][0].kind
    assert model.items.to_pylist() == sorted(CHECKERBOARD.items)
    model_scores = score_users(model, BOARD)
    assert model_scores.shape == (12, 12) and model_scores.dtype == np.float32
    assert np.isfinite(model_scores).any() and not np.isinf(model_scores).any()
    no_users = all_histories(BOARD, model).slice_users(0, 0)
    assert model.scores(no_users, item_features(BOARD, model.items)).shape == (0, 12)
    if isinstance(model, LinearRecommender):
        queries, targets = model.queries(all_histories(BOARD, model)), model.targets()
        assert queries.dtype == targets.dtype == np.float32
        assert queries.shape == (12, targets.shape[1]) and targets.shape[0] == 12


def test_items_without_a_score_are_nan() -> None:
    in_history = all_histories(BOARD, fit_named("own_history")).matrix().toarray() > 0
    np.testing.assert_array_equal(
        np.isfinite(score_users(fit_named("own_history"), BOARD)), in_history
    )
    is_scored = np.isfinite(score_users(fit_named("promoted"), BOARD))
    assert (is_scored == [item in (0, 11) for item in range(12)]).all()
    user_traits = make_user_traits(BOARD.user_ids)
    unknown = np.logical_and.reduce(
        [user_traits[name].is_null().to_numpy() for name in ("location", "gender")]
    )
    is_nan = np.isnan(score_users(fit_named("segment_taste"), BOARD))
    assert is_nan[unknown].all() and not is_nan[~unknown].any() and unknown.any()
    model = fit(PromotedItems, BOARD)
    no_promotions = ItemFeatures.from_interactions(BOARD, AS_OF, model.items)
    assert np.isnan(model.scores(all_histories(BOARD, model), no_promotions)).all()


def test_items_without_a_score_are_not_ranked() -> None:
    model = fit_named("own_history")
    histories = all_histories(BOARD, model)
    features = item_features(BOARD, model.items)
    ranked = model.rank(histories, features, 8, exclude_seen=False)
    assert ((ranked.positions >= 0).sum(axis=1) == np.diff(histories.indptr)).all()
    assert (np.isneginf(ranked.scores) == (ranked.positions < 0)).all()
    assert (model.rank(histories, features, 8, exclude_seen=True).positions == -1).all()


def test_blocked_and_seen_items_are_not_ranked(name: str) -> None:
    model = fit_named(name)
    blocked = np.arange(12) < 6
    histories, features = all_histories(BOARD, model), item_features(BOARD, model.items)
    ranked = model.rank(histories, features, 12, exclude_seen=True, blocked=blocked).positions
    allowed = (
        (histories.matrix().toarray() == 0) & ~blocked & np.isfinite(score_users(model, BOARD))
    )
    for user in range(12):
        assert sorted(ranked[user][ranked[user] >= 0]) == np.flatnonzero(allowed[user]).tolist()


def test_proposals_equal_rankings(name: str) -> None:
    interactions = Interactions.from_table(random_rows(30, 12, 300))
    model = fit_named(name, interactions)
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
        np.testing.assert_allclose(ranked_scores[is_item], ranked.scores[is_item], rtol=1e-5)
        complete = model.rank(histories, features, len(model.items), **rules).positions
        assert (np.isfinite(proposed_scores).sum(axis=1) == (complete >= 0).sum(axis=1)).all()


def test_of_many_items_the_best_are_searched_for() -> None:
    random = np.random.default_rng(2)
    ids = pa.array([f"i{item:05}" for item in range(MIN_SEARCHED_ITEMS)])
    factors = random.normal(size=(len(ids), 4)).astype(np.float32)
    arrays: dict[str, Any] = {
        "item_factors": factors,
        "gram": factors.astype(np.float64).T @ factors,
    }
    model = ALS(ids, ALSParams(factors=4), arrays)
    rows = random_rows(30, len(ids), 200)
    positions = pa.compute.cast(pa.compute.utf8_slice_codeunits(rows["item_id"], 1), pa.int64())
    interactions = Interactions.from_table(rows.set_column(1, "item_id", ids.take(positions)))
    histories = all_histories(interactions, model)
    features = item_features(interactions, model.items)
    blocked = random.random(len(ids)) < 0.5
    some_items = random.integers(-1, len(ids), (histories.users, 500))
    for exclude_seen in (False, True):
        rules: Any = {"exclude_seen": exclude_seen, "blocked": blocked}
        found = model.propose(histories, features, 9, **rules)
        expected = TrainableRecommender.propose(model, histories, features, 9, **rules)
        np.testing.assert_array_equal(found.positions, expected.positions)
        np.testing.assert_allclose(
            found.scores_of(some_items), expected.scores_of(some_items), atol=1e-5
        )
        ranked = model.rank(histories, features, 9, **rules)
        np.testing.assert_array_equal(ranked.positions, found.positions)
        np.testing.assert_allclose(ranked.scores, found.scores_of(found.positions), rtol=1e-6)
    # Other blocked items are another search.
    unblocked = model.rank(histories, features, 9, exclude_seen=False).positions
    assert blocked[unblocked].any() and model.dense_scores == 0


def test_a_users_scores_do_not_depend_on_the_batch(name: str) -> None:
    interactions = Interactions.from_table(random_rows(300, 60, 4000))
    model = fit_named(name, interactions)
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


def users_without_history(histories: Histories) -> Histories:
    unknown = pa.table({trait: pa.nulls(2, pa.string()) for trait in TRAITS})
    return replace(histories.slice_users(0, 0), users=2, traits=unknown)


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_users_without_history_can_be_given_proposals(name: str, exclude_seen: bool) -> None:
    model = fit_named(name)
    empty = users_without_history(all_histories(BOARD, model))
    features = item_features(BOARD, model.items)
    proposed = model.propose(empty, features, 3, exclude_seen=exclude_seen)
    assert proposed.positions.shape == (2, 3)
    is_scored = np.isfinite(proposed.scores_of(proposed.positions))
    np.testing.assert_array_equal(is_scored, proposed.positions >= 0)


def test_empty_picks_and_histories_have_no_explanation(name: str) -> None:
    model = fit_named(name)
    histories = all_histories(BOARD, model)
    contributors = model.explain(histories.slice_users(0, 1), np.array([[-1, -1]]))
    assert (contributors == -1).all()
    empty = users_without_history(histories)
    assert (model.explain(empty, np.array([[3, 5], [-1, 0]])) == -1).all()
    assert not np.isinf(model.scores(empty, item_features(BOARD, model.items))).any()


def test_a_loaded_model_scores_as_the_saved_one(name: str, tmp_path: Path) -> None:
    model = fit_named(name)
    model.save(tmp_path / "model")
    loaded = load_recommender(tmp_path / "model")
    assert isinstance(loaded, TrainableRecommender)
    assert (
        type(loaded) is type(model) and loaded.name == model.name and loaded.params == model.params
    )
    assert loaded.items.equals(model.items)
    np.testing.assert_array_equal(score_users(loaded, BOARD), score_users(model, BOARD))
    picks = np.tile(np.arange(5), (12, 1))
    histories = all_histories(BOARD, model)
    np.testing.assert_array_equal(loaded.explain(histories, picks), model.explain(histories, picks))
    assert loaded.arrays.keys() == model.arrays.keys()
    assert all(isinstance(array, np.memmap) for array in loaded.arrays.values())


def test_a_model_of_an_unknown_kind_is_not_loaded(tmp_path: Path) -> None:
    fit_named("popularity").save(tmp_path)
    manifest = json.loads((tmp_path / "recommender.json").read_text())
    (tmp_path / "recommender.json").write_text(json.dumps({**manifest, "kind": "oracle"}))
    with pytest.raises(ValueError, match="oracle"):
        load_recommender(tmp_path)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_equal_rows_in_any_order_give_equal_bytes(name: str, tmp_path: Path) -> None:
    table = random_rows(60, 40, 900)
    shuffled = table.take(np.random.default_rng(1).permutation(table.num_rows))
    fit_named(name, Interactions.from_table(table)).save(tmp_path / "a")
    fit_named(name, Interactions.from_table(shuffled)).save(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_fitting_does_not_change_the_interactions(name: str) -> None:
    """Several recommenders are fitted on the same rows."""
    interactions = Interactions.from_table(random_rows(60, 40, 900))
    before = interactions.matrix().toarray()
    fit_named(name, interactions)
    np.testing.assert_array_equal(interactions.matrix().toarray(), before)


@pytest.mark.parametrize("personal", ["als", "ease", "graph_filter"])
def test_the_number_of_threads_does_not_change_a_byte(personal: str, tmp_path: Path) -> None:
    """Large enough for BLAS to use several threads."""
    from threadpoolctl import threadpool_limits

    interactions = Interactions.from_table(random_rows(700, 600, 30_000))
    for threads in (1, 2):
        with threadpool_limits(limits=threads):
            fit(MODELS[personal][0], interactions).save(tmp_path / str(threads))
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_the_smallest_data_is_enough(name: str, tmp_path: Path) -> None:
    row = {"user_id": ["u"], "item_id": ["i"], "date": [AS_OF], "events": [2]}
    interactions = Interactions.from_table(pa.table(row))
    model = fit_named(name, interactions)
    model_scores = score_users(model, interactions)
    assert model_scores.shape == (1, 1) and not np.isinf(model_scores).any()
    model.save(tmp_path)
    loaded = load_recommender(tmp_path)
    assert isinstance(loaded, TrainableRecommender)
    np.testing.assert_array_equal(score_users(loaded, interactions), model_scores)


def test_an_unknown_parameter_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} has no parameters factorz: it has"):
        override_params(MODELS[name][0].Params(), {"factorz": 3}, name)


@pytest.mark.parametrize("linear", ["als", "ease"])
def test_histories_of_another_model_are_refused(linear: str) -> None:
    model = fit_named(linear)
    histories = Histories.from_interactions(BOARD, np.arange(12), model.items[:5], AS_OF)
    with pytest.raises(ValueError, match="5 columns"):
        model.scores(histories)

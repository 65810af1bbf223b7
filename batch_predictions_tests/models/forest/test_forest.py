"""LightGBM models are scored with LightGBM's own results, to the bit, and explained by groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_predictions.models.forest.banzhaf import (
    BanzhafExplainer,
    build_banzhaf_explainer,
    sum_players,
)
from batch_predictions.models.forest.lightgbm_text import Tree, UnsupportedModelError, parse_model
from batch_predictions.models.forest.quickscorer import (
    BLOCK_ROWS,
    Forest,
    build_predictor,
    build_predictors,
    iterate_lines,
)

TreePath = list[tuple[int, bool]]
"""Nodes from the root to a leaf, and whether the path goes right at each."""


def make_rows(seed: int, rows: int, columns: int, missing_share: float, dtype: Any) -> Any:
    """Random numbers of different scales; every third column has equal values."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((rows, columns)) * 10.0 ** random.integers(-3, 4, columns)
    values[:, ::3] = np.round(values[:, ::3])
    values[random.random(values.shape) < missing_share] = np.nan
    return values.astype(dtype)


def raw_scores(forest: Forest, rows: Any) -> Any:
    """The sum of the trees' values of each row."""
    scores = np.empty(len(rows))
    for span, lines in iterate_lines(rows, forest.n_features):
        forest.score_lines(lines, scores[span])
    return scores


def train(rows: Any, trees: int = 12, seed: int = 0, **params: Any) -> lightgbm.Booster:
    random = np.random.default_rng(seed)
    values = np.nan_to_num(rows.astype(np.float64))
    noise = random.standard_normal(len(rows)) / 4
    label = np.sign(values[:, 0]) * np.tanh(values[:, -1]) + noise
    defaults = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 3, "objective": "regression"}
    categories = params.pop("categories", "auto")
    dataset = lightgbm.Dataset(rows, label, categorical_feature=categories)
    return lightgbm.train({**defaults, **params}, dataset, trees)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    leaves=st.integers(2, 64),
    columns=st.integers(1, 9),
    missing_in_training=st.sampled_from([0.0, 0.3]),
    missing_in_scoring=st.sampled_from([0.0, 0.3]),
    dtype=st.sampled_from([np.float32, np.float64]),
    rows=st.integers(0, 130),
)
def test_raw_scores_equal_lightgbm_s_to_the_bit(
    seed: int,
    leaves: int,
    columns: int,
    missing_in_training: float,
    missing_in_scoring: float,
    dtype: Any,
    rows: int,
) -> None:
    training = make_rows(seed, 400, columns, missing_in_training, dtype)
    booster = train(training, seed=seed, num_leaves=leaves, boost_from_average=seed % 2 == 0)
    new = make_rows(seed + 1, rows, columns, missing_in_scoring, dtype)
    scoring = np.concatenate([training[:70], new])
    scores = raw_scores(Forest.from_text(booster.model_to_string()), scoring)
    np.testing.assert_array_equal(scores, booster.predict(scoring, raw_score=True))


@pytest.mark.parametrize("order", ["C", "F"])
def test_many_rows_are_scored_by_several_models_in_blocks(order: Any) -> None:
    rows = np.asarray(make_rows(0, BLOCK_ROWS * 2 + 45, 6, 0.1, np.float32), order=order)
    # The second model has large trees, which only LightGBM scores.
    boosters = [train(rows[:400], seed=seed, num_leaves=n) for seed, n in enumerate((7, 90, 30))]
    scores = build_predictors([booster.model_to_string() for booster in boosters])(rows)
    assert scores.shape == (3, len(rows))
    for booster, found in zip(boosters, scores, strict=True):
        np.testing.assert_array_equal(found, booster.predict(rows, raw_score=True))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    leaves=st.integers(2, 50),
    columns=st.integers(1, 12),
    n_players=st.integers(1, 6),
    missing_in_training=st.sampled_from([0.0, 0.3]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_banzhaf_values_average_over_all_coalitions(
    seed: int, leaves: int, columns: int, n_players: int, missing_in_training: float, dtype: Any
) -> None:
    training = make_rows(seed, 300, columns, missing_in_training, dtype)
    text = train(training, trees=6, seed=seed, num_leaves=leaves).model_to_string()
    rows = np.concatenate([training[:5], make_rows(seed + 1, 4, columns, 0.2, dtype)])
    players = [column * n_players // columns for column in range(columns)]
    values = BanzhafExplainer.from_text(text, players).values(rows)
    assert values.shape == (9, max(players) + 1)
    expected = banzhaf_by_definition(text, players, rows)
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)


def banzhaf_by_definition(text: str, players: list[int], rows: np.ndarray) -> np.ndarray:
    """Means over all coalitions of what a player adds to the leaves' expected values."""
    _, trees = parse_model(text)
    n_players = max(players) + 1
    out = np.zeros((len(rows), n_players))
    coalitions = list(product([False, True], repeat=n_players))
    for tree in trees:
        if not tree.children:
            continue
        for leaf, path in iterate_paths(tree):
            entries = group_by_player(tree, path, players)
            for number, row in enumerate(rows):
                passes = {
                    player: all(passes_split(tree, row, split) for split in splits)
                    for player, _, splits in entries
                }
                for coalition in coalitions:
                    worth = tree.leaf_values[leaf]
                    for player, zero_fraction, _ in entries:
                        worth *= passes[player] if coalition[player] else zero_fraction
                    for player in range(n_players):
                        sign = 1 if coalition[player] else -1
                        out[number, player] += sign * worth / (len(coalitions) / 2)
    return out


def iterate_paths(tree: Tree) -> Iterator[tuple[int, TreePath]]:
    """Yields every leaf of a tree with its path; nothing for a tree that is a single leaf."""
    stack: list[tuple[int, TreePath]] = [(0, [])] if tree.children else []
    while stack:
        child, path = stack.pop()
        if child < 0:
            yield -1 - child, path
            continue
        left, right = tree.children[child]
        stack.append((left, [*path, (child, False)]))
        stack.append((right, [*path, (child, True)]))


def group_by_player(
    tree: Tree, path: TreePath, players: Sequence[int]
) -> list[tuple[int, float, TreePath]]:
    """Groups the splits of a path by player, each with its zero fraction.

    Args:
        tree: the tree.
        path: nodes from the root to a leaf, each with the direction in which the path goes.
        players: player of each feature.
    """
    steps: dict[int, tuple[float, TreePath]] = {}
    for node, goes_right in path:
        player = players[tree.split_feature[node]]
        zero_fraction, splits = steps.get(player, (1.0, []))
        zero_fraction *= tree.share(node, goes_right)
        steps[player] = zero_fraction, [*splits, (node, goes_right)]
    return [(player, fraction, splits) for player, (fraction, splits) in steps.items()]


def passes_split(tree: Tree, row: np.ndarray, split: tuple[int, bool]) -> bool:
    """Whether a row goes a path's way at a node."""
    node, goes_right = split
    x = row[tree.split_feature[node]]
    is_right = not tree.default_left[node] if np.isnan(x) else x > tree.threshold[node]
    return is_right == goes_right


def test_a_player_of_two_features_has_the_value_of_the_game_of_both() -> None:
    """One tree of two splits, whose four cases can be counted by hand."""
    first = np.repeat([0.0, 1.0], 200)
    second = np.tile([0.0, 1.0], 200)
    third = np.zeros(400)
    rows = np.stack([first, second, third], axis=1)
    label = 8.0 * first * second
    dataset = lightgbm.Dataset(rows, label)
    params = {"num_leaves": 4, "min_data_in_leaf": 1, "learning_rate": 1.0, "verbose": -1}
    booster = lightgbm.train({**params, "boost_from_average": False}, dataset, 1)
    text = booster.model_to_string()
    both = BanzhafExplainer.from_text(text, [0, 0, 1]).values(np.array([[1.0, 1.0, 0.0]]))
    np.testing.assert_allclose(both, [[6.0, 0.0]], atol=1e-5)
    single = BanzhafExplainer.from_text(text, [0, 1, 2]).values(np.array([[1.0, 1.0, 0.0]]))
    np.testing.assert_allclose(single, [[3.0, 3.0, 0.0]], atol=1e-5)


def test_a_model_that_only_lightgbm_can_explain_has_shapley_values_of_players() -> None:
    rows = make_rows(1, 400, 6, 0.0, np.float32)
    booster = train(rows, num_leaves=100)
    players = [0, 1, 2, 0, 1, 2]
    with pytest.raises(UnsupportedModelError):
        BanzhafExplainer.from_text(booster.model_to_string(), players)
    expected = sum_players(np.asarray(booster.predict(rows, pred_contrib=True))[:, :-1], players)
    values = build_banzhaf_explainer(booster.model_to_string(), players)(rows)
    np.testing.assert_allclose(values, expected, atol=1e-9)


def test_extreme_values_and_thresholds_are_compared_as_lightgbm_does() -> None:
    training = make_rows(5, 500, 2, 0.2, np.float64)
    booster = train(training, num_leaves=40)
    forest = Forest.from_text(booster.model_to_string())
    thresholds = forest.thresholds["float64"]
    extremes = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 3.4e38, 1e-45])
    just_above, just_below = (np.nextafter(thresholds, end) for end in (9, -9))
    values = np.concatenate([extremes, thresholds, just_above, just_below])
    for dtype in (np.float32, np.float64):
        with np.errstate(over="ignore"):
            rows = np.stack([values, values[::-1]], axis=1).astype(dtype)
        scores = raw_scores(forest, rows)
        np.testing.assert_array_equal(scores, booster.predict(rows, raw_score=True))


def test_the_score_of_a_row_does_not_depend_on_its_batch() -> None:
    rows = make_rows(1, 300, 6, 0.1, np.float32)
    predict = build_predictor(train(rows).model_to_string())
    batches = np.concatenate([predict(rows[start : start + 7]) for start in range(0, 300, 7)])
    np.testing.assert_array_equal(predict(rows), batches)


def test_trees_with_a_single_leaf_are_summed() -> None:
    rows = make_rows(2, 50, 2, 0.0, np.float64)
    booster = train(rows, trees=3, min_data_in_leaf=1000)
    scores = raw_scores(Forest.from_text(booster.model_to_string()), rows)
    np.testing.assert_array_equal(scores, booster.predict(rows, raw_score=True))


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"num_leaves": 80, "min_data_in_leaf": 1}, "64 leaves"),
        ({"categories": [2], "min_data_per_group": 1, "cat_smooth": 0}, "categorical"),
        ({"linear_tree": True}, "linear"),
        ({"zero_as_missing": True}, "zeros"),
        ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, "mean"),
    ],
)
def test_unsupported_models_are_scored_and_explained_by_lightgbm(
    params: dict[str, Any], reason: str
) -> None:
    rows = np.abs(make_rows(3, 900, 3, 0.0, np.float64))
    text = train(rows, **params).model_to_string()
    with pytest.raises(UnsupportedModelError, match=reason):
        Forest.from_text(text)
    booster = lightgbm.Booster(model_str=text)
    expected = booster.predict(rows, raw_score=True)
    np.testing.assert_array_equal(build_predictor(text)(rows), expected)
    if not params.get("linear_tree"):  # LightGBM does not explain linear leaves.
        contributions = np.asarray(booster.predict(rows, pred_contrib=True))
        explain = build_banzhaf_explainer(text, range(rows.shape[1]))
        np.testing.assert_allclose(explain(rows), contributions[:, :-1])


def test_models_with_several_outputs_are_refused() -> None:
    rows = make_rows(4, 200, 3, 0.0, np.float64)
    labels = np.arange(200) % 3
    params = {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(params, lightgbm.Dataset(rows, labels), 2)
    with pytest.raises(UnsupportedModelError, match="outputs"):
        Forest.from_text(booster.model_to_string())


def test_rows_with_another_number_of_columns_are_refused() -> None:
    rows = make_rows(6, 100, 3, 0.0, np.float32)
    text = train(rows).model_to_string()
    for function in (build_predictor(text), build_banzhaf_explainer(text, range(3))):
        with pytest.raises(ValueError, match="3 features"):
            function(rows[:, :2])

"""The straight line of the second stage: what it learns, by hand and by its optimum."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFacts
from batch_predictions.models.recommender.explanations import _parts
from batch_predictions.models.recommender.features.candidates import Group
from batch_predictions.models.recommender.ranker.conditional_logit import (
    FARTHEST,
    RIDGE,
    Straight,
    loudness,
)
from batch_predictions.models.recommender.ranker.ranker_ensemble import Mixed
from batch_predictions.models.recommender.two_stage import TwoStage

NAMES: list[tuple[str, Group]] = [
    ("ease", "similar"),
    ("ease_rank", "similar"),
    ("user_items", "user"),
    ("wanted", "trend"),
]
NAN = float("nan")


def lists(users: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of ten candidates the taken one is likelier, the higher `ease` is against the others'."""
    random = np.random.default_rng(seed)
    features = random.standard_normal((users, 10, 4))
    # Each list on a level of its own: only what is relative tells.
    level = random.normal(0, 50, (users, 1))
    odds = np.exp(2.0 * features[..., 0])
    features[..., 0] += level
    features[..., 2] = level
    taken = [random.choice(10, p=each / each.sum()) for each in odds]
    labels = np.zeros((users, 10), dtype=np.int8)
    labels[np.arange(users), taken] = 1
    flat = features.reshape(-1, 4).astype(np.float32)
    return flat, labels.ravel(), np.full(users, 10)


def test_features_are_relative_to_the_list_and_the_unknown_comes_last():
    line = Straight((1.0, 1.0, 0.0, 1.0), (0.0,) * 4, (False, True, False, False))
    features = np.array(
        [
            [3, 0, 9, 5],
            [1, NAN, 9, 5],
            [NAN, 2, 9, 5],
            # Another user's list, where nothing is known of `ease`.
            [NAN, 1, 7, 0],
            [NAN, 1, 7, 4],
        ],
        dtype=np.float32,
    )
    parts = line.parts(features, np.array([3, 0, 2]))
    high, low = 2 / np.sqrt(2), -1 / np.sqrt(2)
    np.testing.assert_allclose(parts[:, 0], [high, low, low, 0, 0], rtol=1e-6)
    # Ranks: none known is as the last one.
    np.testing.assert_allclose(parts[:, 1], [-high, -low, -low, 0, 0], rtol=1e-6)
    assert (parts[:, 2] == 0).all()
    np.testing.assert_allclose(parts[:, 3], [0, 0, 0, -1, 1], rtol=1e-6)
    np.testing.assert_allclose(line.margins(features, np.array([3, 2])), parts.sum(axis=1))
    far = np.zeros((200, 4), dtype=np.float32)
    far[0] = 1.0
    assert line.parts(far, np.array([200])).max() == FARTHEST


def test_a_lists_margins_are_the_same_bits_whatever_stands_around_it():
    features, labels, sizes = lists(40)
    line = Straight.taught(features, labels, sizes, NAMES)
    whole = line.margins(features, sizes)
    for user in (0, 17, 39):
        alone = line.margins(features[10 * user : 10 * user + 10], np.array([10]))
        assert alone.tobytes() == whole[10 * user : 10 * user + 10].tobytes()
    assert line.margins(features[:0], np.array([0])).shape == (0,)


def test_it_finds_what_tells_the_taken_ones_and_weighs_nothing_else():
    features, labels, sizes = lists(1500)
    weights = Straight.taught(features, labels, sizes, NAMES).weights
    # 2 per unit, a little less per standard deviation of ten, and the ridge draws it in.
    assert 0.5 < weights[0] < 1.9
    assert weights[2] == 0 and max(abs(weights[1]), abs(weights[3])) < 0.15


def test_the_weights_are_where_the_logit_with_a_ridge_is_best():
    features, labels, sizes = lists(300, seed=4)
    # A list of which nothing is taken teaches nothing.
    labels[:10] = 0
    line = Straight.taught(features, labels, sizes, NAMES)

    def loss(weights: np.ndarray) -> float:
        moved = Straight(tuple(weights), line.away, line.large)
        margins = moved.margins(features, sizes).reshape(-1, 10)
        chances = np.exp(margins) / np.exp(margins).sum(axis=1, keepdims=True)
        right = labels.reshape(-1, 10).astype(bool)
        return float(-np.log(chances[right]).sum() + RIDGE * 299 / 2 * (weights**2).sum())

    best = np.array(line.weights)
    for place in (0, 1, 3):
        for step in (-0.02, 0.02):
            other = best.copy()
            other[place] += step
            assert loss(other) > loss(best)


def test_what_tells_turns_with_how_long_the_user_was_away():
    random = np.random.default_rng(1)
    days = np.repeat([0.0, 90.0], 1000)
    features = random.standard_normal((2000, 10, 3))
    features[..., 2] = days[:, None]
    # Who was here today follows the one, who comes back after months the other.
    odds = np.exp(2.0 * np.where(days[:, None] > 0, features[..., 1], features[..., 0]))
    labels = np.zeros((2000, 10), dtype=np.int8)
    taken = [random.choice(10, p=each / each.sum()) for each in odds]
    labels[np.arange(2000), taken] = 1
    flat, sizes = features.reshape(-1, 3).astype(np.float32), np.full(2000, 10)
    names: list[tuple[str, Group]] = [
        ("next_neighbours", "similar"),
        ("recent", "trend"),
        ("user_inactive", "user"),
    ]
    line = Straight.taught(flat, labels.ravel(), sizes, names)
    assert line.inactive == 2 and line.away[0] < -0.1 and line.away[1] > 0.1
    parts = np.abs(line.parts(flat, sizes)).reshape(2000, 10, 3).mean(axis=1)
    assert (parts[days == 0, 0] > 2 * parts[days == 0, 1]).all()
    assert (parts[days > 0, 1] > 2 * parts[days > 0, 0]).all()
    # Unknown is as after ten days.
    flat[:, 2] = NAN
    unknown = line.parts(flat, sizes)
    flat[:, 2] = 10
    np.testing.assert_allclose(line.parts(flat, sizes), unknown, atol=1e-6)


TREES = {"objective": "lambdarank", "rounds": 5, "num_leaves": 4, "num_threads": 1}


def test_trees_and_line_are_added_in_units_of_the_trees_spread(tmp_path: Path):
    features, labels, sizes = lists(200)
    mixed = Mixed.taught([TREES], 0.5, features, labels, sizes, NAMES)
    total, parts = mixed.margins(features, sizes)
    assert parts is not None and mixed.straight is not None
    trees = mixed.trees.margins(features)
    np.testing.assert_allclose(total, trees + parts.sum(axis=1), rtol=1e-5, atol=1e-5)
    assert np.std(total - trees) == pytest.approx(0.5 * np.std(trees), rel=1e-4)
    mixed.trees.save(tmp_path)
    again = Mixed.load(tmp_path, mixed.params())
    assert again.margins(features, sizes)[0].tobytes() == total.tobytes()
    # Trees alone, as of a model saved before there was a line.
    alone = Mixed.taught([TREES], 0.0, features, labels, sizes, NAMES)
    assert alone.straight is None and alone.params().keys() == {"spreads"}
    assert Mixed.load(tmp_path, alone.params()).margins(features, sizes)[1] is None
    # A line of before it turned with the days away.
    before = {name: mixed.params()[name] for name in ("spreads", "straight", "large")}
    assert Mixed.load(tmp_path, before).margins(features, sizes)[0].tobytes() == total.tobytes()


def test_the_fewer_users_there_are_the_louder_is_the_line():
    assert loudness(0, True) == loudness(100, True) == loudness(100, False) == 2
    assert loudness(1500, True) == 1 and loudness(3000, True) == 0.25
    assert loudness(1500, False) == 0


def test_what_reasons_are_read_from_adds_up_to_the_scores_line_included():
    random = np.random.default_rng(0)
    day = date(2024, 3, 31)
    rows = [(f"u{n % 20:02}", f"i{random.integers(30):02}", n % 50) for n in range(3000)]
    users, items, ages = zip(*rows, strict=True)
    days = [day - timedelta(days=age) for age in ages]
    columns = {"user_id": users, "item_id": items, "date": days, "events": [1] * len(rows)}
    known = Interactions.from_table(pa.table(columns))
    taught = {"exclude_seen": False, "generators": ("recent", "own_history"), "threads": 1}
    model = TwoStage.fit(known, day, **taught, ranker_params={"rounds": 8})
    assert model.ranker.straight is not None and any(model.ranker.straight.weights)
    facts = ItemFacts.of(known, day, model.items)
    ranked = model.rank(
        Histories.of(known, np.arange(20), model.items, day), facts, 10, exclude_seen=False
    )
    sums = _parts(model, ranked, ranked.rows.ravel()).sum(axis=1)
    rest = ranked.scores.ravel() - sums
    # What is left is the trees' mean, the same for all.
    np.testing.assert_allclose(rest, rest[0], atol=1e-4)
    assert np.std(ranked.scores) > 0.1

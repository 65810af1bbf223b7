"""Generators that read sequences: neighbours, EASE and a network of the following items."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.recommender_manifest import MANIFEST
from batch_predictions.models.recommender.generators.base import load_generator
from batch_predictions.models.recommender.generators.sequence import (
    MAX_EPOCHS,
    Sequence,
    SequenceParams,
    count_steps,
)
from batch_predictions.models.recommender.generators.sequence_ease import SequenceEASE
from batch_predictions.models.recommender.generators.sequence_neighbours import SequenceNeighbours
from batch_predictions.models.recommender.kernels.sequence_network import FULL_SOFTMAX_ITEMS
from batch_predictions_tests.worlds.checkerboard import AS_OF
from batch_predictions_tests.worlds.recommenders import (
    all_histories,
    fit,
    item_features,
    make_sequences,
    score_users,
)


def test_items_near_in_a_session_are_ranked_next() -> None:
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
            "date": [AS_OF] * n,
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


def test_sequence_ease_is_the_ridge_regression_on_the_following_items() -> None:
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
    np.testing.assert_allclose(score_users(model, interactions)[0], profile @ expected, rtol=1e-5)


def test_sequence_ease_ranks_the_next_item_and_explains_it_by_the_previous() -> None:
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


ALPHABET = "abcdefghijkl"


def alphabets(users: int) -> Interactions:
    """Users who take neighbouring letters in the order of the alphabet, which is a circle."""
    random = np.random.default_rng(0)
    starts, lengths = random.integers(0, 12, users), random.integers(3, 7, users)
    return make_sequences(
        {
            f"u{user:03}": (2 * ALPHABET)[start : start + length]
            for user, (start, length) in enumerate(zip(starts, lengths, strict=True))
        }
    )


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_network_learns_what_comes_next_and_explains_it_by_a_letter_of_the_history(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: device == "cuda")
    interactions = alphabets(300)
    settings = {"minutes": 0.2, "width": 16, "batch": 16, "dropout": 0.1}
    model = fit(Sequence, interactions, **settings)
    histories = all_histories(interactions, model)
    ranked = model.rank(
        histories, item_features(interactions, model.items), 1, exclude_seen=True
    ).positions[:, 0]
    newest = np.zeros(histories.users, dtype=np.int64)
    is_newest = histories.recency_rank == 0
    newest[histories.entry_users[is_newest]] = histories.entry_items[is_newest]
    assert (ranked == (newest + 1) % 12).mean() > 0.95
    contributors = model.explain(histories, ranked[:, np.newaxis])[:, 0]
    taken = histories.matrix().toarray() > 0
    known = contributors >= 0
    assert known.mean() > 0.5 and taken[np.flatnonzero(known), contributors[known]].all()


def test_compiled_states_are_those_of_the_network() -> None:
    torch = pytest.importorskip("torch")
    from batch_predictions.models.recommender.kernels.sequence_network import SequenceNetwork

    interactions = alphabets(40)
    model = fit(Sequence, interactions, minutes=0.001, width=8, batch=8)
    weights = {name: torch.from_numpy(np.array(array)) for name, array in model.arrays.items()}
    network = SequenceNetwork(12, 8, 0.5).eval()
    unit = dict(network.unit.named_parameters())
    with torch.no_grad():
        network.vectors.weight[1:] = weights["vectors"]
        # The model keeps each item's part of the gates, which gives back their weights.
        biased = torch.cat([weights["vectors"], torch.ones(12, 1)], dim=1)
        solved = torch.linalg.lstsq(biased.double(), weights["inputs"].double()).solution.float()
        unit["weight_ih_l0"].copy_(solved[:-1].T)
        unit["bias_ih_l0"].copy_(solved[-1])
        unit["weight_hh_l0"].copy_(weights["recurrent"])
        unit["bias_hh_l0"].copy_(weights["recurrent_bias"])
        network.projection.weight.copy_(weights["projection"])
        network.projection.bias.copy_(weights["projection_bias"])
        network.norm.weight.copy_(weights["scale"])
        network.norm.bias.copy_(weights["shift"])
    histories = all_histories(interactions, model)
    queries = model.queries(histories)
    assert (queries[:, -1] == 1).all()
    for user in range(histories.users):
        of_user = histories.entry_users == user
        order = np.argsort(-histories.recency_rank[of_user])
        items = torch.from_numpy(histories.entry_items[of_user][order].astype(np.int64))
        with torch.no_grad():
            expected = network(items[None] + 1, network.item_vectors())[0, -1]
        np.testing.assert_allclose(queries[user, :-1], expected, atol=1e-4)


def circle_of_categories(users: int) -> tuple[Interactions, pa.Table]:
    """Users who take an item of one of four categories, then one of the next, and so on.

    Three users began with the item `new`, of the third category, which follows no other item.
    """
    random = np.random.default_rng(0)
    rows = []
    for user in range(users):
        start = 2 if user < 3 else int(random.integers(0, 4))
        picked = random.permutation(10)
        for place in range(random.integers(3, 9)):
            item = f"{'abcd'[(start + place) % 4]}{picked[place]}"
            rows.append((f"u{user:03}", "new" if user < 3 and not place else item, place))
    user_ids, items, times = zip(*rows, strict=True)
    columns = {"user_id": user_ids, "item_id": items, "event_time": times}
    n = len(rows)
    table = pa.table({**columns, "date": [AS_OF] * n, "events": [1] * n})
    catalogue = [f"{category}{number}" for category in "abcd" for number in range(10)]
    categories = [item[0] for item in catalogue]
    attributes = pa.table(
        {
            "item_id": [*catalogue, "new"],
            "category": [*categories, "c"],
            # As rare as the item itself: says nothing.
            "title": [*catalogue, "new"],
        }
    )
    return Interactions.from_table(table), attributes


def test_a_new_item_is_ranked_by_its_category() -> None:
    interactions, attributes = circle_of_categories(400)
    params = SequenceParams(minutes=0.2, width=16, batch=16, dropout=0.1)
    shares_below_new = []
    for known in (None, attributes):
        model = Sequence.fit_with_attributes(interactions, AS_OF, params, items=known)
        histories = all_histories(interactions, model)
        scores = model.scores(histories)
        category = np.array([item[0] for item in model.items.to_pylist()])
        new = model.items.to_pylist().index("new")
        is_newest = histories.recency_rank == 0
        newest = np.full(histories.users, -1)
        newest[histories.entry_users[is_newest]] = histories.entry_items[is_newest]
        # Items of the category `c` follow those of `b`.
        after_b = scores[category[newest] == "b"]
        other_categories = after_b[:, (category != "c") & (category != "n")]
        shares_below_new.append((after_b[:, [new]] > other_categories).mean())
    without_attributes, with_attributes = shares_below_new
    assert without_attributes < 0.5 and with_attributes > 0.9


def test_attributes_that_no_items_share_change_nothing() -> None:
    interactions, attributes = circle_of_categories(40)
    params = SequenceParams(minutes=0.001, width=8, batch=8)
    expected = Sequence.fit(interactions, AS_OF, params)
    titles = attributes.drop_columns("category")
    off = replace(params, attributes=False)
    for model in (
        Sequence.fit_with_attributes(interactions, AS_OF, params, items=titles),
        Sequence.fit_with_attributes(interactions, AS_OF, off, items=attributes),
    ):
        for name, array in expected.arrays.items():
            np.testing.assert_array_equal(array, model.arrays[name], err_msg=name)


def test_a_vector_is_the_item_s_own_and_the_weighted_sum_of_its_tags() -> None:
    pytest.importorskip("torch")
    from scipy.sparse import csr_matrix

    from batch_predictions.models.recommender.kernels.sequence_network import SequenceNetwork

    # The second item has no tags.
    tags = csr_matrix(np.array([[0.5, 0.5, 0], [0, 0, 0], [0, 0, 1]], dtype=np.float32))
    network = SequenceNetwork(3, 4, 0.5, tags)
    assert network.tag_vectors is not None
    own, of_tags = (
        vectors.weight.detach().numpy() for vectors in (network.vectors, network.tag_vectors)
    )
    vectors = network.item_vectors().detach().numpy()
    np.testing.assert_array_equal(vectors[0], own[0])
    np.testing.assert_allclose(vectors[1:], own[1:] + tags @ of_tags, rtol=1e-6)


def test_a_model_from_before_attributes_is_read(tmp_path: Path) -> None:
    interactions, attributes = circle_of_categories(40)
    params = SequenceParams(minutes=0.001, width=8, batch=8)
    model = Sequence.fit_with_attributes(interactions, AS_OF, params, items=attributes)
    model.save(tmp_path)
    manifest_path = tmp_path / MANIFEST
    manifest = json.loads(manifest_path.read_text())
    del manifest["params"]["attributes"]
    manifest_path.write_text(json.dumps(manifest))
    read = load_generator(tmp_path)
    histories = all_histories(interactions, model)
    np.testing.assert_array_equal(read.scores(histories), model.scores(histories))


@pytest.mark.parametrize("has_tags", [False, True])
def test_a_sampled_loss_gives_equal_bytes_although_threads_share_the_work(has_tags: bool) -> None:
    random = np.random.default_rng(0)
    # Some items are so frequent that a step draws them again and again.
    items = np.append(np.arange(6_000), 6_000 * random.random(24_000) ** 6).astype(np.int64)
    users = random.permutation(np.repeat(np.arange(600), 50))
    table = pa.table(
        {
            "user_id": [f"u{user:03}" for user in users],
            "item_id": [f"i{item:04}" for item in items],
            "date": [AS_OF] * len(users),
            "events": [1] * len(users),
            "event_time": np.arange(len(users)),
        }
    )
    interactions = Interactions.from_table(table)
    assert len(interactions.item_ids) > FULL_SOFTMAX_ITEMS
    ids = interactions.item_ids
    tags = pa.table({"item_id": ids, "brand": [f"b{i.as_py()[-1]}|all" for i in ids]})
    params = SequenceParams(minutes=0.02)
    one, other = (
        Sequence.fit_with_attributes(interactions, AS_OF, params, items=tags if has_tags else None)
        for _ in range(2)
    )
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name], err_msg=name)


def test_steps_of_a_training_follow_its_minutes_up_to_a_number_of_epochs() -> None:
    params = SequenceParams(minutes=1.0)
    steps = count_steps(10_000_000, 1_000_000, 50_000, params)
    assert count_steps(10_000_000, 1_000_000, 50_000, SequenceParams(minutes=2.0)) == pytest.approx(
        2 * steps, abs=1
    )
    few = count_steps(640, 64, 20, SequenceParams(minutes=1000.0))
    assert few == MAX_EPOCHS
    assert count_steps(10, 2, 5, SequenceParams(minutes=1e-9)) == 1


@pytest.mark.parametrize("params", [{"minutes": 0.0}, {"dropout": 1.0}, {"width": 0}])
def test_parameters_of_the_network_are_checked(params: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="sequence: "):
        fit(Sequence, alphabets(4), **params)

"""What every recommender keeps to, and what the personal ones know about a checkerboard."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.ranking import top_k
from batch_predictions.models.recommender.als import ALS
from batch_predictions.models.recommender.base import Recommender
from batch_predictions.models.recommender.data import Interactions, histories_to_csr
from batch_predictions.models.recommender.ease import EASE
from batch_predictions.models.recommender.popularity import Popularity
from batch_predictions_tests.worlds import checkerboard

FAMILIES: dict[str, tuple[type[Recommender], dict[str, Any]]] = {
    "als": (ALS, {"factors": 4, "seed": 3}),
    "ease": (EASE, {"l2": 1.0}),
    "popularity": (Popularity, {}),
    "recency_popularity_14d": (Popularity, {"half_life_days": 14}),
}
WORLD = checkerboard(users=12, items=12, seed=5)


def fitted(name: str, table: pa.Table = WORLD.interactions) -> Recommender:
    family, params = FAMILIES[name]
    return family.fit(Interactions.from_table(table), WORLD.as_of, **params)


def random_table(users: int, items: int, rows: int, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "user_id": [f"u{user}" for user in random.integers(0, users, rows)],
            "item_id": [f"i{item}" for item in random.zipf(1.4, rows) % items],
            "date": pa.array([WORLD.as_of] * rows, pa.date32()),
            "events": random.integers(1, 5, rows),
        }
    )


@pytest.fixture(params=sorted(FAMILIES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("personal", ["als", "ease"])
def test_a_checkerboard_user_is_offered_the_other_square_of_its_colour(personal: str):
    model = fitted(personal)
    histories = histories_to_csr(model.items, *WORLD.histories())
    scores = model.queries(histories) @ model.targets().T
    scores[histories.nonzero()] = -np.inf
    for user, top in enumerate(top_k(scores, 1)):
        assert [model.items[int(top[0])].as_py()] == WORLD.unseen_same_colour(user)


@pytest.mark.parametrize("personal", ["als", "ease"])
def test_a_user_who_came_after_the_training_is_served_from_its_history(personal: str):
    model = fitted(personal)
    white = WORLD.items[1::2]
    newcomer = histories_to_csr(model.items, pa.array([white[:4]]), pa.array([[1, 1, 1, 1]]))
    scores = (model.queries(newcomer) @ model.targets().T)[0]
    scores[newcomer.indices] = -np.inf
    assert {model.items[int(i)].as_py() for i in top_k(scores[np.newaxis], 2)[0]} == set(white[4:])


@pytest.mark.parametrize("personal", ["als", "ease"])
def test_the_reason_for_a_pick_is_the_history_item_with_the_largest_part(personal: str):
    model = fitted(personal)
    histories = histories_to_csr(model.items, *WORLD.histories())
    picks = np.tile(np.arange(len(model.items)), (histories.shape[0], 1))
    because = model.explain(histories, picks)
    for user in range(histories.shape[0]):
        own = {str(item) for item in WORLD.history(user)}
        for pick, reason in zip(picks[user], because[user], strict=True):
            if pick % 2 == user % 2 or reason >= 0:
                assert model.items[int(reason)].as_py() in own


def test_reasons_of_als_are_the_parts_of_its_scores():
    """Leaving an item's confidence out of the right-hand side takes exactly its part away."""
    model = fitted("als", random_table(40, 30, 400))
    history = histories_to_csr(model.items, pa.array([["i1", "i2", "i5"]]), pa.array([[3, 1, 2]]))
    systems, sides = model._systems(next(model._batches(history))[1])  # type: ignore[attr-defined]
    items, confidences, vectors = model._known(next(model._batches(history))[1], 0)  # type: ignore[attr-defined]
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
    np.testing.assert_allclose((model.queries(history) @ model.targets().T)[0], whole, atol=1e-5)
    because = model.explain(history, np.arange(len(model.items))[np.newaxis])[0]
    expected = np.where(parts.max(axis=1) > 0, items[parts.argmax(axis=1)], -1)
    np.testing.assert_array_equal(because, expected)


def test_ease_solves_its_own_equations():
    """Steck 2019, eq. 8: B = I - P / diag(P), P the inverse of X'X + l2 I."""
    interactions = Interactions.from_table(random_table(50, 20, 600))
    model = EASE.fit(interactions, WORLD.as_of, l2=3.0)
    x = np.log1p(interactions.matrix().toarray().astype(np.float64))
    inverse = np.linalg.inv(x.T @ x + 3.0 * np.eye(x.shape[1]))
    expected = np.eye(x.shape[1]) - inverse / np.diag(inverse)
    np.testing.assert_allclose(model.targets().T, expected, atol=1e-5)


def test_als_folds_in_to_the_factors_that_implicit_would_recalculate():
    from implicit.cpu.als import AlternatingLeastSquares

    model = fitted("als", random_table(40, 30, 400))
    interactions = Interactions.from_table(random_table(40, 30, 400))
    theirs = AlternatingLeastSquares(factors=4, regularization=1.0, alpha=1.0, num_threads=1)
    theirs.item_factors = np.array(model.targets())
    confidence = interactions.matrix().copy()
    confidence.data = 1 + 10 * np.log1p(confidence.data)
    expected = theirs.recalculate_user(np.arange(confidence.shape[0]), confidence)
    np.testing.assert_allclose(model.queries(interactions.matrix()), expected, rtol=2e-3, atol=1e-4)


def test_shapes_types_and_names(name: str):
    model = fitted(name)
    assert model.name == name
    assert model.items.to_pylist() == sorted(WORLD.items)
    histories = histories_to_csr(model.items, *WORLD.histories())
    queries, targets = model.queries(histories), model.targets()
    assert queries.dtype == targets.dtype == np.float32
    assert queries.shape == (12, targets.shape[1]) and targets.shape[0] == 12
    nobody = model.queries(histories[:0])
    assert nobody.shape == (0, targets.shape[1])


def test_a_users_vector_does_not_depend_on_the_batch_around_it(name: str):
    model = fitted(name, random_table(300, 60, 4000))
    histories = Interactions.from_table(random_table(300, 60, 4000)).matrix()
    whole = model.queries(histories)
    alone = np.concatenate([model.queries(histories[i : i + 7]) for i in range(0, 300, 7)])
    np.testing.assert_array_equal(whole, alone)


def test_reasons_of_nothing_are_nothing(name: str):
    model = fitted(name)
    histories = histories_to_csr(
        model.items,
        pa.array([[], WORLD.history(1)], pa.list_(pa.string())),
        pa.array([[], [1.0] * 5], pa.list_(pa.float64())),
    )
    because = model.explain(histories, np.array([[3, 5], [-1, -1]]))
    assert (because == -1).all()
    assert np.isfinite(model.queries(histories)).all()


def test_saved_and_loaded_it_answers_the_same(name: str, tmp_path: Path):
    model = fitted(name)
    model.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    assert type(loaded) is type(model) and loaded.name == name and loaded.params == model.params
    assert loaded.items.equals(model.items)
    histories = histories_to_csr(model.items, *WORLD.histories())
    np.testing.assert_array_equal(loaded.queries(histories), model.queries(histories))
    np.testing.assert_array_equal(loaded.targets(), model.targets())
    picks = np.tile(np.arange(5), (12, 1))
    np.testing.assert_array_equal(loaded.explain(histories, picks), model.explain(histories, picks))
    assert isinstance(loaded.targets(), np.memmap)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_equal_rows_in_any_order_give_equal_bytes(name: str, tmp_path: Path):
    table = random_table(60, 40, 900)
    shuffled = table.take(np.random.default_rng(1).permutation(table.num_rows))
    fitted(name, table).save(tmp_path / "a")
    fitted(name, shuffled).save(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("personal", ["als", "ease"])
def test_the_number_of_threads_does_not_change_a_byte(personal: str, tmp_path: Path):
    """Large enough for BLAS to share out its work."""
    from threadpoolctl import threadpool_limits

    interactions = Interactions.from_table(random_table(700, 600, 30_000))
    family = FAMILIES[personal][0]
    queries = []
    for threads in (1, 2):
        params = {"factors": 64, "threads": threads} if personal == "als" else {}
        with threadpool_limits(limits=threads):
            model = family.fit(interactions, WORLD.as_of, **params)
            queries.append(model.queries(interactions.matrix()))
        model.save(tmp_path / str(threads))
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    np.testing.assert_array_equal(*queries)


def test_the_smallest_data_is_enough(name: str):
    one = pa.table({"user_id": ["u"], "item_id": ["i"], "date": [WORLD.as_of], "events": [2]})
    model = fitted(name, one)
    scores = model.queries(histories_to_csr(model.items, pa.array([["i"]]), pa.array([[2]])))
    assert np.isfinite(scores @ model.targets().T).all()


def test_an_unknown_parameter_is_refused(name: str):
    with pytest.raises(TypeError, match="factorz"):
        FAMILIES[name][0].fit(Interactions.from_table(WORLD.interactions), WORLD.as_of, factorz=3)


def test_histories_of_another_model_are_refused(name: str):
    model = fitted(name)
    with pytest.raises(ValueError, match="histories_to_csr"):
        model.queries(histories_to_csr(model.items[:5], *WORLD.histories()))


def test_recent_popularity_halves_with_every_half_life():
    table = pa.table(
        {
            "user_id": ["a", "b", "b"],
            "item_id": ["new", "old", "older"],
            "date": [date(2024, 3, 31), date(2024, 3, 17), date(2024, 3, 3)],
            "events": [1, 2, 8],
        }
    )
    model = fitted("recency_popularity_14d", table)
    assert model.targets()[:, 0].tolist() == [0.25, 0.25, 0.5]
    assert fitted("popularity", table).targets()[:, 0] == pytest.approx([1 / 11, 2 / 11, 8 / 11])


def test_ease_keeps_the_items_with_most_events():
    table = pa.table(
        {
            "user_id": ["a"] * 3,
            "item_id": ["x", "y", "z"],
            "date": [WORLD.as_of] * 3,
            "events": [5, 1, 2],
        }
    )
    model = EASE.fit(Interactions.from_table(table), WORLD.as_of, max_items=2)
    assert model.items.to_pylist() == ["x", "z"]

"""What ratings say: by hand, on a world where they tell more than what was taken, and none."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.candidate_generation import DECLARED, Bundle
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFacts
from batch_predictions.models.recommender.generators.ease import EASE
from batch_predictions.models.recommender.generators.ratings import LikedEASE, PredictedRating
from batch_predictions.models.recommender.training.trainer import Course

DAY = date(2024, 3, 31)


def rated(*rows: tuple[str, str, float | None]) -> Interactions:
    users, items, ratings = zip(*rows, strict=True)
    n = len(rows)
    return Interactions.from_table(
        pa.table(
            {
                "user_id": users,
                "item_id": items,
                "date": [DAY] * n,
                "events": [1] * n,
                "rating": pa.array(ratings, pa.float64()),
            }
        )
    )


def everyone(known: Interactions, items: pa.StringArray) -> Histories:
    return Histories.of(known, np.arange(len(known.user_ids)), items, DAY)


def camps(users: int = 40, seed: int = 3) -> Interactions:
    """Everybody takes half of twelve items, whichever; one camp likes the even, one the odd."""
    random = np.random.default_rng(seed)
    rows: list[tuple[str, str, float | None]] = []
    for user in range(users):
        for item in random.choice(12, 6, replace=False):
            likes = item % 2 == user % 2
            rows.append((f"u{user:02}", f"i{item:02}", (5.0 if likes else 1.0)))
    return rated(*rows)


def test_a_predicted_rating_is_the_formula():
    known = camps(12)
    priors = {"mean_prior": 2.0, "pair_prior": 3.0, "heard_prior": 0.5}
    model = PredictedRating.fit(known, DAY, **priors)
    shape = (len(known.user_ids), 12)
    table, there = np.zeros(shape), np.zeros(shape)
    assert known.ratings is not None
    table[known.users, known.items] = known.ratings
    there[known.users, known.items] = 1
    usual = table.sum() / there.sum()
    means = (table.sum(0) + 2 * usual) / (there.sum(0) + 2)
    off = (table - means) * there
    off -= there * (off.sum(1) / (there.sum(1) + 2))[:, None]
    like = (off.T @ off) / (there.T @ there + 3)
    lift = (off @ like) / (there @ np.abs(like) + 0.5)
    histories = everyone(known, model.items)
    np.testing.assert_allclose(model.scores(histories), means + lift, rtol=1e-4)
    alone = PredictedRating.fit(known, DAY, lift=True, name="rating_lift", **priors)
    np.testing.assert_allclose(alone.scores(histories), lift, rtol=1e-3, atol=1e-5)
    # The reason is the item whose rating raises it most.
    picks = np.tile([0, 3], (12, 1))
    parts = np.where(there[:, None, :] > 0, off[:, None, :] * like[[0, 3]][None], -np.inf)
    wanted = np.where(parts.max(-1) > 0, parts.argmax(-1), -1)
    assert (model.explain(histories, picks) == wanted).all()


def test_who_rates_like_a_camp_is_told_what_the_camp_likes():
    known = camps()
    model = PredictedRating.fit(known, DAY)
    newcomer = rated(("x", "i00", 5.0), ("x", "i01", 1.0), ("x", "i03", 1.0))
    scores = model.scores(everyone(newcomer, model.items))[0]
    assert scores[2::2].min() > scores[5::2].max() + 0.5
    # Rated as usual, or not at all: what everybody thinks of it, and no lift.
    nothing = rated(("x", "i00", None), ("y", "i01", 3.0))
    heard = everyone(nothing, model.items)
    np.testing.assert_allclose(model.scores(heard)[0], model.arrays["means"], rtol=1e-6)
    assert (PredictedRating.fit(known, DAY, lift=True).scores(heard)[0] == 0).all()


def test_liked_ease_is_ease_of_what_was_liked():
    known = camps()
    model = LikedEASE.fit(known, DAY, l2=1.0)
    assert known.ratings is not None
    liked = known.where(known.ratings > known.ratings.mean())
    ease = EASE.fit(liked, DAY, l2=1.0)
    np.testing.assert_array_equal(
        model.scores(everyone(known, model.items)), ease.scores(everyone(liked, ease.items))
    )
    because = model.explain(everyone(known, model.items), np.zeros((40, 1), dtype=np.int64))
    taken = np.zeros((40, 12), dtype=bool)
    taken[liked.users, liked.items] = True
    some = because[:, 0] >= 0
    assert some.any() and taken[np.flatnonzero(some), because[some, 0]].all()


@pytest.mark.parametrize("family", [PredictedRating, LikedEASE])
@pytest.mark.parametrize("ratings", [None, 4.0])
def test_without_ratings_or_with_equal_ones_nobody_is_told_apart(family: Any, ratings: float):
    known = rated(*((f"u{n}", f"i{m}", ratings) for n in range(4) for m in range(3)))
    model = family.fit(known, DAY)
    scores = model.scores(everyone(known, model.items))
    assert np.isfinite(scores).all() and np.ptp(scores, axis=0).max() < 1e-6


def test_ratings_say_how_good_candidates_are_and_bring_none():
    known = camps()
    names = ["recent", "predicted_rating", "rating_lift", "liked_ease"]
    assert not any(DECLARED[name].proposes for name in names[1:])
    found = []
    for chosen in (names[:1], names, names[1:]):
        bundle = Bundle.fit(known, DAY, chosen, exclude_seen=True, max_items=100)
        histories = everyone(known, bundle.items)
        facts = ItemFacts.of(known, DAY, bundle.items)
        found.append(bundle.pairs(histories, facts, 3, True, None))
    alone, both, no_other = found
    np.testing.assert_array_equal(alone.positions, both.positions)
    assert {*both.scores} == {*names}
    real = both.positions >= 0
    assert all(np.isfinite(each[real]).all() for each in both.scores.values())
    # Alone they propose all the same, or nobody would be served.
    assert (no_other.positions >= 0).any(axis=1).all()


def test_ratings_are_read_where_there_are_any_and_new_items_are_asked_for():
    known = camps()
    course = Course(exclude_seen=True)
    wanted = {"predicted_rating", "rating_lift", "liked_ease"}
    there = {each.declared.name for each in course.bundle(known, DAY).members}
    assert wanted <= there
    unrated = Interactions.from_table(
        pa.table(
            {
                "user_id": known.user_ids.take(pa.array(known.users)),
                "item_id": known.item_ids.take(pa.array(known.items)),
                "date": pa.array(known.dates.astype("datetime64[D]")),
                "events": known.events,
            }
        )
    )
    assert not wanted & {each.declared.name for each in course.bundle(unrated, DAY).members}
    assert not wanted & {*Course(exclude_seen=False).names(DAY)}

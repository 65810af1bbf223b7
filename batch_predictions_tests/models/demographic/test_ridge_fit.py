"""The regression's penalties: as likely as they are, and no more of demographics than there is."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.demographic.penalty import (
    PENALTIES,
    WITHIN,
    common_penalty,
    log_likelihoods,
    own_penalties,
)
from batch_predictions.models.demographic.ridge import RidgeAdjustment
from batch_predictions.models.demographic.ridge_fit import RidgeFit
from batch_predictions.models.demographic.segments import SegmentUsers
from batch_predictions.models.demographic.statistics import Candidate, SegmentStatistics, matrices
from batch_predictions.models.recommender.data.interactions import Interactions

AGES = ("under 19", "19-24", "25-34", "35-44", "45-54", "55-64")


def people(users: int, seed: int) -> tuple[SegmentUsers, np.ndarray]:
    """Leaves of six ages and three places, and the leaf of each user."""
    leaves = [(age, "f", place) for age in AGES for place in ("x", "y", "z")]
    leaf = np.random.default_rng(seed).integers(0, len(leaves), users)
    return SegmentUsers(leaves, np.bincount(leaf, minlength=len(leaves))), leaf


def fitted(y: np.ndarray, users: SegmentUsers, leaf: np.ndarray) -> tuple[RidgeFit, np.ndarray]:
    from scipy.sparse import csr_matrix

    sums = np.zeros((len(users.leaves), y.shape[1]))
    np.add.at(sums, leaf, y)
    items = pa.array([f"i{number}" for number in range(y.shape[1])])
    fit = RidgeFit(users, items, csr_matrix(sums), places=False)
    return fit, fit.inputs.matrix(users.leaves)[leaf]


def test_the_likelihood_is_that_of_the_normal_distribution() -> None:
    """Against the covariance matrix written out, with the mean taken off by an orthonormal basis
    of what is left (Harville 1974); each penalty at the best variance of the noise."""
    random = np.random.default_rng(3)
    x, y = random.normal(size=(40, 3)), random.normal(size=(40, 2))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    values, vectors = np.linalg.eigh(x.T @ x)
    found = log_likelihoods(values, vectors.T @ x.T @ y, (y**2).sum(axis=0), 40)
    off_mean = np.linalg.svd(np.ones((1, 40)))[2][1:]
    for row, penalty in zip(found, PENALTIES, strict=True):
        covariance = off_mean @ (np.eye(40) + x @ x.T / penalty) @ off_mean.T
        for column, likelihood in zip((off_mean @ y).T, row, strict=True):
            best = column @ np.linalg.solve(covariance, column)
            expected = -0.5 * (39 * np.log(best) + np.linalg.slogdet(covariance)[1])
            # Up to a constant of the response.
            expected += 0.5 * 39 * np.log(column @ column)
            assert likelihood == pytest.approx(expected)


def test_a_planted_ratio_of_variances_is_found() -> None:
    users, leaf = people(900, 1)
    random = np.random.default_rng(2)
    fit, x = fitted(np.zeros((900, 1)), users, leaf)
    for penalty in (20.0, 320.0):
        effects = random.normal(size=(x.shape[1], 60)) / np.sqrt(penalty)
        y = x @ effects + random.normal(size=(900, 60))
        fit, _ = fitted(y, users, leaf)
        tilt, _ = fit.learned(np.arange(60), y.T @ y)
        assert penalty / 2 <= tilt.penalty <= penalty * 2


def test_of_noise_nothing_is_left() -> None:
    users, leaf = people(900, 1)
    y = np.random.default_rng(5).normal(size=(900, 60)) + 1.0
    fit, _ = fitted(y, users, leaf)
    tilt, likelihood = fit.learned(np.arange(60), y.T @ y)
    assert tilt.penalty > 5_000 and likelihood < 5
    assert abs(tilt.effects).max() < abs(fit.tilt(30.0).effects).max() / 50


def test_a_taste_that_differs_by_age_is_drawn_to_nothing_less_than_one_that_does_not() -> None:
    """Thirty items go with a taste of the old, thirty with one of nobody in particular."""
    users, leaf = people(900, 1)
    random = np.random.default_rng(6)
    _, x = fitted(np.zeros((900, 1)), users, leaf)
    old, taste = x[:, 4] - x[:, 4].mean(), random.normal(size=(900, 2))
    of_old, of_any = (taste[:, 0] + 0.6 * old)[:, np.newaxis], taste[:, 1:]
    y = 5.0 + np.hstack([of_old * np.ones(30), of_any * np.ones(30)])
    y += random.normal(size=(900, 60))
    fit, _ = fitted(y, users, leaf)
    tilt, _ = fit.learned(np.arange(60), y.T @ y)
    plain = fit.tilt(tilt.penalty)
    size, plain_size = np.abs(tilt.effects[4]), np.abs(plain.effects[4])
    assert size[:30].mean() > 1.05 * plain_size[:30].mean()
    assert size[30:].mean() < 0.9 * plain_size[30:].mean()


def test_own_penalties_are_near_the_common_one() -> None:
    random = np.random.default_rng(0)
    likelihoods = random.normal(size=(len(PENALTIES), 500))
    common, highest = common_penalty(likelihoods)
    assert highest == likelihoods.sum(axis=1).max()
    assert common == PENALTIES[likelihoods.sum(axis=1).argmax()]
    own = own_penalties(likelihoods, common)
    assert own.min() == common / WITHIN and own.max() == common * WITHIN
    # Nothing tells penalties apart: the largest.
    assert common_penalty(np.zeros((len(PENALTIES), 3)))[0] == max(PENALTIES)


def test_where_no_response_varies_nothing_breaks() -> None:
    users, leaf = people(100, 1)
    y = np.full((100, 4), np.log(2.0))
    fit, _ = fitted(y, users, leaf)
    tilt, likelihood = fit.learned(np.arange(4), y.T @ y)
    assert tilt.penalty == max(PENALTIES) and np.isfinite(likelihood)
    assert abs(tilt.effects).max() < 1e-3


def regression(place_matters: bool = False, age_matters: bool = True) -> RidgeAdjustment:
    """Learned from 600 users of three shops who take some of 40 items, ten of them by age or not,
    fifteen by shop or not."""
    from datetime import date

    users, leaf = people(600, 4)
    random = np.random.default_rng(8)
    chance = np.full((600, 40), 0.3)
    if age_matters:
        chance[:, :10] += 0.2 * (leaf // 3 >= 3)[:, np.newaxis]
    if place_matters:
        chance[:, 10:25] += 0.3 * (leaf % 3 == 1)[:, np.newaxis]
    who, what = np.nonzero(random.random((600, 40)) < chance)
    known = Interactions.from_table(
        pa.table(
            {
                "user_id": [f"u{number:03}" for number in who],
                "item_id": [f"i{number:02}" for number in what],
                "date": pa.array([date(2024, 1, 1)] * len(who)),
                "events": np.ones(len(who)),
            }
        )
    )
    everything = np.ones(len(known), dtype=bool)
    popular, ever = matrices(known, everything, known.events)
    everybody = np.ones(len(known.user_ids), dtype=bool)
    own = leaf[[int(name[1:]) for name in known.user_ids.to_pylist()]]
    tilt = SegmentStatistics(known, users.leaves, own, popular, ever, everybody).tilt(
        Candidate("ridge")
    )
    assert isinstance(tilt, RidgeAdjustment)
    return tilt


def test_places_are_inputs_only_where_they_matter() -> None:
    assert regression(place_matters=True).places
    assert not regression(place_matters=False).places


def test_where_demographics_say_nothing_the_penalty_is_infinite() -> None:
    assert regression().matters
    tilt = regression(age_matters=False)
    assert not tilt.matters and not tilt.places
    assert not tilt.effects.any()


def test_places_of_little_variance_have_a_penalty_of_their_own() -> None:
    from scipy.sparse import csr_matrix

    users, leaf = people(600, 4)
    y = np.random.default_rng(9).normal(size=(600, 5)) + 2.0
    sums = np.zeros((len(users.leaves), 5))
    np.add.at(sums, leaf, y)
    items = pa.array(list("abcde"))
    x = RidgeFit(users, items, csr_matrix(sums), places=True).inputs.matrix(users.leaves)[leaf]
    penalties = np.full(x.shape[1], 30.0)
    penalties[-3:] /= 0.1
    centred = x - x.mean(axis=0)
    effects = np.linalg.solve(centred.T @ centred + np.diag(penalties), centred.T @ y)
    found = RidgeFit(users, items, csr_matrix(sums), places=True, place_variance=0.1).tilt(30.0)
    level = y.mean(axis=0) + 5 * np.log(2.0) / 600
    assert found.effects == pytest.approx(effects / level, rel=1e-4, abs=1e-7)

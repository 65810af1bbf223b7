"""The fit of the regression: penalties by likelihood, and inputs only where they have effects."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.demographic.demographic_segments import SegmentUsers
from batch_predictions.models.demographic.demographic_statistics import (
    SegmentStatistics,
    event_matrices,
)
from batch_predictions.models.demographic.ridge import RidgeAdjustment
from batch_predictions.models.demographic.ridge_fit import (
    MAX_RATIO_TO_COMMON,
    PENALTIES,
    RidgeFit,
    common_penalty,
    log_likelihoods,
    penalty_per_response,
)
from batch_predictions.models.recommender.data.interactions import Interactions

AGES = ("under 19", "19-24", "25-34", "35-44", "45-54", "55-64")


def make_users(users: int, seed: int) -> tuple[SegmentUsers, np.ndarray]:
    """Leaves of six ages and three locations, and the leaf of each user."""
    leaves = [(age, "f", location) for age in AGES for location in ("x", "y", "z")]
    leaf = np.random.default_rng(seed).integers(0, len(leaves), users)
    return SegmentUsers(leaves, np.bincount(leaf, minlength=len(leaves))), leaf


def make_fit(y: np.ndarray, users: SegmentUsers, leaf: np.ndarray) -> tuple[RidgeFit, np.ndarray]:
    from scipy.sparse import csr_matrix

    sums = np.zeros((len(users.leaves), y.shape[1]))
    np.add.at(sums, leaf, y)
    items = pa.array([f"i{number}" for number in range(y.shape[1])])
    fit = RidgeFit(users, items, csr_matrix(sums), uses_location=False)
    return fit, fit.inputs.matrix(users.leaves)[leaf]


def test_the_likelihood_is_that_of_the_normal_distribution() -> None:
    """Compares with the full covariance matrix, at the noise variance of highest likelihood.

    The mean is removed by an orthonormal basis of its complement (Harville 1974).
    """
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 2))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    values, vectors = np.linalg.eigh(x.T @ x)
    likelihoods = log_likelihoods(values, vectors.T @ x.T @ y, (y**2).sum(axis=0), 40)
    contrasts = np.linalg.svd(np.ones((1, 40)))[2][1:]
    for row, penalty in zip(likelihoods, PENALTIES, strict=True):
        covariance = contrasts @ (np.eye(40) + x @ x.T / penalty) @ contrasts.T
        for column, likelihood in zip((contrasts @ y).T, row, strict=True):
            best = column @ np.linalg.solve(covariance, column)
            expected = -0.5 * (39 * np.log(best) + np.linalg.slogdet(covariance)[1])
            # Up to a constant of the response.
            expected += 0.5 * 39 * np.log(column @ column)
            assert likelihood == pytest.approx(expected)


def test_a_planted_ratio_of_variances_is_found() -> None:
    users, leaf = make_users(900, 1)
    rng = np.random.default_rng(2)
    fit, x = make_fit(np.zeros((900, 1)), users, leaf)
    for penalty in (20.0, 320.0):
        effects = rng.normal(size=(x.shape[1], 60)) / np.sqrt(penalty)
        y = x @ effects + rng.normal(size=(900, 60))
        fit, _ = make_fit(y, users, leaf)
        adjustment, _ = fit.solve_by_likelihood(np.arange(60), y.T @ y)
        assert penalty / 2 <= adjustment.penalty <= penalty * 2


def test_noise_gives_a_high_penalty() -> None:
    users, leaf = make_users(900, 1)
    y = np.random.default_rng(5).normal(size=(900, 60)) + 1.0
    fit, _ = make_fit(y, users, leaf)
    adjustment, likelihood = fit.solve_by_likelihood(np.arange(60), y.T @ y)
    assert adjustment.penalty > 5_000 and likelihood < 5
    assert abs(adjustment.effects).max() < abs(fit.solve(30.0).effects).max() / 50


def test_a_direction_with_an_effect_is_shrunk_less_than_one_without() -> None:
    """Thirty items share a taste of older users, thirty a taste unrelated to age."""
    users, leaf = make_users(900, 1)
    rng = np.random.default_rng(6)
    _, x = make_fit(np.zeros((900, 1)), users, leaf)
    is_old, taste = x[:, 4] - x[:, 4].mean(), rng.normal(size=(900, 2))
    age_taste, other_taste = (taste[:, 0] + 0.6 * is_old)[:, np.newaxis], taste[:, 1:]
    y = 5.0 + np.hstack([age_taste * np.ones(30), other_taste * np.ones(30)])
    y += rng.normal(size=(900, 60))
    fit, _ = make_fit(y, users, leaf)
    adjustment, _ = fit.solve_by_likelihood(np.arange(60), y.T @ y)
    common = fit.solve(adjustment.penalty)
    size, common_size = np.abs(adjustment.effects[4]), np.abs(common.effects[4])
    assert size[:30].mean() > 1.05 * common_size[:30].mean()
    assert size[30:].mean() < 0.9 * common_size[30:].mean()


def test_penalty_per_response_are_near_the_common_one() -> None:
    rng = np.random.default_rng(0)
    likelihoods = rng.normal(size=(len(PENALTIES), 500))
    common, highest = common_penalty(likelihoods)
    assert highest == likelihoods.sum(axis=1).max()
    assert common == PENALTIES[likelihoods.sum(axis=1).argmax()]
    penalties = penalty_per_response(likelihoods, common)
    assert (
        penalties.min() == common / MAX_RATIO_TO_COMMON
        and penalties.max() == common * MAX_RATIO_TO_COMMON
    )
    # Of equally likely penalties the largest is taken.
    assert common_penalty(np.zeros((len(PENALTIES), 3)))[0] == max(PENALTIES)


def test_responses_without_variance_are_fine() -> None:
    users, leaf = make_users(100, 1)
    y = np.full((100, 4), np.log(2.0))
    fit, _ = make_fit(y, users, leaf)
    adjustment, likelihood = fit.solve_by_likelihood(np.arange(4), y.T @ y)
    assert adjustment.penalty == max(PENALTIES) and np.isfinite(likelihood)
    assert abs(adjustment.effects).max() < 1e-3


def fit_regression(location_effect: bool = False, age_effect: bool = True) -> RidgeAdjustment:
    """Fits a model of 600 users of three locations and 40 items.

    Ten items depend on age where `age_effect`, fifteen on the location where `location_effect`.
    """
    from datetime import date

    users, leaf = make_users(600, 4)
    rng = np.random.default_rng(8)
    probability = np.full((600, 40), 0.3)
    if age_effect:
        probability[:, :10] += 0.2 * (leaf // 3 >= 3)[:, np.newaxis]
    if location_effect:
        probability[:, 10:25] += 0.3 * (leaf % 3 == 1)[:, np.newaxis]
    user_rows, item_rows = np.nonzero(rng.random((600, 40)) < probability)
    interactions = Interactions.from_table(
        pa.table(
            {
                "user_id": [f"u{number:03}" for number in user_rows],
                "item_id": [f"i{number:02}" for number in item_rows],
                "date": pa.array([date(2024, 1, 1)] * len(user_rows)),
                "events": np.ones(len(user_rows)),
            }
        )
    )
    all_rows = np.ones(len(interactions), dtype=bool)
    weights, log_events = event_matrices(interactions, all_rows, interactions.events)
    all_users = np.ones(len(interactions.user_ids), dtype=bool)
    leaf_of_user = leaf[[int(name[1:]) for name in interactions.user_ids.to_pylist()]]
    return SegmentStatistics(
        interactions, users.leaves, leaf_of_user, weights, log_events, all_users
    ).fit_ridge()


def test_locations_are_inputs_only_where_they_have_an_effect() -> None:
    assert fit_regression(location_effect=True).uses_location
    assert not fit_regression(location_effect=False).uses_location


def test_without_any_effect_the_penalty_is_infinite() -> None:
    assert fit_regression().has_effect
    adjustment = fit_regression(age_effect=False)
    assert not adjustment.has_effect and not adjustment.uses_location
    assert not adjustment.effects.any()


def test_a_low_location_variance_is_a_higher_penalty_of_locations() -> None:
    from scipy.sparse import csr_matrix

    users, leaf = make_users(600, 4)
    y = np.random.default_rng(9).normal(size=(600, 5)) + 2.0
    sums = np.zeros((len(users.leaves), 5))
    np.add.at(sums, leaf, y)
    items = pa.array(list("abcde"))
    x = RidgeFit(users, items, csr_matrix(sums), uses_location=True).inputs.matrix(users.leaves)[
        leaf
    ]
    penalties = np.full(x.shape[1], 30.0)
    penalties[-3:] /= 0.1
    centred = x - x.mean(axis=0)
    effects = np.linalg.solve(centred.T @ centred + np.diag(penalties), centred.T @ y)
    adjustment = RidgeFit(
        users, items, csr_matrix(sums), uses_location=True, location_variance=0.1
    ).solve(30.0)
    level = y.mean(axis=0) + 5 * np.log(2.0) / 600
    assert adjustment.effects == pytest.approx(effects / level, rel=1e-4, abs=1e-7)

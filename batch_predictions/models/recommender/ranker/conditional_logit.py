"""A linear ranker: the conditional logit, whose few weights need only a few hundred users.

Every feature is standardised within the user's candidates. The weights maximise the likelihood of a
conditional (multinomial) logit (McFadden 1974), in which the items that were taken are chosen among
all candidates of the list, with a ridge penalty. With few users, gradient-boosted trees overfit and
this model does not.

Each weight varies with how long the user has been inactive: a user who was active yesterday
continues from there, one who returns after months takes what others have taken in the meantime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles, Floats
from batch_predictions.models.recommender.features.candidate_features import FeatureColumn
from batch_predictions.models.recommender.features.user_item import DAYS_INACTIVE

Sizes: TypeAlias = npt.NDArray[np.int64]

CLIP_SD = 6.0
"""Standardised features are clipped to +- this many standard deviations."""
RIDGE_PER_USER = 1.0
"""Ridge strength, in multiples of the users' information."""
REFERENCE_INACTIVE_DAYS = 10.0
"""Days inactive at which `weights` apply unchanged."""
MAX_RIDGE_USERS = 2500
"""Users from which the ridge grows no more."""
MAX_VALUES = 50_000_000
"""Values of the training lists at most, evenly spread ones: 400 MB."""
USERS_FOR_TREES = 1500
"""Users from which gradient-boosted trees rank as well as the linear model."""
MAX_ITERATIONS = 100


def linear_weight(users: int, new_items: bool) -> float:
    """Spread of the linear model's margins relative to the trees', by the number of training users.

    Few users give it up to twice the spread of the trees. Where lists may repeat items and there
    are enough users, it adds nothing and is left out. Figures: docs/figures/recommendations.md.
    """
    if not new_items and users >= USERS_FOR_TREES:
        return 0.0
    return min(2.0, (USERS_FOR_TREES / max(users, 1)) ** 2)


@dataclass(frozen=True)
class ConditionalLogit:
    """A weight for every column of a feature table.

    Attributes:
        weights: at `REFERENCE_INACTIVE_DAYS`; 0 for features that are equal for all candidates.
        inactivity_weights: change of each weight per unit of `_inactivity`.
        high_if_missing: whether nan counts as the list's highest value, else as its lowest.
        inactivity_column: the column of days inactive, -1 for none.
    """

    weights: tuple[float, ...]
    inactivity_weights: tuple[float, ...]
    high_if_missing: tuple[bool, ...]
    inactivity_column: int = -1

    def margins(self, features: Floats, sizes: Sizes) -> Doubles:
        """Sums of contributions, (rows,).

        Args:
            features: a row per candidate, list by list, (rows, f).
            sizes: rows of every list.
        """
        return np.asarray(self.contributions(features, sizes).sum(axis=1, dtype=np.float64))

    def contributions(self, features: Floats, sizes: Sizes) -> Floats:
        """Weight times standardised feature, (rows, f)."""
        # One column is written after the other.
        result = np.zeros(features.shape, dtype=np.float32, order="F")
        inactivity = _inactivity(features, self.inactivity_column)
        pairs = zip(self.weights, self.inactivity_weights, strict=True)
        is_used = [weight != 0 or change != 0 for weight, change in pairs]
        for column, values in _standardise(features, sizes, is_used, self.high_if_missing):
            weight = self.weights[column] + self.inactivity_weights[column] * inactivity
            result[:, column] = values * weight
        return result

    def scaled(self, factor: float) -> ConditionalLogit:
        """Returns the model with all margins multiplied by a factor."""
        return replace(
            self,
            weights=tuple(weight * factor for weight in self.weights),
            inactivity_weights=tuple(weight * factor for weight in self.inactivity_weights),
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ConditionalLogit:
        """Restores a model from the values of `asdict`, as JSON holds them."""
        parameters: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**parameters)

    @classmethod
    def fit(
        cls,
        features: Floats,
        labels: npt.NDArray[np.int8],
        sizes: Sizes,
        columns: Sequence[FeatureColumn],
        max_ridge_users: int = MAX_RIDGE_USERS,
    ) -> ConditionalLogit:
        """Maximises the penalised likelihood of the items taken.

        Lists without a taken candidate are left out.

        Args:
            features: a row per candidate, list by list, (rows, f).
            labels: 1 for candidates that were taken, (rows,).
            sizes: rows of every list.
            columns: of the features.
            max_ridge_users: lists from which the ridge grows no more.
        """
        features, labels, sizes = _sample_lists(features, labels, sizes)
        ridge = RIDGE_PER_USER * min(max(len(sizes), 1), max_ridge_users)
        # Features of the user are equal for all candidates and cannot order them.
        varies = [column.group != "user" for column in columns]
        high_if_missing = tuple(column.high_if_missing for column in columns)
        used = [index for index, is_used in enumerate(varies) if is_used]
        x = np.empty((len(features), len(used)))
        standardised = _standardise(features, sizes, varies, high_if_missing)
        for index, (_, values) in enumerate(standardised):
            x[:, index] = values
        names = [column.name for column in columns]
        inactivity_column = names.index(DAYS_INACTIVE) if DAYS_INACTIVE in names else -1
        inactivity = _inactivity(features, inactivity_column)
        result = np.zeros((2, len(columns)))
        result[:, used] = _maximise_likelihood(x, labels, sizes, inactivity, ridge)
        weights, changes = (tuple(row.tolist()) for row in result)
        return cls(weights, changes, high_if_missing, inactivity_column)


def _sample_lists(
    features: Floats, labels: npt.NDArray[np.int8], sizes: Sizes
) -> tuple[Floats, npt.NDArray[np.int8], Sizes]:
    """Evenly spread lists that hold a taken candidate, of `MAX_VALUES` at most."""
    list_of_row = np.repeat(np.arange(len(sizes)), sizes)
    lists = np.flatnonzero(np.bincount(list_of_row, labels, minlength=len(sizes)) > 0)
    values = int(sizes[lists].sum()) * features.shape[1]
    lists = lists[:: max(1, -(-values // MAX_VALUES))]
    is_sampled = np.zeros(len(sizes), dtype=bool)
    is_sampled[lists] = True
    rows = is_sampled[list_of_row]
    return features[rows], labels[rows], sizes[lists]


def _maximise_likelihood(
    x: Doubles, labels: npt.NDArray[np.int8], sizes: Sizes, inactivity: Doubles, ridge: float
) -> Doubles:
    """Weights and their changes with inactivity, (2, f), by L-BFGS.

    Args:
        x: standardised features, list by list, (rows, f).
        labels: 1 for candidates that were taken, (rows,).
        sizes: rows of every list.
        inactivity: of each row's user, (rows,).
        ridge: its strength.
    """
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    starts = np.cumsum(sizes) - sizes
    list_of_row = np.repeat(np.arange(len(sizes)), sizes)
    taken_per_list = np.bincount(list_of_row, labels, minlength=len(sizes))
    target = labels / taken_per_list[list_of_row]
    lists = max(len(sizes), 1)

    def loss(parameters: Doubles) -> tuple[float, Doubles]:
        linear = x @ parameters.reshape(2, -1).T
        margins = linear[:, 0] + inactivity * linear[:, 1]
        margins -= np.maximum.reduceat(margins, starts)[list_of_row]
        odds = np.exp(margins)
        sums = np.add.reduceat(odds, starts)
        penalty = ridge / 2 * (parameters @ parameters)
        value = np.log(sums).sum() - target @ margins + penalty
        error = odds / sums[list_of_row] - target
        gradient = (x.T @ np.stack([error, inactivity * error], axis=1)).T.ravel()
        gradient = gradient + ridge * parameters
        return float(value) / lists, gradient / lists

    # One thread, so that the result does not depend on the number of cores.
    with threadpool_limits(limits=1, user_api="blas"):
        optimum = minimize(
            loss,
            np.zeros(2 * x.shape[1]),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MAX_ITERATIONS},
        )
    return np.asarray(optimum.x.reshape(2, -1))


def _inactivity(features: Floats, column: int) -> Doubles:
    """Time since each row's user was last active, on a log scale, -2 to 2, (rows,).

    0 at `REFERENCE_INACTIVE_DAYS` or where it is unknown, 1 at 48 days.
    """
    if column < 0:
        return np.zeros(len(features))
    days = np.maximum(features[:, column].astype(np.float64), 0)
    logs = np.log1p(days) - np.log1p(REFERENCE_INACTIVE_DAYS)
    return np.clip(np.where(np.isfinite(logs), logs / 1.5, 0.0), -2, 2)


def _standardise(
    features: Floats, sizes: Sizes, is_used: Sequence[bool], high_if_missing: Sequence[bool]
) -> Iterator[tuple[int, Doubles]]:
    """The used columns, standardised within each list, whatever the other lists.

    Missing values become the list's lowest value, or its highest where `high_if_missing` says so.
    """
    from batch_predictions.models.recommender.kernels.candidate_kernels import standardise_lists

    stops = np.cumsum(sizes)
    for column, column_is_used in enumerate(is_used):
        if not column_is_used or not len(features):
            continue
        values = np.empty(len(features))
        standardise_lists(features[:, column], stops, high_if_missing[column], CLIP_SD, values)
        yield column, values

"""A straight line that ranks: few weights, which a few hundred users are enough for.

Every feature is taken relative to the user's other candidates, in their standard deviations, and
the weights are those of a multinomial logit (McFadden 1974): the candidates that were taken are
chosen among all of the list, with a ridge. Where users are few, trees learn them by heart.

Each weight turns with how long the user has been away: who was here yesterday goes on from there,
who comes back after months takes what all the others have taken meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from batch_predictions.models.recommender.base import Floats
from batch_predictions.models.recommender.data.interactions import Doubles
from batch_predictions.models.recommender.features.candidates import Group

Sizes: TypeAlias = npt.NDArray[np.int64]

FARTHEST = 6.0
"""Standard deviations beyond which a feature says no more."""
RIDGE = 1.0
"""As much as so many times as many users who say nothing. MovieLens by time, nine earlier cuts,
NDCG@10 of the line alone: .7 .2215, 1.0 .2218, 1.5 .2229, the last losing where users are few."""
AWAY, INACTIVE = 10.0, "user_inactive"
"""Days away for which `weights` stand as they are, and the feature that says how many."""
USERS = 2000
"""Lists that are learned from, evenly spread: more do not move so few weights."""
ENOUGH = 1500
"""Users from whom trees learn as much."""
ROUNDS = 100
LARGE = ("_rank", "_age", "_missed", "_gap", "_overdue")
"""Ends of the names of features that are large where there is nothing; others are small."""


def loudness(users: int, new_items: bool) -> float:
    """How far the line's margins should spread against the trees', by the users learned from.

    MovieLens by time, 600 to 1,200 users, six earlier cuts: 1.5 to 2 are best (NDCG@10 .218, the
    trees .187, the line .209); the tenths before the newest, 2,800: a quarter (.2157; .2150 and
    .2115). Where people take the same again, and there are enough, it costs time and brings nothing
    (Complete Journey, cut 2017-11-24: .3030; .3028 and .2953).
    """
    if not new_items and users >= ENOUGH:
        return 0.0
    return min(2.0, (ENOUGH / max(users, 1)) ** 2)


@dataclass(frozen=True)
class Straight:
    """A weight for every feature of `table`, 0 for those that are alike for all candidates.

    `away` are the weights' changes per unit of `_away`, which the feature at `inactive` tells (-1:
    none does); `large` says which features are large where there is nothing.
    """

    weights: tuple[float, ...]
    away: tuple[float, ...]
    large: tuple[bool, ...]
    inactive: int = -1

    def margins(self, features: Floats, sizes: Sizes) -> Doubles:
        """Sums of parts, (rows,); `sizes` are the rows of every user."""
        return np.asarray(self.parts(features, sizes).sum(axis=1, dtype=np.float64))

    def parts(self, features: Floats, sizes: Sizes) -> Floats:
        """Each feature's part in the margins, (rows, f): weight times relative feature."""
        found = np.zeros(features.shape, dtype=np.float32)
        away = _away(features, self.inactive)
        used = [one != 0 or two != 0 for one, two in zip(self.weights, self.away, strict=True)]
        for place, values in _relative(features, sizes, used, self.large):
            found[:, place] = values * (self.weights[place] + self.away[place] * away)
        return found

    def times(self, factor: float) -> Straight:
        """With all margins times a factor."""
        return Straight(
            tuple(each * factor for each in self.weights),
            tuple(each * factor for each in self.away),
            self.large,
            self.inactive,
        )

    @classmethod
    def taught(
        cls,
        features: Floats,
        labels: npt.NDArray[np.int8],
        sizes: Sizes,
        names: Sequence[tuple[str, Group]],
    ) -> Straight:
        """The weights that make what was taken likeliest; lists without a right candidate are
        left out."""
        from scipy.optimize import minimize
        from threadpoolctl import threadpool_limits

        owners = np.repeat(np.arange(len(sizes)), sizes)
        right = np.bincount(owners, labels, minlength=len(sizes))
        lists = np.flatnonzero(right > 0)
        lists = lists[:: max(1, -(-len(lists) // USERS))]
        chosen = np.zeros(len(sizes), dtype=bool)
        chosen[lists] = True
        rows = chosen[owners]
        features, labels, sizes = features[rows], labels[rows], sizes[lists]
        # A list's own traits do not order it.
        varying = [group != "user" for _, group in names]
        large = tuple(name.endswith(LARGE) for name, _ in names)
        columns = [place for place, each in enumerate(varying) if each]
        x = np.empty((len(features), len(columns)))
        for column, (_, values) in enumerate(_relative(features, sizes, varying, large)):
            x[:, column] = values
        starts = np.cumsum(sizes) - sizes
        owners = np.repeat(np.arange(len(sizes)), sizes)
        wanted = labels / right[lists][owners]
        users = max(len(sizes), 1)
        inactive = next((n for n, (name, _) in enumerate(names) if name == INACTIVE), -1)
        away = _away(features, inactive)
        ridge = RIDGE * users

        def loss(both: Doubles) -> tuple[float, Doubles]:
            turned = x @ both.reshape(2, -1).T
            margins = turned[:, 0] + away * turned[:, 1]
            margins -= np.maximum.reduceat(margins, starts)[owners]
            odds = np.exp(margins)
            sums = np.add.reduceat(odds, starts)
            value = np.log(sums).sum() - wanted @ margins + ridge / 2 * (both @ both)
            error = odds / sums[owners] - wanted
            slope = (x.T @ np.stack([error, away * error], axis=1)).T.ravel() + ridge * both
            return float(value) / users, slope / users

        found = np.zeros((2, len(names)))
        # One thread: the result then does not depend on the number of cores.
        with threadpool_limits(limits=1, user_api="blas"):
            best = minimize(
                loss,
                np.zeros(2 * len(columns)),
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": ROUNDS},
            )
        found[:, columns] = best.x.reshape(2, -1)
        weights, turns = (tuple(each.tolist()) for each in found)
        return cls(weights, turns, large, inactive)


def _away(features: Floats, inactive: int) -> Doubles:
    """How long each row's user has been away, -2 to 2: 0 after `AWAY` days or where nobody knows,
    1 after 48 days."""
    if inactive < 0:
        return np.zeros(len(features))
    days = np.log1p(np.maximum(features[:, inactive].astype(np.float64), 0)) - np.log1p(AWAY)
    return np.clip(np.where(np.isfinite(days), days / 1.5, 0.0), -2, 2)


def _relative(
    features: Floats, sizes: Sizes, used: Sequence[bool], large: Sequence[bool]
) -> Iterator[tuple[int, Doubles]]:
    """The columns that are used, relative to their list: each list by itself, whatever stands
    around it. What is unknown is the list's lowest, or highest where it is `large` then."""
    lists = sizes[sizes > 0]
    starts = np.cumsum(lists) - lists
    owners = np.repeat(np.arange(len(lists)), lists)
    for place, wanted in enumerate(used):
        if not wanted or not len(features):
            continue
        values = features[:, place].astype(np.float64)
        known = np.isfinite(values)
        sign = -1.0 if large[place] else 1.0
        end = sign * np.minimum.reduceat(np.where(known, sign * values, np.inf), starts)
        values = np.where(known, values, np.where(np.isfinite(end), end, 0.0)[owners])
        values -= (np.bincount(owners, values) / lists)[owners]
        spread = np.sqrt(np.bincount(owners, values * values) / lists)
        values /= np.maximum(spread, 1e-6)[owners]
        yield place, np.clip(values, -FARTHEST, FARTHEST)

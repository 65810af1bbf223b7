"""Pairs (user, candidate), and what a feature of them is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from batch_predictions.models.recommender.base import Floats, Positions
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.item_features import ItemFacts

Group: TypeAlias = Literal["own", "similar", "segment", "trend", "promotion", "user"]
Values: TypeAlias = npt.NDArray[Any]


AGES = 2**20
"""More days than any history has."""


@dataclass(frozen=True)
class Pairs:
    """Users and their candidates: `positions` (n, m), -1 where a user has fewer.

    `scores[generator]` is (n, m), nan where the generator has nothing to say; `reasons` is the
    group of each generator.
    """

    histories: Histories
    facts: ItemFacts
    positions: Positions
    scores: Mapping[str, Floats]
    reasons: Mapping[str, Group]

    @cached_property
    def at(self) -> Positions:
        """Positions with 0 for -1: what comes of these is not looked at."""
        return np.maximum(self.positions, 0)

    @cached_property
    def entry(self) -> Positions:
        """The entry of the user's history that is the candidate, -1 where it is new."""
        return self.histories.entry_of(self.positions)

    def of_entry(self, values: Values, new: float = np.nan) -> Values:
        """A value per entry for the candidates that are in the history; `new` for the others."""
        if not len(values):
            return np.full(self.positions.shape, new)
        return np.where(self.entry >= 0, values[np.maximum(self.entry, 0)], new)

    def of_item(self, values: Values) -> Values:
        """A value per item for the candidates."""
        return np.asarray(values[self.at])

    def of_user(self, values: Values) -> Values:
        """A value per user for all its candidates."""
        return np.broadcast_to(values[:, np.newaxis], self.positions.shape)

    @cached_property
    def came(self) -> tuple[Values, Values]:
        """Distinct (user, age) as sorted keys, and the first key of each user, (n + 1,)."""
        h = self.histories
        keys = np.unique(h.owners.astype(np.int64) * AGES + h.ages)
        return keys, np.searchsorted(keys, np.arange(h.users + 1) * AGES)

    @cached_property
    def inactive(self) -> Values:
        """Days since each user's newest row, (n,)."""
        return self.histories.per_user(self.histories.ages, np.minimum, np.nan)

    @cached_property
    def since(self) -> Values:
        """Days since each user's first row, (n,)."""
        return self.histories.per_user(self.histories.ages, np.maximum, np.nan)


@dataclass(frozen=True)
class Feature:
    """A feature: its name, group and values.

    The values are a function from `Pairs` to an array (n, m); the group says what a user is told
    where it moves a score.
    """

    name: str
    group: Group
    of: Callable[[Pairs], Values]

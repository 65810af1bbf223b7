"""Batches of (user, candidate) pairs, and declarations of a ranker's features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Floats, Positions
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.item_features import ItemFeatures

FeatureGroup: TypeAlias = Literal["own", "similar", "segment", "trend", "promotion", "user"]
"""The reason given to a user where features of the group raised an item's score; `user` features do
not distinguish candidates and are never a reason."""
Values: TypeAlias = npt.NDArray[Any]
Result = TypeVar("Result")


@dataclass(frozen=True)
class CandidateBatch:
    """Users and their candidates: `rows` pairs of both, user by user, have features.

    Attributes:
        histories: of n users.
        item_features: of all items.
        positions: candidates of each user, -1 where a user has fewer, (n, m).
        scores: by generator, (n, m), nan where it has no score.
        groups: by generator, the group of its features.
    """

    histories: Histories
    item_features: ItemFeatures
    positions: Positions
    scores: Mapping[str, Floats]
    groups: Mapping[str, FeatureGroup]
    _memo: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def memoize(self, name: str, compute: Callable[[], Result]) -> Result:
        """Computes a value that several features of the batch share, once, and keeps it by name."""
        if name not in self._memo:
            self._memo[name] = compute()
        result: Result = self._memo[name]
        return result

    @cached_property
    def is_candidate(self) -> npt.NDArray[np.bool_]:
        """Whether each place of the users' lists holds a candidate, (n, m)."""
        return self.positions >= 0

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Number of candidates of each user, (n,)."""
        return self.is_candidate.sum(axis=1)

    @cached_property
    def indptr(self) -> npt.NDArray[np.int64]:
        """First row of each user, (n + 1,)."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    @cached_property
    def _places(self) -> npt.NDArray[np.int64]:
        """Place of each row among all of `positions`, flat, (rows,)."""
        return np.flatnonzero(self.is_candidate)

    def to_rows(self, values: Values) -> Values:
        """Values (n, m) of the rows alone, (rows,)."""
        return values.ravel()[self._places]

    @cached_property
    def items(self) -> Positions:
        """Position of each row's item, (rows,)."""
        return self.to_rows(self.positions)

    @cached_property
    def history_entry(self) -> Positions:
        """The history entry of each row, -1 where the item is new to the user, (rows,)."""
        return self.histories.find_entries_of_rows(self.indptr, self.items)

    def from_entries(self, values: Values, new: float = np.nan) -> Floats:
        """Takes a value per history entry for each row; `new` where there is no entry, (rows,)."""
        # A further value at the end, which the entry -1 takes. numpy is twice as fast where it need
        # not look for wrong indices first.
        values = np.append(values, new).astype(np.float32)
        return values.take(self.history_entry, mode="wrap")

    def from_items(self, values: Values) -> Floats:
        """Takes a value per item for each row, (rows,)."""
        return np.asarray(values.take(self.items, mode="wrap"), dtype=np.float32)

    def from_users(self, values: Values) -> Floats:
        """Repeats a value per user for all its rows, (rows,)."""
        return np.repeat(values.astype(np.float32), self.sizes)

    @cached_property
    def days_inactive(self) -> Values:
        """Days since each user's newest row, nan without rows, (n,)."""
        return self.histories.reduce_per_user(self.histories.ages, np.minimum, np.nan)

    @cached_property
    def tenure_days(self) -> Values:
        """Days since each user's first row, nan without rows, (n,)."""
        return self.histories.reduce_per_user(self.histories.ages, np.maximum, np.nan)


@dataclass(frozen=True)
class Feature:
    """Declares a feature of the ranker: a number for each (user, candidate) pair.

    Attributes:
        name: unique among all features.
        group: the reason given where it raised a score.
        compute: its values for a batch, (rows,).
        high_if_missing: whether nan means a high value (an age, a rank) to the linear model.
        applies: whether models that are trained on a batch use it.
    """

    name: str
    group: FeatureGroup
    compute: Callable[[CandidateBatch], Values]
    high_if_missing: bool = False
    applies: Callable[[CandidateBatch], bool] = lambda batch: True


def has_other_types(batch: CandidateBatch) -> bool:
    """Returns whether histories have events that are no target, such as views."""
    return batch.histories.targets is not None


@dataclass(frozen=True)
class FeatureSet:
    """Features of one kind, declared together.

    Attributes:
        features: the features of a batch; which there are may depend on the items' metadata.
        order: place among the feature sets: columns come in this order.
    """

    features: Callable[[CandidateBatch], Sequence[Feature]]
    order: int = 1000


@dataclass(frozen=True)
class FeatureColumn:
    """A column of a feature table, as a stored model names it."""

    name: str
    group: FeatureGroup
    high_if_missing: bool = False

"""A ridge regression of what users take on their demographics.

The events of user u with item i, y = log(1 + events), are regressed on the user's demographics x
(`DemographicDesign`),

    y_ui = mean_i + (x_u - mean_x) w_i,    W = (X'X + penalty I)^-1 X'Y

(Hoerl and Kennard 1970, Technometrics 12). All users together estimate the effect of an age,
whatever their gender and location, so that segments of a few users borrow from all others.
`ridge_fit` fits it.

An item's ratio in a segment, what is expected there over the mean,

    1 + (x_segment - mean_x) w_i / (mean_i + damping),

multiplies the item's popularity of the day. An infinite penalty gives 1: the list of all users.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.demographic.demographic_segments import (
    EVERYONE,
    UNKNOWN,
    Leaf,
    Segment,
    SegmentCounts,
    SegmentShares,
    SegmentUsers,
)
from batch_predictions.sources.validation.ages import AGE_BRACKETS

MIN_USERS = 10
"""A location or gender with fewer users has no input."""
MAX_GENDERS, MAX_LOCATIONS = 5, 200


@dataclass(frozen=True)
class DemographicDesign:
    """Inputs: age thresholds, age unknown, genders, thresholds by gender, locations.

    Age is ordered, so its inputs are thresholds ("25 or older", "35 or older", ...): under a ridge
    penalty neighbouring brackets differ little, like a random walk over ages.

    Attributes:
        ages: known brackets, youngest first.
        mean_thresholds: mean of each threshold over users of known age, the inputs of an unknown
            age.
        genders: those with enough users.
        locations: those with enough users; empty where locations are not inputs.
    """

    ages: tuple[str, ...]
    mean_thresholds: tuple[float, ...]
    genders: tuple[str, ...]
    locations: tuple[str, ...]

    @classmethod
    def from_users(cls, users: SegmentUsers, *, uses_location: bool) -> DemographicDesign:
        """Chooses the inputs of a regression on some users' demographics."""
        sizes: tuple[dict[str, int], ...] = ({}, {}, {})
        for leaf, number in zip(users.leaves, users.sizes.tolist(), strict=True):
            for users_of, value in zip(sizes, leaf, strict=True):
                users_of[value] = users_of.get(value, 0) + number
        ages = tuple(sorted((age for age in sizes[0] if age != UNKNOWN), key=_age_order))
        users_of_known_age = max(sum(sizes[0][age] for age in ages), 1)
        mean_thresholds = tuple(
            sum(sizes[0][age] for age in ages[start:]) / users_of_known_age
            for start in range(1, len(ages))
        )
        return cls(
            ages,
            mean_thresholds,
            _most_frequent(sizes[1], MAX_GENDERS),
            _most_frequent(sizes[2], MAX_LOCATIONS) if uses_location else (),
        )

    def __len__(self) -> int:
        thresholds = len(self.mean_thresholds)
        return thresholds + 1 + len(self.genders) * (1 + thresholds) + len(self.locations)

    def matrix(self, leaves: Sequence[Leaf]) -> Doubles:
        """One row per leaf, (len(leaves), len(self)), values 0 to 1."""
        rows = np.zeros((len(leaves), len(self)))
        thresholds = len(self.mean_thresholds)
        for row, (age, gender, location) in zip(rows, leaves, strict=True):
            if age in self.ages:
                row[: self.ages.index(age)] = 1.0
            else:
                row[:thresholds], row[thresholds] = self.mean_thresholds, 1.0
            if gender in self.genders:
                index = self.genders.index(gender)
                row[thresholds + 1 + index] = 1.0
                first = thresholds + 1 + len(self.genders) + index * thresholds
                row[first : first + thresholds] = row[:thresholds]
            if location in self.locations:
                row[len(self) - len(self.locations) + self.locations.index(location)] = 1.0
        return rows


def _age_order(age: str) -> tuple[int, str]:
    return (AGE_BRACKETS.index(age) if age in AGE_BRACKETS else len(AGE_BRACKETS), age)


def _most_frequent(sizes: dict[str, int], limit: int) -> tuple[str, ...]:
    """The values with enough users, the `limit` most frequent, in alphabetical order."""
    frequent = sorted((-number, value) for value, number in sizes.items() if number >= MIN_USERS)
    return tuple(sorted(value for _, value in frequent[:limit]))


MIN_RATIO = 0.05
"""No ratio is lower: a linear model would go below zero."""
DAMPING_USERS = 5
"""Users with one event that are added to an item's mean, which limits ratios of rare items."""
MANIFEST, EFFECTS, ITEMS = "ridge.json", "effects.npy", "items.json"


@dataclass(frozen=True)
class RidgeAdjustment:
    """A fitted ridge regression of what users take on their demographics.

    Attributes:
        penalty: the common one, in users; infinite where demographics have no effect.
        inputs: the design.
        means: of the inputs over the training users, (len(inputs),).
        items: ids, (m,).
        effects: per unit of input, relative to the item's mean, (len(inputs), m).
    """

    kind: ClassVar[str] = "ridge"

    penalty: float
    inputs: DemographicDesign
    means: Doubles
    items: pa.StringArray
    effects: npt.NDArray[np.float32]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, RidgeAdjustment)
            and (self.penalty, self.inputs) == (other.penalty, other.inputs)
            and self.items.equals(other.items)
            and np.array_equal(self.means, other.means)
            and np.array_equal(self.effects, other.effects)
        )

    def __str__(self) -> str:
        return f"penalty {self.penalty:.3g}, {'with' if self.uses_location else 'without'} location"

    @property
    def has_effect(self) -> bool:
        """Whether demographics change any list."""
        return math.isfinite(self.penalty)

    @property
    def uses_location(self) -> bool:
        """Whether any location is among the inputs of the regression."""
        return bool(self.inputs.locations)

    def required_users(self, min_users: int) -> int:
        """Returns 1: the regression is valid for segments of a single user too.

        It borrows from all users, so that a list says little about the single user of a segment.
        """
        return 1

    def apply(self, counts: SegmentCounts, users: SegmentUsers) -> SegmentShares:
        """Shares of all users times the ratios; items that were not regressed have ratio 1."""
        overall = counts.overall_shares()
        rows = pc.fill_null(pc.index_in(self.items, value_set=counts.items), -1)
        positions = rows.to_numpy(zero_copy_only=False)
        is_present = positions >= 0
        effects = self.effects[:, is_present].astype(np.float64)
        leaves = self.inputs.matrix(users.leaves)

        def shares(level: str, segment: Segment) -> Doubles:
            rows = users.rows(segment)
            sizes = users.sizes[rows]
            if level == EVERYONE or sizes.sum() == 0:
                return overall
            # The inputs of a segment are the means of its users'.
            segment_inputs = np.einsum("l,lp->p", sizes / sizes.sum(), leaves[rows])
            adjusted = overall.copy()
            adjusted[positions[is_present]] *= self._ratios(segment_inputs, effects)
            total = adjusted.sum()
            return adjusted / total if total > 0 else adjusted

        return shares

    def _ratios(self, segment_inputs: Doubles, effects: Doubles) -> Doubles:
        # einsum, not BLAS: the same bits on any number of threads.
        change = np.einsum("p,pi->i", segment_inputs - self.means, effects)
        return np.asarray(np.maximum(1.0 + change, MIN_RATIO), dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Writes `ridge.json`, `items.json` and `effects.npy`."""
        values = {
            "penalty": self.penalty,
            "means": self.means.tolist(),
            **asdict(self.inputs),
        }
        (folder / MANIFEST).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
        (folder / ITEMS).write_text(json.dumps(self.items.to_pylist()) + "\n")
        np.save(folder / EFFECTS, self.effects, allow_pickle=False)

    @staticmethod
    def load(folder: Path) -> RidgeAdjustment:
        """Reads what `save` wrote."""
        values = json.loads((folder / MANIFEST).read_text())
        names = ("ages", "mean_thresholds", "genders", "locations")
        return RidgeAdjustment(
            float(values["penalty"]),
            DemographicDesign(*(tuple(values[name]) for name in names)),
            np.array(values["means"], dtype=np.float64),
            pa.array(json.loads((folder / ITEMS).read_text()), pa.string()),
            np.load(folder / EFFECTS, allow_pickle=False),
        )

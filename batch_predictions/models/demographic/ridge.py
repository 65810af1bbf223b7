"""What an age, a gender and a place make of the chance that a user wants an item: a regression.

The events of user u with item i, y = log(1 + events), are regressed on the user's demographics x,

    y_ui = mean_i + (x_u - mean_x) w_i,    W = (X'X + penalty I)^-1 X'Y

(ridge regression: Hoerl and Kennard 1970, Technometrics 12). All users together estimate the effect
of an age, whatever their gender and place: segments with a handful of people borrow from all
others. Age is ordered, so its inputs are thresholds ("25 or older", "35 or older", …): under the
penalty neighbouring brackets differ little, as a random walk over ages would have it. Thresholds
times gender let ages differ by gender. `demographic_fit` learns it.

The tilt of an item in a segment is the ratio of what is expected there to the mean,

    1 + (x_segment - mean_x) w_i / (mean_i + damping),

and multiplies the item's popularity of the day. A huge penalty gives 1: everyone's list.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.models.common.ranking_metrics import Doubles
from batch_predictions.models.demographic.segments import (
    EVERYONE,
    UNKNOWN,
    Leaf,
    Segment,
    SegmentCounts,
    SegmentShares,
    SegmentUsers,
)
from batch_predictions.sources.validation.column_rules import AGE_BRACKETS

FLOOR = 0.05
"""No item is tilted to less than this: a straight line would go below zero."""
DAMPING_USERS = 5
"""Users of one event each by whom an item's mean is raised: few takers make no extreme ratios."""
MIN_USERS = 10
"""A place or gender with fewer users has no input of its own."""
MAX_GENDERS, MAX_LOCATIONS = 5, 200
MANIFEST, EFFECTS, ITEMS = "ridge.json", "effects.npy", "items.json"


@dataclass(frozen=True)
class DemographicDesign:
    """Leaves as numbers: age thresholds, age unknown, genders, thresholds x genders, places."""

    ages: tuple[str, ...]
    """Known brackets, youngest first."""
    usual_age: tuple[float, ...]
    """Mean of each threshold over users of known age: what an unknown age is taken for."""
    genders: tuple[str, ...]
    locations: tuple[str, ...]
    """None where places are not among the inputs."""

    @classmethod
    def of(cls, users: SegmentUsers, *, places: bool) -> DemographicDesign:
        """The inputs that these users' demographics give."""
        sizes: tuple[dict[str, int], ...] = ({}, {}, {})
        for leaf, number in zip(users.leaves, users.sizes.tolist(), strict=True):
            for held, value in zip(sizes, leaf, strict=True):
                held[value] = held.get(value, 0) + number
        ages = tuple(sorted((age for age in sizes[0] if age != UNKNOWN), key=_age_order))
        known = max(sum(sizes[0][age] for age in ages), 1)
        usual = tuple(
            sum(sizes[0][age] for age in ages[place:]) / known for place in range(1, len(ages))
        )
        return cls(
            ages,
            usual,
            _frequent(sizes[1], MAX_GENDERS),
            _frequent(sizes[2], MAX_LOCATIONS) if places else (),
        )

    def __len__(self) -> int:
        steps = len(self.usual_age)
        return steps + 1 + len(self.genders) * (1 + steps) + len(self.locations)

    def matrix(self, leaves: Sequence[Leaf]) -> Doubles:
        """One row per leaf, (len(leaves), len(self)), values 0 to 1."""
        rows = np.zeros((len(leaves), len(self)))
        steps = len(self.usual_age)
        for row, (age, gender, location) in zip(rows, leaves, strict=True):
            if age in self.ages:
                row[: self.ages.index(age)] = 1.0
            else:
                row[:steps], row[steps] = self.usual_age, 1.0
            if gender in self.genders:
                place = self.genders.index(gender)
                row[steps + 1 + place] = 1.0
                first = steps + 1 + len(self.genders) + place * steps
                row[first : first + steps] = row[:steps]
            if location in self.locations:
                row[len(self) - len(self.locations) + self.locations.index(location)] = 1.0
        return rows


def _age_order(age: str) -> tuple[int, str]:
    return (AGE_BRACKETS.index(age) if age in AGE_BRACKETS else len(AGE_BRACKETS), age)


def _frequent(sizes: dict[str, int], most: int) -> tuple[str, ...]:
    """The values of enough users, at most so many, in alphabetical order."""
    often = sorted((-number, value) for value, number in sizes.items() if number >= MIN_USERS)
    return tuple(sorted(value for _, value in often[:most]))


@dataclass(frozen=True)
class RidgeAdjustment:
    """A fitted regression.

    `penalty` is the common one, infinite where nobody differs; `effects` (len(inputs), len(items))
    are float32, per unit of input and relative to the item's mean; `means` (len(inputs),) are those
    of the training users.
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
        return f"penalty {self.penalty:.3g}, {'with' if self.places else 'without'} places"

    @property
    def matters(self) -> bool:
        """Whether demographics say anything."""
        return math.isfinite(self.penalty)

    @property
    def places(self) -> bool:
        """Whether any place is among the inputs."""
        return bool(self.inputs.locations)

    def fewest(self, min_users: int) -> int:
        """One: the regression borrows from all users, so that whoever is alone in a segment has a
        list that fits without being told by it."""
        return 1

    def on(self, counts: SegmentCounts, users: SegmentUsers) -> SegmentShares:
        """Everyone's shares times the tilt; items that were not regressed keep theirs."""
        everyone = counts.shares()
        found = pc.fill_null(pc.index_in(self.items, value_set=counts.items), -1)
        places = found.to_numpy(zero_copy_only=False)
        there = places >= 0
        effects = self.effects[:, there].astype(np.float64)
        leaves = self.inputs.matrix(users.leaves)

        def shares(level: str, segment: Segment) -> Doubles:
            rows = users.rows(segment)
            sizes = users.sizes[rows]
            if level == EVERYONE or sizes.sum() == 0:
                return everyone
            # A segment is the mean of its users: what is expected of one of them.
            of_segment = np.einsum("l,lp->p", sizes / sizes.sum(), leaves[rows])
            tilted = everyone.copy()
            tilted[places[there]] *= self._ratios(of_segment, effects)
            total = tilted.sum()
            return tilted / total if total > 0 else tilted

        return shares

    def _ratios(self, of_segment: Doubles, effects: Doubles) -> Doubles:
        # einsum, not BLAS: the same bits on any number of threads.
        change = np.einsum("p,pi->i", of_segment - self.means, effects)
        return np.asarray(np.maximum(1.0 + change, FLOOR), dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write `ridge.json`, `items.json` and `effects.npy`."""
        values = {
            "penalty": self.penalty,
            "means": self.means.tolist(),
            "ages": self.inputs.ages,
            "usual_age": self.inputs.usual_age,
            "genders": self.inputs.genders,
            "locations": self.inputs.locations,
        }
        (folder / MANIFEST).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
        (folder / ITEMS).write_text(json.dumps(self.items.to_pylist()) + "\n")
        np.save(folder / EFFECTS, self.effects, allow_pickle=False)

    @staticmethod
    def load(folder: Path) -> RidgeAdjustment:
        """Read what `save` wrote."""
        values = json.loads((folder / MANIFEST).read_text())
        lists = [tuple(values[name]) for name in ("ages", "usual_age", "genders", "locations")]
        return RidgeAdjustment(
            float(values["penalty"]),
            DemographicDesign(*lists),
            np.array(values["means"], dtype=np.float64),
            pa.array(json.loads((folder / ITEMS).read_text()), pa.string()),
            np.load(folder / EFFECTS, allow_pickle=False),
        )

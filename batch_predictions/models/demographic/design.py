"""Demographics as the inputs of a regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.demographic.demographic_segments import UNKNOWN, Leaf, SegmentUsers
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

"""Estimators of predictive queries: gradient-boosted trees, linear models, and one column alone.

Estimators of means predict values, all others predict log-odds, which are calibrated later. Those
of the time to the first event predict the log-odds of the event in each interval of the window if
it has not happened before (discrete-time hazards; Singer and Willett 1993, "It's About Time"): the
number of the interval is the last column of their matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.queries.linear_estimators import (
    ColumnEstimator,
    ExampleMatrix,
    LinearEstimator,
)
from batch_predictions.models.queries.tree_estimator import TreeEstimator


@dataclass(frozen=True)
class AverageOfEstimators:
    """The mean of what several estimators predict.

    Attributes:
        members: the estimators.
    """

    kind: ClassVar[str] = "average"
    members: tuple[QueryEstimator, ...]

    def predict(self, features: Doubles) -> Doubles:
        """The mean, (n,)."""
        total = np.zeros(len(features))
        for member in self.members:
            total += member.predict(features)
        return total / len(self.members)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"members": [estimator_to_json(member) for member in self.members]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> AverageOfEstimators:
        """Reads what `to_json` returned."""
        return cls(tuple(estimator_from_json(member) for member in values["members"]))


QueryEstimator: TypeAlias = TreeEstimator | LinearEstimator | ColumnEstimator | AverageOfEstimators
_CLASSES: dict[str, type[QueryEstimator]] = {
    cls.kind: cls for cls in (TreeEstimator, LinearEstimator, ColumnEstimator, AverageOfEstimators)
}


def estimator_to_json(estimator: QueryEstimator) -> dict[str, Any]:
    """JSON values of any estimator, with its kind."""
    return {"kind": estimator.kind, **estimator.to_json()}


def estimator_from_json(values: Mapping[str, Any]) -> QueryEstimator:
    """Reads what `estimator_to_json` returned."""
    inner = {key: value for key, value in values.items() if key != "kind"}
    return _CLASSES[values["kind"]].from_json(inner)


def trees_in(estimator: QueryEstimator | None) -> TreeEstimator | None:
    """The trees of an estimator, or of its members; None without any."""
    members = estimator.members if isinstance(estimator, AverageOfEstimators) else (estimator,)
    return next((member for member in members if isinstance(member, TreeEstimator)), None)


@dataclass(frozen=True)
class QueryCandidate:
    """A candidate or a baseline of a training.

    Attributes:
        name: in `evaluation.model_metrics`.
        fit: fits it on examples, with those of a later day.
        is_baseline: whether candidates must beat it.
    """

    name: str
    fit: Callable[[ExampleMatrix, ExampleMatrix], QueryEstimator]
    is_baseline: bool = False

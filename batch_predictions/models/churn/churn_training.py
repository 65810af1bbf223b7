"""Fits declared churn estimators by name."""

from __future__ import annotations

from batch_predictions.models.churn.base import ChurnEstimator, FitInputs
from batch_predictions.models.churn.data.churn_examples import Examples
from batch_predictions.models.churn.estimators.churn_registry import estimator_specs


class EstimatorTrainer:
    """Fits estimators on the same examples, each at most once.

    Args:
        examples: customers of past days with their outcomes.
        seed: seed of everything random.
    """

    def __init__(self, examples: Examples, seed: int) -> None:
        self._inputs = FitInputs(examples, seed, fit_member=self.fit)
        self._fitted: dict[str, ChurnEstimator] = {}

    def fit(self, name: str) -> ChurnEstimator:
        """Fits the estimator of a name, or returns it if it was fitted before.

        Raises:
            ValueError: no estimator has this name; the message lists the known ones.
        """
        if name not in self._fitted:
            specs = estimator_specs()
            if name not in specs:
                raise ValueError(
                    f"there is no churn estimator {name!r}: choose from {', '.join(specs)}"
                )
            self._fitted[name] = specs[name].fit(self._inputs, specs[name].params)
        return self._fitted[name]

"""Gradient-boosted trees of predictive queries, fitted by LightGBM."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.forest.quickscorer import build_predictors
from batch_predictions.models.queries.linear_estimators import (
    ExampleMatrix,
    LinearEstimator,
    log_means,
)

Objective = Literal["regression", "tweedie", "binary", "quantile"]
MAX_ROUNDS = 400
STOPPING_ROUNDS = 30
"""Boosting ends when the later examples have not gained for this many rounds."""
N_SEEDS = 3
"""Models that are averaged: the sampling of one decides part of its predictions."""
TREE_PARAMS = {
    "learning_rate": 0.05,
    "num_leaves": 15,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "tweedie_variance_power": 1.5,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbose": -1,
}
MAX_LOG_MEAN = 30.0
"""Largest logarithm of a mean that trees may predict."""


@dataclass(frozen=True)
class TreeEstimator:
    """The mean of several LightGBM models, scored by the platform's own engine.

    Attributes:
        texts: the models in LightGBM's text format.
        offset: predicts means, which the trees multiply by the exponential of their score; None:
            the trees predict means or log-odds themselves.
        gains: share of each feature in the gain of all splits, (features,).
    """

    kind: ClassVar[str] = "trees"
    texts: tuple[str, ...]
    offset: LinearEstimator | None = None
    gains: tuple[float, ...] = ()

    @classmethod
    def fit(
        cls,
        fitted: ExampleMatrix,
        later: ExampleMatrix | None,
        objective: Objective,
        seed: int,
        *,
        n_seeds: int = N_SEEDS,
        alpha: float = 0.5,
        offset: LinearEstimator | None = None,
    ) -> TreeEstimator:
        """Fits trees; later examples decide how many.

        Args:
            fitted: examples that the trees are fitted on.
            later: examples of a later day; None: 150 rounds.
            objective: LightGBM's.
            seed: of the first model; the others have the following ones.
            n_seeds: number of models.
            alpha: the quantile, 0 to 1, with the objective `quantile`.
            offset: what the trees correct, with the objective `tweedie`.
        """
        import lightgbm

        def dataset(examples: ExampleMatrix, **options: Any) -> lightgbm.Dataset:
            start = None if offset is None else log_means(offset, examples.features)
            return lightgbm.Dataset(examples.features, examples.target, init_score=start, **options)

        names = [f"f{number}" for number in range(fitted.features.shape[1])]
        leaf = max(5, min(100, len(fitted) // 50))
        texts, gains = [], np.zeros(len(names))
        for number in range(n_seeds):
            train = dataset(fitted, feature_name=names)
            options: dict[str, Any] = {"num_boost_round": 150}
            if later is not None:
                valid = dataset(later, reference=train)
                stop = lightgbm.early_stopping(STOPPING_ROUNDS, verbose=False)
                options = {"num_boost_round": MAX_ROUNDS, "valid_sets": [valid]}
                options["callbacks"] = [stop]
            params = {
                **TREE_PARAMS,
                "objective": objective,
                "alpha": alpha,
                "min_data_in_leaf": leaf,
                "seed": seed + number,
            }
            booster = lightgbm.train(params, train, **options)
            gains += booster.feature_importance("gain", iteration=booster.best_iteration or None)
            texts.append(booster.model_to_string(num_iteration=booster.best_iteration or None))
        shares = gains / (gains.sum() or 1.0)
        return cls(tuple(texts), offset, tuple(map(float, shares)))

    @cached_property
    def _predict(self) -> Callable[[Doubles], Doubles]:
        return build_predictors(self.texts)

    def predict(self, features: Doubles) -> Doubles:
        """Means or log-odds, (n,)."""
        if not len(features):
            return np.zeros(0)
        raw = np.asarray(self._predict(features).mean(axis=0), np.float64)
        if self.offset is None:
            return raw
        return np.exp(np.minimum(raw + log_means(self.offset, features), MAX_LOG_MEAN))

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        offset = self.offset and self.offset.to_json()
        return {"texts": self.texts, "offset": offset, "gains": self.gains}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TreeEstimator:
        """Reads what `to_json` returned."""
        offset = values["offset"] and LinearEstimator.from_json(values["offset"])
        return cls(tuple(values["texts"]), offset, tuple(values["gains"]))

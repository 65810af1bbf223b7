"""Gradient-boosted trees that rank: several LightGBM models whose scaled margins are added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles, Floats
from batch_predictions.models.forest.banzhaf import build_banzhaf_explainer
from batch_predictions.models.forest.quickscorer import Rows, build_predictors

LIGHTGBM_PARAMS: dict[str, Any] = {
    "learning_rate": 0.12,
    "min_data_in_leaf": 50,
    "lambda_l2": 10.0,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambdarank_truncation_level": 20,
    "rounds": 60,
}
"""LightGBM's parameters, and `rounds`."""
OBJECTIVES: tuple[dict[str, object], ...] = (
    {"objective": "lambdarank", "num_leaves": 7},
    # Cross-entropy over the list: Bruch 2021, "An Alternative Cross Entropy Loss for
    # Learning-to-Rank".
    {"objective": "rank_xendcg", "num_leaves": 15},
    {"objective": "rank_xendcg", "num_leaves": 31},
)
"""Which objective ranks best differs by data; their sum is better than the best of them."""


@dataclass(frozen=True)
class GBDTRanker:
    """LightGBM models, and the scale of each.

    Attributes:
        models: LightGBM's text of each model.
        scales: standard deviation of each model's margins on its training data.
    """

    models: tuple[str, ...]
    scales: tuple[float, ...]

    def take(self, places: Sequence[int]) -> GBDTRanker:
        """Returns a ranker of some of the models."""
        return GBDTRanker(
            tuple(self.models[place] for place in places),
            tuple(self.scales[place] for place in places),
        )

    @cached_property
    def _predict(self) -> Callable[[Rows], Doubles]:
        return build_predictors(self.models)

    def margins(self, features: Floats) -> Doubles:
        """Sums of margins over scales, (rows,)."""
        total = np.zeros(len(features))
        for scores, scale in zip(self._predict(features), self.scales, strict=True):
            total += scores / scale
        return total

    @cached_property
    def _explainers(self) -> dict[tuple[int, ...], list[Callable[[Rows], Doubles]]]:
        return {}

    def contributions(self, features: Floats, players: Sequence[int]) -> Doubles:
        """Computes the Banzhaf values of groups of features, (rows, players), of the margins.

        Args:
            features: (rows, f).
            players: the group of each feature, 0 and up, (f,).
        """
        key = tuple(players)
        if key not in self._explainers:
            self._explainers[key] = [build_banzhaf_explainer(model, key) for model in self.models]
        total = np.zeros((len(features), max(players, default=-1) + 1))
        for explain, scale in zip(self._explainers[key], self.scales, strict=True):
            total += explain(features) / scale
        return total

    def save(self, folder: Path) -> None:
        """Writes one text file per model."""
        for number, model in enumerate(self.models):
            (folder / f"ranker-{number}.txt").write_text(model)

    @classmethod
    def load(cls, folder: Path, scales: Sequence[float]) -> GBDTRanker:
        """Reads what `save` wrote."""
        files = [folder / f"ranker-{number}.txt" for number in range(len(scales))]
        return cls(tuple(file.read_text() for file in files), tuple(scales))

    @classmethod
    def fit(
        cls,
        model_params: Sequence[dict[str, Any]],
        features: Floats,
        labels: npt.NDArray[np.int8],
        sizes: npt.NDArray[np.int64],
        names: Sequence[str],
    ) -> GBDTRanker:
        """Trains one model per entry of `model_params`.

        Args:
            model_params: LightGBM's parameters, `rounds` among them.
            features: a row per candidate, list by list, (rows, f).
            labels: 1 for candidates that were taken, (rows,).
            sizes: rows of every list.
            names: of the features.
        """
        import lightgbm

        # All models share the bins, so these must not depend on a model's seed or leaves.
        binning = {"deterministic": True, "force_row_wise": True, "verbose": -1}
        binning |= {"data_random_seed": 1, "feature_pre_filter": False}
        dataset = lightgbm.Dataset(
            features, labels, group=sizes, feature_name=list(names), params=binning
        )
        models, scales = [], []
        sample = features[:: max(1, len(features) // 100_000)]
        for params in model_params:
            params = dict(params)
            rounds = int(params.pop("rounds"))
            booster = lightgbm.train({**binning, **params}, dataset, rounds)
            models.append(booster.model_to_string())
            deviation = float(np.std(booster.predict(sample, raw_score=True)))
            # Margins of a model without a split do not vary.
            scales.append(deviation if deviation > 0 else 1.0)
        return cls(tuple(models), tuple(scales))

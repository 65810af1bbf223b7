"""Trees that rank: several LightGBM models whose margins, each in its own spread, are added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from batch_predictions.models.forest.quickscorer import Doubles, Rows, predictor
from batch_predictions.models.forest.treeshap import explainer
from batch_predictions.models.recommender.base import Floats

if TYPE_CHECKING:
    import lightgbm

RANKER: dict[str, Any] = {
    "learning_rate": 0.12,
    "min_data_in_leaf": 50,
    "lambda_l2": 10.0,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambdarank_truncation_level": 20,
    "rounds": 60,
}
OBJECTIVES: tuple[dict[str, Any], ...] = (
    {"objective": "lambdarank", "num_leaves": 7},
    # Cross-entropy over the list: Bruch 2021, "An Alternative Cross Entropy Loss for
    # Learning-to-Rank".
    {"objective": "rank_xendcg", "num_leaves": 15},
    {"objective": "rank_xendcg", "num_leaves": 31},
)
"""Which of them ranks better differs by data; together they are better than the best: new items on
the Complete Journey, cut 2017-11-03, 500 users a lesson, .0528, .0566, .0544 and together .0577."""


@dataclass(frozen=True)
class Trees:
    """LightGBM models as text, and the spread (standard deviation) of each one's margins where it
    was taught."""

    texts: tuple[str, ...]
    spreads: tuple[float, ...]

    @cached_property
    def _boosters(self) -> list[lightgbm.Booster]:
        import lightgbm

        return [lightgbm.Booster(model_str=text) for text in self.texts]

    @cached_property
    def _predictors(self) -> list[Callable[[Rows], Doubles]]:
        return [predictor(text) for text in self.texts]

    def margins(self, features: Floats) -> Doubles:
        """Sums of margins over spreads, (rows,)."""
        total = np.zeros(len(features))
        for margins, spread in zip(self._predictors, self.spreads, strict=True):
            total += margins(features) / spread
        return total

    @cached_property
    def _explainers(self) -> list[Callable[[Rows], Doubles]]:
        return [explainer(text) for text in self.texts]

    def parts(self, features: Floats) -> Doubles:
        """Each feature's part in the margins (TreeSHAP), (rows, f)."""
        total = np.zeros(features.shape)
        for parts, spread in zip(self._explainers, self.spreads, strict=True):
            total += parts(features) / spread
        return total

    def gains(self) -> dict[str, float]:
        """How much each feature lowered the loss, as a share of all, over the models."""
        total: dict[str, float] = {}
        for booster in self._boosters:
            gains = booster.feature_importance("gain")
            whole = max(float(gains.sum()), 1e-12) * len(self._boosters)
            for name, gain in zip(booster.feature_name(), gains, strict=True):
                total[name] = total.get(name, 0.0) + float(gain) / whole
        return total

    def save(self, folder: Path) -> None:
        """One text file per model."""
        for place, text in enumerate(self.texts):
            (folder / f"ranker-{place}.txt").write_text(text)

    @classmethod
    def load(cls, folder: Path, spreads: Sequence[float]) -> Trees:
        """What `save` wrote."""
        names = [folder / f"ranker-{place}.txt" for place in range(len(spreads))]
        return cls(tuple(name.read_text() for name in names), tuple(spreads))

    @classmethod
    def taught(
        cls,
        models: Sequence[dict[str, Any]],
        features: Floats,
        labels: npt.NDArray[np.int8],
        groups: npt.NDArray[np.int64],
        names: Sequence[str],
    ) -> Trees:
        """One model per parameters of LightGBM, `rounds` among them."""
        import lightgbm

        # Bins are found once for all: by one seed, and whatever leaves the models allow.
        binning = {"deterministic": True, "force_row_wise": True, "verbose": -1}
        binning |= {"data_random_seed": 1, "feature_pre_filter": False}
        dataset = lightgbm.Dataset(
            features, labels, group=groups, feature_name=list(names), params=binning
        )
        texts, spreads = [], []
        for model in models:
            chosen = dict(model)
            rounds = int(chosen.pop("rounds"))
            booster = lightgbm.train({**binning, **chosen}, dataset, rounds)
            texts.append(booster.model_to_string())
            # A sample says the spread as well; a model that learned nothing has none.
            some = features[:: max(1, len(features) // 100_000)]
            spread = float(np.std(booster.predict(some, raw_score=True)))
            spreads.append(spread if spread > 0 else 1.0)
        return cls(tuple(texts), tuple(spreads))

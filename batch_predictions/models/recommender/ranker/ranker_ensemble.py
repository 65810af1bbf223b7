"""The second stage: gradient-boosted trees and a conditional logit, whose margins are added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles, Floats
from batch_predictions.models.recommender.features.candidate_features import FeatureColumn
from batch_predictions.models.recommender.ranker.conditional_logit import ConditionalLogit, Sizes
from batch_predictions.models.recommender.ranker.gbdt_ranker import GBDTRanker

SCALE_SAMPLE_ROWS = 100_000
"""Rows of whole lists on which the margins' scales are compared."""


@dataclass(frozen=True)
class RankerEnsemble:
    """Ranks rows of features, list by list.

    Attributes:
        trees: None for a blend, which has a linear model only.
        linear: None where it has no weight.
    """

    trees: GBDTRanker | None
    linear: ConditionalLogit | None = None

    def margins(self, features: Floats, sizes: Sizes) -> tuple[Doubles, Floats | None]:
        """Sums of all margins, and the linear model's contributions.

        Args:
            features: a row per candidate, list by list, (rows, f).
            sizes: rows of every list.

        Returns:
            Margins (rows,); contributions (rows, f), None without a linear model.
        """
        total = np.zeros(len(features)) if self.trees is None else self.trees.margins(features)
        if self.linear is None:
            return total, None
        contributions = self.linear.contributions(features, sizes)
        return total + contributions.sum(axis=1, dtype=np.float64), contributions

    def to_json(self) -> dict[str, object]:
        """Returns the values that `load` needs besides the folder, as JSON values."""
        return {
            "scales": [] if self.trees is None else list(self.trees.scales),
            "linear": None if self.linear is None else asdict(self.linear),
        }

    def save(self, folder: Path) -> None:
        """Writes the trees; `to_json` goes into the model's manifest."""
        if self.trees is not None:
            self.trees.save(folder)

    @classmethod
    def load(cls, folder: Path, values: Mapping[str, Any]) -> Self:
        """Reads what `save` wrote, with the values of `to_json`."""
        scales, linear = values["scales"], values["linear"]
        return cls(
            GBDTRanker.load(folder, scales) if scales else None,
            ConditionalLogit.from_json(linear) if linear else None,
        )

    @classmethod
    def fit(
        cls,
        model_params: Sequence[dict[str, object]],
        linear_weight: float,
        features: Floats,
        labels: npt.NDArray[np.int8],
        sizes: Sizes,
        columns: Sequence[FeatureColumn],
    ) -> Self:
        """Trains the trees, and a linear model whose margins are scaled to theirs.

        Args:
            model_params: of each LightGBM model.
            linear_weight: standard deviation of the linear margins relative to the trees'; 0: no
                linear model.
            features: a row per candidate, list by list, (rows, f).
            labels: 1 for candidates that were taken, (rows,).
            sizes: rows of every list.
            columns: of the features.
        """
        names = [column.name for column in columns]
        trees = GBDTRanker.fit(model_params, features, labels, sizes, names)
        if not linear_weight:
            return cls(trees)
        linear = ConditionalLogit.fit(features, labels, sizes, columns)
        return cls.from_members(trees, linear, linear_weight, features, sizes)

    @classmethod
    def from_members(
        cls,
        trees: GBDTRanker,
        linear: ConditionalLogit,
        linear_weight: float,
        features: Floats,
        sizes: Sizes,
    ) -> Self:
        """Combines trees with a linear model whose margins are scaled to theirs.

        Args:
            trees: trained.
            linear: trained.
            linear_weight: standard deviation of the linear margins relative to the trees'.
            features: a row per candidate, list by list, (rows, f), on which margins are compared.
            sizes: rows of every list.
        """
        lists = np.arange(0, len(sizes), max(1, len(features) // SCALE_SAMPLE_ROWS))
        list_of_row = np.repeat(np.arange(len(sizes)), sizes)
        sample = features[np.isin(list_of_row, lists)]
        linear_scale = float(np.std(linear.margins(sample, sizes[lists])))
        tree_scale = float(np.std(trees.margins(sample)))
        factor = linear_weight * (tree_scale or 1.0) / linear_scale if linear_scale > 0 else 1.0
        return cls(trees, linear.scaled(factor))

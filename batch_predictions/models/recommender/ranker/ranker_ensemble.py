"""The second stage: trees and a straight line, whose margins are added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from batch_predictions.models.recommender.base import Floats
from batch_predictions.models.recommender.data.interactions import Doubles
from batch_predictions.models.recommender.features.candidates import Group
from batch_predictions.models.recommender.ranker.conditional_logit import Sizes, Straight
from batch_predictions.models.recommender.ranker.gbdt_ranker import Trees


@dataclass(frozen=True)
class Mixed:
    """Ranks rows of features, list by list; `sizes` below are the rows of every list."""

    trees: Trees
    straight: Straight | None = None

    def margins(self, features: Floats, sizes: Sizes) -> tuple[Doubles, Floats | None]:
        """The sums of all margins, (rows,), and each feature's part in the straight line's,
        (rows, f), where there is one."""
        total = self.trees.margins(features)
        if self.straight is None:
            return total, None
        parts = self.straight.parts(features, sizes)
        return total + parts.sum(axis=1, dtype=np.float64), parts

    def params(self) -> dict[str, Any]:
        """What `load` needs besides the folder."""
        held: dict[str, Any] = {"spreads": list(self.trees.spreads)}
        if self.straight is not None:
            held["straight"] = list(self.straight.weights)
            held["away"] = list(self.straight.away)
            held["large"] = list(self.straight.large)
            held["inactive"] = self.straight.inactive
        return held

    @classmethod
    def load(cls, folder: Path, held: Mapping[str, Any]) -> Self:
        """Trees that were saved in a folder, and `params`."""
        straight = None
        if "straight" in held:
            # Models of before know no `away`.
            straight = Straight(
                tuple(held["straight"]),
                tuple(held.get("away", [0.0] * len(held["straight"]))),
                tuple(held["large"]),
                int(held.get("inactive", -1)),
            )
        return cls(Trees.load(folder, held["spreads"]), straight)

    @classmethod
    def taught(
        cls,
        models: Sequence[dict[str, Any]],
        weight: float,
        features: Floats,
        labels: npt.NDArray[np.int8],
        sizes: Sizes,
        names: Sequence[tuple[str, Group]],
    ) -> Self:
        """Trees of some parameters of LightGBM, and a straight line whose margins spread `weight`
        times as far as theirs (0: none)."""
        trees = Trees.taught(models, features, labels, sizes, [name for name, _ in names])
        if not weight:
            return cls(trees)
        straight = Straight.taught(features, labels, sizes, names)
        # Whole lists of a sample say how far margins spread.
        some = np.arange(0, len(sizes), max(1, len(features) // 100_000))
        owners = np.repeat(np.arange(len(sizes)), sizes)
        chosen = np.isin(owners, some)
        sample = features[chosen]
        own = float(np.std(straight.margins(sample, sizes[some])))
        others = float(np.std(trees.margins(sample)))
        factor = weight * (others or 1.0) / own if own > 0 else 1.0
        return cls(trees, straight.times(factor))

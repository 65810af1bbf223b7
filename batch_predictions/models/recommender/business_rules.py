"""Business rules that a shop applies to ranked lists, whatever the model.

Rules never shorten a list: what they hold back fills it up again, in rank order, where too little
else is left. Only blocked and unavailable items, and seen ones where these are excluded, stay out;
they are masked before the ranking.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Positions


@dataclass(frozen=True)
class Rules:
    """Business rules that ranked lists of items follow.

    Attributes:
        per_category: items of one category at most; 0: no cap. Items without a category are not
            capped.
        new_share: share of the list that is new to the user, at least, as far as there is any.
        boost_places: places by which boosted items move up.
    """

    per_category: int = 0
    new_share: float = 0.0
    boost_places: int = 0

    def apply(
        self,
        ranked: Positions,
        k: int,
        *,
        in_history: npt.NDArray[np.bool_],
        categories: npt.NDArray[np.int64],
        boosted: npt.NDArray[np.bool_],
    ) -> Positions:
        """Builds lists of k items under the rules.

        Args:
            ranked: item positions, best first, -1 at the end of short lists, (n, m).
            k: length of the lists.
            in_history: whether the user has interacted with the item, (n, m).
            categories: the category of every item, -1 where it has none, (items,).
            boosted: whether the item moves up, (items,).

        Returns:
            Columns of `ranked` in the order of the list, -1 where too few are ranked, (n, k).
        """
        from batch_predictions.models.recommender.kernels.candidate_kernels import apply_rules

        columns = np.empty((len(ranked), k), dtype=np.int64)
        min_new = math.ceil(self.new_share * k - 1e-9)
        apply_rules(
            np.ascontiguousarray(ranked),
            np.ascontiguousarray(in_history),
            boosted,
            categories,
            self.per_category,
            min_new,
            self.boost_places,
            k,
            columns,
        )
        return columns

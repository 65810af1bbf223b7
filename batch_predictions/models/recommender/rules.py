"""Business rules, applied to ranked lists: what no model knows and a shop must hold to.

Rules never empty a list: what they hold back fills it up again, in rank order, where too little
else is left. Only blocked and unavailable items, and seen ones where these are left out, stay away;
they are barred before the ranking.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from batch_predictions.models.recommender.base import Positions


@dataclass(frozen=True)
class Rules:
    """Rules of a list.

    Attributes:
        per_category: items of one category at most; 0: no cap. Items without one are not capped.
        new_share: share of the list that is new to the user, at least, as far as there is any.
        boost_places: places that boosted items move up.
    """

    per_category: int = 0
    new_share: float = 0.0
    boost_places: int = 0

    def apply(
        self,
        ranked: Positions,
        k: int,
        *,
        known: npt.NDArray[np.bool_],
        categories: npt.NDArray[np.int64],
        boosted: npt.NDArray[np.bool_],
    ) -> Positions:
        """Lists of k under the rules.

        Args:
            ranked: (n, m) item positions, best first, -1 at the end of short ones.
            k: length of the lists.
            known: (n, m) whether the user has had the item.
            categories: (items,) the category of every item, -1 where it has none.
            boosted: (items,) whether the item moves up.

        Returns:
            (n, k) places in `ranked`, in the order of the list, -1 where too few are ranked.
        """
        from batch_predictions.models.recommender.kernels import ruled

        out = np.empty((len(ranked), k), dtype=np.int64)
        least_new = math.ceil(self.new_share * k - 1e-9)
        ruled(
            np.ascontiguousarray(ranked),
            np.ascontiguousarray(known),
            boosted,
            categories,
            self.per_category,
            least_new,
            self.boost_places,
            k,
            out,
        )
        return out

"""What is taken one after the other: neighbours in the order of time, not of a whole taste."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from batch_predictions.models.recommender.base import Floats, Positions, Recommender
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Codes, Interactions
from batch_predictions.models.recommender.data.item_features import ItemFacts
from batch_predictions.models.recommender.generators.item_neighbours import (
    BLOCK,
    causes,
    in_blocks,
    refuse,
    spread,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class SequenceNeighbours(Recommender):
    """What others took shortly before or after what the user took last: within a visit or a
    sitting one thing leads to another, and that passes."""

    kind = "sequence_neighbours"

    @classmethod
    def fit(cls, interactions: Interactions, as_of: date, **params: Any) -> Self:
        """Parameters: `neighbours` kept per item; `half_life`, items in between after which
        nearness counts half, looked at up to `reach`; `backward`, how much what came before counts
        against what came after; the user's `newest` items that count, each times `fade` of the one
        after it; `name`."""
        name = str(params.pop("name", cls.kind))
        neighbours = int(params.pop("neighbours", 200))
        half_life = float(params.pop("half_life", 20.0))
        reach = int(params.pop("reach", 60))
        backward = float(params.pop("backward", 0.5))
        newest = int(params.pop("newest", 20))
        fade = float(params.pop("fade", 0.9))
        refuse(name, params)
        sequence, users = sequence_of(interactions)
        bounds = np.searchsorted(users, np.arange(len(interactions.user_ids) + 1))
        width = len(interactions.item_ids)
        places = np.argsort(sequence, kind="stable")
        places_of = np.searchsorted(sequence[places], np.arange(width + 1))
        weights = 0.5 ** (np.arange(reach + 1) / half_life)
        near = np.full((width, min(neighbours, width)), -1, dtype=np.int32)
        likeness = np.zeros(near.shape, dtype=np.float32)

        def fill(start: int) -> None:
            from batch_predictions.models.recommender.kernels import beside

            stop = min(start + BLOCK, width)
            first, last = bounds[users], bounds[users + 1]
            beside(
                sequence,
                first,
                last,
                places_of,
                places,
                weights,
                backward,
                start,
                stop,
                near,
                likeness,
            )

        in_blocks(fill, width)
        settings = {
            "neighbours": neighbours,
            "half_life": half_life,
            "reach": reach,
            "backward": backward,
            "newest": newest,
            "fade": fade,
        }
        return cls(name, interactions.item_ids, settings, {"near": near, "likeness": likeness})

    def scores(self, histories: Histories, facts: ItemFacts | None = None) -> Floats:
        """Sums of likeness to the newest items, (n, items)."""
        return spread(self._heard(histories), self.arrays["near"], self.arrays["likeness"])

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """The newest item that is nearest to the pick."""
        return causes(self._heard(histories), picks, self.arrays["near"], self.arrays["likeness"])

    def _heard(self, histories: Histories) -> csr_matrix:
        fade = np.float32(self.params["fade"]) ** histories.places.astype(np.float32)
        heard = histories.csr(np.where(histories.places < self.params["newest"], fade, 0))
        heard.eliminate_zeros()
        return heard


def sequence_of(interactions: Interactions) -> tuple[Codes, Codes]:
    """Items of every user in the order in which they were first taken, and the users."""
    moments = interactions.clock
    by_pair = np.lexsort((moments, interactions.dates, interactions.items, interactions.users))
    users, items = interactions.users[by_pair], interactions.items[by_pair]
    new = (np.diff(users, prepend=-1) != 0) | (np.diff(items, prepend=-1) != 0)
    firsts = by_pair[new]
    order = firsts[
        np.lexsort(
            (
                interactions.items[firsts],
                moments[firsts],
                interactions.dates[firsts],
                interactions.users[firsts],
            )
        )
    ]
    return interactions.items[order], interactions.users[order]

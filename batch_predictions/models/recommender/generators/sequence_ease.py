"""EASE in the order of time: what was taken lately says what is taken next.

A ridge regression from what a user had just taken, the newer the louder, to what it took next, over
places in all users' sequences: B = (X'X + l2 I)^-1 X'Y, as EASE (Steck 2019) has it, but Y is the
future, so nothing need be forbidden on the diagonal. X has one block of items per fade.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.models.recommender.base import Floats, Positions, Recommender
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Codes, Doubles, Interactions
from batch_predictions.models.recommender.data.item_features import ItemFacts
from batch_predictions.models.recommender.generators.ease import most_bought
from batch_predictions.models.recommender.generators.item_neighbours import refuse
from batch_predictions.models.recommender.generators.sequence_neighbours import sequence_of

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

NOTHING = 0.02
"""A weight below which an item is no longer heard."""
BLOCK = 8192
"""Places whose products are added at once: bounds what is held besides the Gram matrix."""


class SequenceEASE(Recommender):
    """Knows the `max_items` items with most events; the others it never recommends."""

    kind = "sequence_ease"

    @classmethod
    def fit(cls, interactions: Interactions, as_of: date, **params: Any) -> Self:
        """Parameters: `fades`, weights of an item against the one taken after it, one block each;
        `ahead` items that are next, each times `ahead_fade` of the one before; `backward`, how much
        the sequences read from their ends count; the ridge `l2`; at most `places` that are learned
        from, evenly spread; `max_items`."""
        fades = [float(each) for each in params.pop("fades", (0.8, 0.97))]
        ahead = int(params.pop("ahead", 5))
        ahead_fade = float(params.pop("ahead_fade", 0.9))
        backward = float(params.pop("backward", 0.5))
        l2 = float(params.pop("l2", 2000.0))
        places = int(params.pop("places", 50_000))
        max_items = int(params.pop("max_items", 3000))
        refuse(cls.kind, params)
        if not l2 > 0 or min(ahead, places, max_items) < 1 or not all(0 < f < 1 for f in fades):
            raise ValueError(
                f"{cls.kind}: counts and `l2` must be positive, `fades` within 0 and 1"
            )
        kept = most_bought(interactions, max_items)
        number = np.full(len(interactions.item_ids), -1, dtype=np.int32)
        number[kept] = np.arange(len(kept), dtype=np.int32)
        items, users = sequence_of(interactions)
        known = number[items] >= 0
        sequence, users = number[items[known]], users[known]
        bounds = np.searchsorted(users, np.arange(len(interactions.user_ids) + 1))
        first, last = bounds[users], bounds[users + 1]
        at = np.flatnonzero(np.arange(len(sequence)) > first)
        at = at[:: max(1, -(-len(at) // places))]
        width = len(kept)
        gram = np.zeros((width * len(fades),) * 2, order="F")
        sides = np.zeros((width * len(fades), width), order="F")
        turned = sequence[first + last - 1 - np.arange(len(sequence))]
        weights = ahead_fade ** np.arange(ahead, dtype=np.float64)
        for read, loudness in ((sequence, 1.0), (turned, backward)):
            for start in range(0, len(at) if loudness > 0 else 0, BLOCK):
                some = at[start : start + BLOCK]
                before = _blocks([_around(read, some, first, -1, _fading(f), width) for f in fades])
                after = _around(read, some, last, 1, weights, width)
                gram += loudness * (before.T @ before).toarray()
                sides += loudness * (before.T @ after).toarray()
        settings = {
            "fades": fades,
            "ahead": ahead,
            "ahead_fade": ahead_fade,
            "backward": backward,
            "l2": l2,
            "places": places,
            "max_items": max_items,
        }
        known_items = interactions.item_ids.take(pa.array(kept))
        return cls(cls.kind, known_items, settings, {"weights": _ridge(gram, sides, l2)})

    def scores(self, histories: Histories, facts: ItemFacts | None = None) -> Floats:
        """x B of sparse contexts, (n, items): the same bits whatever the batch."""
        found: Floats = self._heard(histories) @ self.arrays["weights"]
        return found

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """Exact: the score is a sum over the items that are heard; the largest part wins."""
        heard, width = self._heard(histories), len(self.items)
        because = np.full(picks.shape, -1, dtype=np.int64)
        for user in range(histories.users):
            span = slice(heard.indptr[user], heard.indptr[user + 1])
            chosen = np.flatnonzero(picks[user] >= 0)
            items, rows = np.unique(heard.indices[span] % width, return_inverse=True)
            if len(items) == 0 or len(chosen) == 0:
                continue
            each = self.arrays["weights"][np.ix_(heard.indices[span], picks[user, chosen])]
            parts = np.zeros((len(items), len(chosen)))
            np.add.at(parts, rows, each * heard.data[span][:, np.newaxis])
            best = parts.argmax(axis=0)
            positive = parts[best, np.arange(len(chosen))] > 0
            because[user, chosen[positive]] = items[best[positive]]
        return because

    def _heard(self, histories: Histories) -> csr_matrix:
        """Users x (fades x items): how loud each item of the history is."""
        blocks = []
        for fade in self.params["fades"]:
            steps = _fading(fade)
            far = histories.places >= len(steps)
            loud = np.where(far, 0.0, steps[np.minimum(histories.places, len(steps) - 1)])
            block = histories.csr(loud.astype(np.float32))
            block.eliminate_zeros()
            blocks.append(block)
        return _blocks(blocks)


def _fading(fade: float) -> Doubles:
    """Weights of the items before, the last one first, as far as they are heard."""
    return fade ** np.arange(1 + int(np.log(NOTHING) / np.log(fade)), dtype=np.float64)


def _blocks(blocks: list[csr_matrix]) -> csr_matrix:
    from scipy.sparse import hstack

    return hstack(blocks, format="csr")


def _around(
    sequence: Codes,
    at: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.int64],
    step: int,
    weights: Doubles,
    width: int,
) -> csr_matrix:
    """Items after some places of a sequence (`step` 1, the place itself first) or before them
    (-1), weighted by how far they are, up to the user's bound; (len(at), width)."""
    from scipy.sparse import csr_matrix

    far = np.arange(len(weights)) + (step < 0)
    places = at[:, np.newaxis] + step * far
    bound = bounds[at][:, np.newaxis]
    inside = places < bound if step > 0 else places >= bound
    owners = np.repeat(np.arange(len(at)), inside.sum(axis=1))
    values = np.broadcast_to(weights, places.shape)[inside].astype(np.float64)
    return csr_matrix((values, (owners, sequence[places[inside]])), shape=(len(at), width))


def _ridge(gram: Doubles, sides: Doubles, l2: float) -> Floats:
    """(gram + l2 I)^-1 sides, float32; solved in place and double precision."""
    from scipy.linalg import lapack
    from threadpoolctl import threadpool_limits

    gram[np.diag_indices(len(gram))] += l2
    # One thread: the result then does not depend on the number of cores.
    with threadpool_limits(limits=1, user_api="blas"):
        _, solved, failed = lapack.dposv(gram, sides, lower=1, overwrite_a=1, overwrite_b=1)
    if failed:
        raise ValueError(f"sequence_ease: not positive definite with l2={l2:g}")
    return np.ascontiguousarray(solved, dtype=np.float32)

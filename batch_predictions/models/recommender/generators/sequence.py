"""A recurrent network that reads each user's items in the order of time and predicts the next.

An item's vector is the sum of its own and of those of its tags, such as its category and brand,
times the strength of the first interaction with it: less than 1 for what was only viewed. Each item
is read once, so that a state is advanced by what is new to the user.

`kernels/sequence_network.py` trains it in torch; `kernels/gru_states.py` advances a user's state
item by item when scoring, so that no batch, and no day before, changes a bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Floats, Positions
from batch_predictions.models.recommender.base import LinearRecommender
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions, first_interactions
from batch_predictions.models.recommender.data.item_metadata import ItemMetadata
from batch_predictions.models.recommender.data.user_states import UserStates
from batch_predictions.models.recommender.generators.base import Generator

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

HELD_OUT_USERS = 2_000
"""Users whose newest item decides when the training stops, at most a tenth of all."""
MULTIPLICATIONS_PER_SECOND = 12e9
"""Multiplications a second of a training on two cores with AVX2, as measured."""
MAX_EPOCHS = 40
"""Passes over all users at most, where the minutes would allow more."""
MIN_TAG_ITEMS = 3
"""Items that share a tag at least: rarer tags say no more than the item itself."""


@dataclass(frozen=True)
class SequenceParams:
    """Parameters of the generator Sequence.

    Attributes:
        attributes: whether tags of items, where they are known, are part of the items' vectors.
        minutes: of training on two cores, as estimated, so that every machine does as many steps.
        width: length of the vectors of items and of users' states.
        dropout: share of the inputs left out in training.
        length: items of a sequence that the training reads at most.
        batch: sequences of a step.
        negatives: items that the loss compares with where there are many.
        learning_rate: highest of the training.
        seed: of weights, samples and dropout.
    """

    attributes: bool = True
    minutes: float = 6.0
    width: int = 64
    dropout: float = 0.5
    length: int = 50
    batch: int = 64
    negatives: int = 2000
    learning_rate: float = 2e-3
    seed: int = 0


class Sequence(LinearRecommender):
    """Inner products of a recurrent network's state of the user and the vectors of items."""

    kind = "sequence"
    Params = SequenceParams
    reads_attributes = True
    keeps_states = True

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        as_of: date,
        params: SequenceParams | None = None,
        users: pa.Table | None = None,
    ) -> Self:
        """Trains the network on all users' items in the order of time, without attributes.

        Raises:
            ValueError: a parameter is out of range.
        """
        return cls.fit_with_attributes(interactions, as_of, params, users)

    @classmethod
    def fit_with_attributes(
        cls,
        interactions: Interactions,
        as_of: date,
        params: SequenceParams | None = None,
        users: pa.Table | None = None,
        items: pa.Table | None = None,
    ) -> Self:
        """Trains the network on all users' items in the order of time, and on the items' tags.

        Args:
            interactions: at least one row.
            as_of: not used.
            params: None: the defaults.
            users: not used.
            items: item_id and a column per attribute; None: none are known.

        Raises:
            ValueError: a parameter is out of range.
        """
        params = params or SequenceParams()
        if min(params.width, params.length, params.batch, params.negatives) < 1:
            raise ValueError("sequence: width, length, batch and negatives must be positive")
        if not (params.minutes > 0 and params.learning_rate > 0 and 0 <= params.dropout < 1):
            raise ValueError(
                "sequence: minutes and learning_rate must be positive, dropout in [0, 1)"
            )
        from batch_predictions.models.recommender.kernels.sequence_network import (
            SequenceData,
            fit_network,
        )

        rows = first_interactions(interactions)
        indptr = np.searchsorted(
            interactions.users[rows], np.arange(len(interactions.user_ids) + 1)
        )
        strengths = np.minimum(interactions.events[rows], 1.0).astype(np.float32)
        arrays = fit_network(
            SequenceData(
                interactions.items[rows].astype(np.int64),
                indptr,
                _held_out(np.diff(indptr), params.seed),
                None if (strengths == 1).all() else strengths,
            ),
            len(interactions.item_ids),
            _item_tags(items, interactions.item_ids) if params.attributes else None,
            width=params.width,
            dropout=params.dropout,
            length=params.length,
            batch=params.batch,
            negatives=params.negatives,
            rate=params.learning_rate,
            steps=count_steps(len(rows), len(indptr) - 1, len(interactions.item_ids), params),
            seed=params.seed,
        )
        return cls(interactions.item_ids, params, arrays)

    def targets(self) -> Floats:
        """Vectors of items, each with the item's bias, (m, d + 1)."""
        return self._targets

    @cached_property
    def _targets(self) -> Floats:
        return np.column_stack([self.arrays["vectors"], self.arrays["bias"]])

    def queries(self, histories: Histories) -> Floats:
        """Vectors of users after all their items, each with a one, (n, d + 1)."""
        from batch_predictions.models.recommender.kernels.gru_states import project_states

        weights = self.arrays
        states, newest = self._advance(histories)
        last, has_items = np.zeros_like(states.vectors), newest >= 0
        newest = newest[has_items]
        last[has_items] = weights["vectors"][histories.entry_items[newest]]
        last[has_items] *= self._strengths(histories)[newest, np.newaxis]
        projected = np.empty_like(states.vectors)
        project_states(
            states.vectors,
            last,
            weights["projection"],
            weights["projection_bias"],
            weights["scale"],
            weights["shift"],
            projected,
        )
        return np.column_stack([projected, np.ones(histories.users, dtype=np.float32)])

    def user_states(self, histories: Histories) -> UserStates:
        """States after all items; those of an earlier day are advanced where they still hold."""
        return self._advance(histories)[0]

    def _advance(self, histories: Histories) -> tuple[UserStates, Positions]:
        """States after all items, and the entry of each user's newest one, -1 without any, (n,)."""
        from batch_predictions.models.recommender.kernels.gru_states import (
            advance_states,
            digest_first_items,
        )

        users, width = histories.users, self.params.width
        known = histories.states
        if known is None or known.vectors.shape[1] != width:
            known = UserStates(
                0,
                np.zeros(users, np.int64),
                np.zeros((users, width), np.float32),
                np.zeros(users, bool),
            )
        items, ages = histories.entry_items, histories.days_since_first
        times, strengths = histories.first_times, self._strengths(histories)
        digests, earlier, newest = (np.empty(users, dtype=np.int64) for _ in range(3))
        digest_first_items(
            histories.indptr,
            items,
            ages,
            times,
            strengths.view(np.int32),
            known.age,
            digests,
            earlier,
            newest,
        )
        digests += self._digest
        earlier += self._digest
        # What was corrected, erased or weighted anew since gives another digest.
        is_kept = known.is_known & (known.digests == earlier)
        vectors = np.where(is_kept[:, np.newaxis], known.vectors, np.float32(0))
        unread = np.flatnonzero(~is_kept[histories.entry_users] | (ages < known.age))
        order = (items[unread], times[unread], -ages[unread], histories.entry_users[unread])
        unread = unread[np.lexsort(order)]
        weights = self.arrays
        advance_states(
            np.searchsorted(histories.entry_users[unread], np.arange(users + 1)),
            items[unread].astype(np.int64),
            strengths[unread],
            weights["inputs"],
            self._input_bias,
            weights["recurrent"],
            weights["recurrent_bias"],
            vectors,
        )
        return UserStates(0, digests, vectors, np.ones(users, dtype=bool)), newest

    @cached_property
    def _digest(self) -> np.int64:
        """A hash of the weights, so that no network reads another's states."""
        weights = (self.arrays[name].tobytes() for name in ("inputs", "recurrent"))
        return np.frombuffer(sha256(b"".join(weights)).digest(), dtype=np.int64)[0]

    @property
    def _input_bias(self) -> Floats:
        """Biases of the items' parts of the gates; zeros where all strengths are 1, (3 d,)."""
        bias = self.arrays.get("input_bias")
        return np.zeros(3 * self.params.width, np.float32) if bias is None else np.asarray(bias)

    def _strengths(self, histories: Histories) -> Floats:
        """Strength of every entry's first interaction, (e,)."""
        if "input_bias" not in self.arrays:
            # The model was trained before strengths were read.
            return np.ones(len(histories.entry_items), dtype=np.float32)
        events = histories.events[histories.oldest_rows]
        return np.minimum(events, 1.0).astype(np.float32)

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """Finds the history's item whose vector is most similar to each pick's, (n, k)."""
        from batch_predictions.models.recommender.kernels.gru_states import most_similar_items

        contributors = np.empty(picks.shape, dtype=np.int64)
        most_similar_items(
            histories.indptr,
            histories.entry_items.astype(np.int64),
            np.asarray(self.arrays["vectors"]),
            picks,
            contributors,
        )
        return contributors


def count_steps(events: int, users: int, items: int, params: SequenceParams) -> int:
    """Steps of training that take the minutes of the parameters, at most `MAX_EPOCHS` epochs.

    Args:
        events: items of all users' sequences.
        users: number of users.
        items: number of items.
        params: minutes, and sizes of the network and of a step.
    """
    length = min(max(events / max(users, 1), 2), params.length)
    compared = min(items, params.negatives)
    unit = 7 * params.width * params.width
    # Forwards, and twice as much backwards; the optimiser touches every vector.
    multiplications = 3 * params.batch * length * (unit + compared * params.width)
    multiplications += 10 * items * params.width
    steps = 60 * params.minutes * MULTIPLICATIONS_PER_SECOND / multiplications
    epoch = max(1, users / params.batch)
    return max(1, round(min(steps, MAX_EPOCHS * epoch)))


def _item_tags(table: pa.Table | None, items: pa.StringArray) -> csr_matrix | None:
    """Tags of all kinds that several items share, items x tags; None where there are none.

    Args:
        table: item_id and a column per attribute; None: none are known.
        items: ids, (m,).
    """
    from scipy.sparse import hstack

    kinds = {} if table is None else ItemMetadata.from_table(table, items).tags
    if not kinds:
        return None
    tags = hstack([kinds[kind] for kind in sorted(kinds)], format="csc")
    tags = tags[:, np.flatnonzero(np.diff(tags.indptr) >= MIN_TAG_ITEMS)].tocsr()
    return tags if tags.nnz else None


def _held_out(lengths: Positions, seed: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Chooses users with three items or more whose newest one decides when to stop."""
    usable = np.flatnonzero(lengths > 2)
    number = min(HELD_OUT_USERS, len(lengths) // 10, len(usable))
    is_held_out = np.zeros(len(lengths), dtype=bool)
    is_held_out[np.random.default_rng(seed).choice(usable, number, replace=False)] = True
    return is_held_out


sequence = Generator(
    "sequence",
    Sequence,
    "similar",
    requires=("new_items", "times"),
    min_rows=50_000,
    must_gain=True,
    order=85,
)

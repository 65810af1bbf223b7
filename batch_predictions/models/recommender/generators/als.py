"""Implicit-feedback matrix factorisation (ALS), served by fold-in.

Hu, Koren and Volinsky (2008), "Collaborative Filtering for Implicit Feedback Datasets": confidence
c = 1 + alpha log(1 + events) that a user prefers an item of its history, c = 1 for all others.
Trained by the `implicit` library; only the item factors are kept. A user's vector solves

    (Y'Y + Y'(C - I)Y + reg I) x = Y'C p

for the history known when scoring.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Doubles, Floats, Positions
from batch_predictions.models.recommender.base import LinearRecommender
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Codes, Interactions
from batch_predictions.models.recommender.generators.base import Generator

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BATCH_USERS = 256
"""Users whose systems are held at once: 256 x 64 x 64 doubles are 8 MiB."""
THREADS = 2
"""implicit solves each row by itself and BLAS has one thread: the bytes do not depend on it."""


@dataclass(frozen=True)
class ALSParams:
    """Parameters of the generator ALS.

    Attributes:
        factors: length of the vectors; cut to the number of users and items.
        iterations: passes over users and items.
        regularization: ridge strength.
        alpha: weight of an event in the confidence.
        history_half_life_days: half-life of events, here and in histories; None: all count alike.
        seed: of the initial factors.
    """

    factors: int = 64
    iterations: int = 15
    regularization: float = 1.0
    alpha: float = 10.0
    history_half_life_days: float | None = None
    seed: int = 0


class ALS(LinearRecommender):
    """Item factors (float32) and their Gram matrix (float64), which fold-in needs."""

    kind = "als"
    Params = ALSParams

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        as_of: date,
        params: ALSParams | None = None,
        users: pa.Table | None = None,
    ) -> Self:
        """Fits item and user factors by alternating least squares over all users and items.

        Raises:
            ValueError: a parameter that must be positive is not.
        """
        params = params or ALSParams()
        if params.factors < 1 or params.iterations < 1:
            raise ValueError("als: factors and iterations must be positive")
        if not params.regularization > 0 or not params.alpha > 0:
            raise ValueError("als: regularization and alpha must be positive")
        size = min(params.factors, len(interactions.user_ids), len(interactions.item_ids))
        params = replace(params, factors=size)
        decayed = interactions.with_decayed_events(params.history_half_life_days, as_of)
        item_factors = _train(_confidence(decayed.matrix(), params.alpha), params)
        double = item_factors.astype(np.float64)
        # einsum adds in a fixed order on any number of cores; BLAS need not.
        gram = np.einsum("if,ig->fg", double, double)
        arrays = {"item_factors": item_factors, "gram": gram}
        return cls(interactions.item_ids, params, arrays)

    def queries(self, histories: Histories) -> Floats:
        """Folded-in user factors, (n, factors); zeros for an empty history."""
        from batch_predictions.models.recommender.kernels.products import fold_in

        confidence = self._confidence(histories)
        queries = np.empty((histories.users, len(self._ridge)), dtype=np.float32)
        fold_in(
            confidence.indptr,
            confidence.indices,
            confidence.data,
            np.asarray(self.targets()),
            self._ridge,
            queries,
        )
        return queries

    def targets(self) -> Floats:
        """Item factors, (m, factors)."""
        return self.arrays["item_factors"]

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """Finds the history item with the largest part of each pick's score, (n, k).

        Exact for the fold-in: item j adds c_j y_i' A^-1 y_j to the score of i (section 5).
        """
        contributors = np.full(picks.shape, -1, dtype=np.int64)
        for start, batch in self._batches(histories):
            systems = self._systems(batch)
            batch_picks = picks[start : start + len(systems)]
            # A pick of -1 solves for item 0, and its result is not used.
            vectors = self.targets()[np.maximum(batch_picks, 0)].astype(np.float64)
            solved = np.linalg.solve(systems, vectors.transpose(0, 2, 1))
            for user in range(len(systems)):
                items, confidences, item_vectors = self._history_of(batch, user)
                if len(items) == 0:
                    continue
                parts = (item_vectors @ solved[user]) * confidences[:, np.newaxis]
                best = parts.argmax(axis=0)
                largest = np.take_along_axis(parts, best[np.newaxis], 0)[0]
                is_positive = (largest > 0) & (batch_picks[user] >= 0)
                contributors[start + user, is_positive] = items[best[is_positive]]
        return contributors

    def _confidence(self, histories: Histories) -> csr_matrix:
        self._check_width(histories)
        matrix = histories.matrix(self.params.history_half_life_days)
        return _confidence(matrix, self.params.alpha)

    def _batches(self, histories: Histories) -> Iterator[tuple[int, csr_matrix]]:
        confidence = self._confidence(histories)
        for start in range(0, histories.users, BATCH_USERS):
            yield start, confidence[start : start + BATCH_USERS]

    def _history_of(self, confidence: csr_matrix, user: int) -> tuple[Codes, Doubles, Doubles]:
        """Positions (h,), confidences (h,) and vectors (h, f) of one user's items."""
        span = slice(confidence.indptr[user], confidence.indptr[user + 1])
        items = confidence.indices[span]
        vectors = self.targets()[items].astype(np.float64)
        return items, confidence.data[span].astype(np.float64), vectors

    @cached_property
    def _ridge(self) -> Doubles:
        """Part of the fold-in's systems that all users share: Y'Y + regularization I, (f, f)."""
        gram = self.arrays["gram"]
        return np.asarray(gram + self.params.regularization * np.eye(len(gram)))

    def _systems(self, confidence: csr_matrix) -> Doubles:
        """Builds the left sides of the fold-in's least squares problems, (n, f, f).

        Built user by user, so that sums do not depend on the other users of the batch.
        """
        from batch_predictions.models.recommender.kernels.products import fold_in_systems

        systems = np.empty((confidence.shape[0], *self._ridge.shape))
        fold_in_systems(
            confidence.indptr,
            confidence.indices,
            confidence.data,
            np.asarray(self.targets()),
            self._ridge,
            systems,
        )
        return systems


def _confidence(histories: csr_matrix, alpha: float) -> csr_matrix:
    result = histories.astype(np.float32, copy=True)
    result.data = np.float32(1.0) + np.float32(alpha) * np.log1p(result.data)
    return result


def _train(confidence: csr_matrix, params: ALSParams) -> Floats:
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        model = AlternatingLeastSquares(
            factors=params.factors,
            regularization=params.regularization,
            alpha=1.0,  # The confidence is already in the matrix.
            iterations=params.iterations,
            num_threads=THREADS,
            random_state=params.seed,
        )
        model.fit(confidence, show_progress=False)
    return np.asarray(model.item_factors, dtype=np.float32)


als = Generator(
    "als",
    ALS,
    "similar",
    params_for_new_items=ALSParams(regularization=60.0, alpha=10.0),
    params_for_repeats=ALSParams(regularization=20.0, alpha=0.3, history_half_life_days=90),
    # Rendle et al. (2022), "Revisiting the Performance of iALS": these two decide.
    scales={
        "alpha": (10.0, 40.0, 150.0),
        "regularization": (6.0, 20.0, 60.0, 200.0, 600.0),
    },
    order=10,
)

"""Implicit-feedback matrix factorisation, served by fold-in.

Hu, Koren and Volinsky (2008), "Collaborative Filtering for Implicit Feedback Datasets": confidence
c = 1 + alpha log(1 + events) that a user wants what it took, c = 1 for everything else. Trained by
the `implicit` library; only the item factors are kept. A user's vector solves

    (Y'Y + Y'(C - I)Y + reg I) x = Y'C p

for the history known when scoring.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from batch_predictions.models.recommender.base import Floats, Linear, Positions
from batch_predictions.models.recommender.data.interactions import Codes, Doubles, Interactions

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BATCH = 256
"""Users whose systems are solved at once: 256 x 64 x 64 doubles are 8 MiB."""


class ALS(Linear):
    """Item factors (float32) and their Gram matrix (float64, so that fold-in need not redo it)."""

    kind = "als"

    @classmethod
    def fit(cls, interactions: Interactions, as_of: date, **params: Any) -> Self:
        """Parameters: factors, iterations, regularization, alpha, seed, threads, and
        history_half_life_days, which weighs events by age here and in the histories scored.

        `factors` is cut to the number of users and items. implicit solves each row by itself and
        BLAS is held to one thread, so the bytes do not depend on `threads`.
        """
        factors = int(params.pop("factors", 64))
        iterations = int(params.pop("iterations", 15))
        regularization = float(params.pop("regularization", 1.0))
        alpha = float(params.pop("alpha", 10.0))
        seed = int(params.pop("seed", 0))
        threads = int(params.pop("threads", 2))
        half_life_days: float | None = params.pop("history_half_life_days", None)
        if params:
            raise TypeError(f"als: unknown parameters {sorted(params)}")
        if factors < 1 or iterations < 1 or not regularization > 0 or not alpha > 0:
            raise ValueError("als: factors, iterations, regularization, alpha must be positive")
        factors = min(factors, len(interactions.user_ids), len(interactions.item_ids))
        item_factors = _train(
            _confidence(interactions.decayed(half_life_days, as_of).matrix(), alpha),
            factors=factors,
            iterations=iterations,
            regularization=regularization,
            seed=seed,
            threads=threads,
        )
        double = item_factors.astype(np.float64)
        return cls(
            "als",
            interactions.item_ids,
            {
                "factors": factors,
                "iterations": iterations,
                "regularization": regularization,
                "alpha": alpha,
                "seed": seed,
                "history_half_life_days": half_life_days,
            },
            # einsum adds in a fixed order on any number of cores; BLAS need not.
            {"item_factors": item_factors, "gram": np.einsum("if,ig->fg", double, double)},
        )

    def queries(self, histories: csr_matrix) -> Floats:
        """Folded-in user factors, (n, factors); zeros for an empty history."""
        self._check(histories)
        queries = np.zeros((histories.shape[0], self.arrays["gram"].shape[0]), dtype=np.float32)
        for start, batch in self._batches(histories):
            systems, sides = self._systems(batch)
            solved = np.linalg.solve(systems, sides[:, :, np.newaxis])[:, :, 0]
            queries[start : start + len(solved)] = solved
        return queries

    def targets(self) -> Floats:
        """Item factors, (len(items), factors)."""
        return self.arrays["item_factors"]

    def causes(self, histories: csr_matrix, picks: Positions) -> Positions:
        """Exact for the fold-in: item j adds c_j y_i' A^-1 y_j to the score of i (section 5 of
        the paper); the largest part wins."""
        self._check(histories)
        because = np.full(picks.shape, -1, dtype=np.int64)
        for start, batch in self._batches(histories):
            systems, _ = self._systems(batch)
            wanted = picks[start : start + len(systems)]
            # A pick of -1 solves for item 0 and is not looked at again.
            seeds = self.targets()[np.maximum(wanted, 0)].astype(np.float64)
            solved = np.linalg.solve(systems, seeds.transpose(0, 2, 1))
            for user in range(len(systems)):
                items, confidences, vectors = self._known(batch, user)
                if len(items) == 0:
                    continue
                parts = (vectors @ solved[user]) * confidences[:, np.newaxis]
                best = parts.argmax(axis=0)
                positive = (np.take_along_axis(parts, best[np.newaxis], 0)[0] > 0) & (
                    wanted[user] >= 0
                )
                because[start + user, positive] = items[best[positive]]
        return because

    def _batches(self, histories: csr_matrix) -> Iterator[tuple[int, csr_matrix]]:
        confidence = _confidence(histories, self.params["alpha"])
        for start in range(0, histories.shape[0], BATCH):
            yield start, confidence[start : start + BATCH]

    def _known(self, confidence: csr_matrix, user: int) -> tuple[Codes, Doubles, Doubles]:
        """Positions (h,), confidences (h,) and vectors (h, f) of one user's items."""
        span = slice(confidence.indptr[user], confidence.indptr[user + 1])
        items = confidence.indices[span]
        vectors = self.targets()[items].astype(np.float64)
        return items, confidence.data[span].astype(np.float64), vectors

    def _systems(self, confidence: csr_matrix) -> tuple[Doubles, Doubles]:
        """Left sides A (n, f, f) and right sides b (n, f) of the fold-in.

        User by user, so that the sums do not depend on who else is in the batch.
        """
        ridge = self.arrays["gram"] + self.params["regularization"] * np.eye(
            self.arrays["gram"].shape[0]
        )
        systems = np.repeat(ridge[np.newaxis], confidence.shape[0], axis=0)
        sides = np.zeros((confidence.shape[0], ridge.shape[0]))
        for user in range(confidence.shape[0]):
            items, confidences, vectors = self._known(confidence, user)
            if len(items):
                systems[user] += vectors.T @ (vectors * (confidences - 1.0)[:, np.newaxis])
                sides[user] = confidences @ vectors
        return systems, sides


def _confidence(histories: csr_matrix, alpha: float) -> csr_matrix:
    result = histories.astype(np.float32, copy=True)
    result.data = np.float32(1.0) + np.float32(alpha) * np.log1p(result.data)
    return result


def _train(
    confidence: csr_matrix,
    *,
    factors: int,
    iterations: int,
    regularization: float,
    seed: int,
    threads: int,
) -> Floats:
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        model = AlternatingLeastSquares(
            factors=factors,
            regularization=regularization,
            alpha=1.0,  # the confidence is already in the matrix
            iterations=iterations,
            num_threads=threads,
            random_state=seed,
        )
        model.fit(confidence, show_progress=False)
    return np.asarray(model.item_factors, dtype=np.float32)

"""An index of items for exact search, with candidates from a GPU where one is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Floats, Positions
from batch_predictions.models.common.topk.exact import search_exactly
from batch_predictions.models.common.topk.gpu import GPUCandidates
from batch_predictions.models.common.topk.item_blocks import ItemBlocks, Kind

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class CandidateSource(Protocol):
    """Finds and scores candidates, and proves for which queries these contain the k best."""

    def search(
        self,
        queries: Floats,
        k: int,
        seen: csr_matrix | None,
        positions: Positions,
        scores: Floats,
    ) -> npt.NDArray[np.int64]:
        """Writes the lists of the queries; returns the rows whose lists lack a proof.

        Args:
            queries: vectors of the users, (n, f).
            k: length of the lists.
            seen: items that are left out, n x m; None: none.
            positions: receives item positions, best first, (n, k).
            scores: receives the inner products, (n, k).
        """
        ...


class Index:
    """Items that are prepared once for any number of searches; immutable.

    Args:
        targets: (m, f) float32; kept, not copied.
        blocked: (m,) true for targets that no list may have.
        kind: arithmetic of the products; None: the faster one on this CPU.
        device: `cpu`, or a torch device that finds candidates, which the CPU then scores.
        block_mb: memory of one block of products on a GPU, MiB; the CPU's blocks take 2.
    """

    def __init__(
        self,
        targets: Floats,
        *,
        blocked: npt.NDArray[np.bool_] | None = None,
        kind: Kind | None = None,
        device: str = "cpu",
        block_mb: int = 256,
    ) -> None:
        self.items = ItemBlocks(targets, blocked, kind)
        self.candidate_source: CandidateSource | None = None
        if device != "cpu":
            self.candidate_source = GPUCandidates(
                self.items.targets, self.items.order, device, block_mb
            )

    def search(
        self,
        queries: Floats,
        k: int,
        *,
        seen: csr_matrix | None = None,
        threads: int | None = None,
    ) -> tuple[Positions, Floats]:
        """Finds the k targets of the largest inner product for every query, best first.

        Scores are summed in float64 and equal ones sorted by position, so that a list depends
        neither on the batch of its query nor on the device.

        Args:
            queries: (n, f).
            k: length of the lists.
            seen: (n, m) sparse; targets of stored entries are left out of the lists.
            threads: number of threads; None: as many as torch uses.

        Returns:
            Positions (n, k), filled with -1, and scores (n, k), filled with -inf.

        Raises:
            ValueError: shapes differ, or a query has a value that is not finite.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        n, (m, f) = len(queries), self.items.targets.shape
        # Compiled code does not check bounds.
        if queries.ndim != 2 or queries.shape[1] != f:
            raise ValueError(f"top-k: queries have shape {queries.shape}, targets {f} columns")
        if seen is not None and seen.shape != (n, m):
            raise ValueError(f"top-k: `seen` has shape {seen.shape}, not ({n}, {m})")
        positions = np.full((n, k), -1, dtype=np.int64)
        scores = np.full((n, k), -np.inf, dtype=np.float32)
        length = min(k, len(self.items.order))
        if not n or not length:
            return positions, scores
        if self.candidate_source is None:
            lists = search_exactly(self.items, queries, length, seen, threads)
            positions[:, :length], scores[:, :length] = lists
            return positions, scores
        seen = seen.tocsr() if seen is not None else None
        unproved = self.candidate_source.search(queries, length, seen, positions, scores)
        if len(unproved):
            unproved_seen = seen[unproved] if seen is not None else None
            lists = search_exactly(self.items, queries[unproved], length, unproved_seen, threads)
            positions[unproved, :length], scores[unproved, :length] = lists
        return positions, scores

"""The exact search on the CPU: batches of 256 users by blocks of 2,048 items, in threads.

Products are computed in int8 where the CPU has VNNI (four times the speed of float32), else in
float32. Items that the bound of the rounding error does not exclude from the k best are candidates;
a few hundred per user are scored from the float32 vectors in float64. So the lists are equal to the
bit for both arithmetics.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Floats, Int32s, Positions
from batch_predictions.models.common.topk.item_blocks import (
    BLOCK_ITEMS,
    BLOCK_USERS,
    ItemBlocks,
    upper_norms,
)
from batch_predictions.models.common.torch_cpu import one_torch_thread

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def search_exactly(
    items: ItemBlocks,
    queries: Floats,
    k: int,
    seen: csr_matrix | None = None,
    threads: int | None = None,
) -> tuple[Positions, Floats]:
    """Finds the k targets of the largest inner product for every query, best first.

    Args:
        items: the targets.
        queries: (n, f) float32, C-contiguous.
        k: length of the lists, at most the number of items that are not blocked.
        seen: (n, m) sparse; targets of stored entries are left out of the lists.
        threads: number of threads; None: as many as torch uses.

    Returns:
        Positions (n, k), filled with -1, and scores (n, k), filled with -inf.
    """
    n = len(queries)
    positions = np.full((n, k), -1, dtype=np.int64)
    scores = np.full((n, k), -np.inf, dtype=np.float32)
    search = _Search(items, queries, k, seen, positions, scores)
    starts = range(0, n, BLOCK_USERS)
    with one_torch_thread() as torch_threads:
        threads = min(threads or torch_threads, len(starts))
        if threads < 2:
            buffers = SearchBuffers(items, k)
            for start in starts:
                search.run_batch(start, buffers)
        else:
            _run_in_threads(search.run_batch, starts, threads, lambda: SearchBuffers(items, k))
    return positions, scores


class SearchBuffers:
    """Arrays that one thread reuses for all its batches."""

    def __init__(self, items: ItemBlocks, k: int) -> None:
        import torch

        is_int8 = items.kind == "int8"
        f = items.targets.shape[1] if items.rotation is None else items.rotation.shape[1]
        self.product = torch.empty(
            (BLOCK_USERS, BLOCK_ITEMS), dtype=torch.int32 if is_int8 else torch.float32
        )
        self.array = self.product.numpy()
        self.excluded_value = np.int32(-(2**31)) if is_int8 else np.float32(-np.inf)
        self.codes = np.empty((BLOCK_USERS, f), dtype=np.int8 if is_int8 else np.float32)
        capacity = max(4 * k, k + 128)
        self.floors = np.empty(BLOCK_USERS)
        self.counts = np.empty(BLOCK_USERS, dtype=np.int64)
        self.lower = np.empty((BLOCK_USERS, capacity))
        self.upper = np.empty((BLOCK_USERS, capacity))
        self.candidates = np.empty((BLOCK_USERS, capacity), dtype=np.int32)
        self.heap = np.empty(capacity), np.empty(capacity, dtype=np.int64)
        self.is_seen = np.zeros(len(items.targets), dtype=np.bool_)
        # At least 2 k slots: with fewer, the initial floor is far below the k-th best.
        slots = 1 << (2 * k - 1).bit_length()
        self.no_maxima = np.empty(0, dtype=self.array.dtype)
        has_initial_floor = slots <= BLOCK_ITEMS and len(items.order) >= k
        self.maxima = (
            np.empty(slots, dtype=self.array.dtype) if has_initial_floor else self.no_maxima
        )


class _Search:
    """One call of `search_exactly`; its batches of users are independent."""

    def __init__(
        self,
        items: ItemBlocks,
        queries: Floats,
        k: int,
        seen: csr_matrix | None,
        positions: Positions,
        scores: Floats,
    ) -> None:
        self.items, self.queries, self.k = items, queries, k
        self.norms = upper_norms(queries, "queries")
        self.seen = seen.tocsr() if seen is not None else None
        self.positions, self.scores = positions, scores

    def run_batch(self, start: int, buffers: SearchBuffers) -> None:
        """Searches for up to 256 users, beginning with row `start`."""
        import torch

        from batch_predictions.models.common.topk import kernels, vectors

        items, k = self.items, self.k
        queries = self.queries[start : start + BLOCK_USERS]
        norms = self.norms[start : start + BLOCK_USERS]
        n = len(queries)
        codes = buffers.codes[:n]
        scales, errors = np.ones(n), np.zeros(n)
        if items.rotation is not None:
            vectors.quantise(queries @ items.rotation, codes, scales, errors, 0.0)
        else:
            codes[:] = queries
        positions, scores = self.positions[start : start + n], self.scores[start : start + n]
        active = np.flatnonzero(norms > 0).astype(np.int64)
        pointers, seen_users, seen_columns = self._group_seen_by_block(start, n)
        if len(active) < n:
            self._fill_equal_scores(start, np.flatnonzero(norms == 0), positions, scores, buffers)
            codes[: len(active)] = codes[active]
        buffers.floors[:], buffers.counts[:] = -np.inf, 0
        row_of = np.full(n, -1, dtype=np.int64)
        row_of[active] = np.arange(len(active))
        users = scales, norms, errors
        lists = (
            buffers.floors, buffers.counts, buffers.lower, buffers.upper, buffers.candidates
        )  # fmt: skip
        exact = (k, queries, items.targets, items.order, items.rank_of, *buffers.heap)
        filters = pointers, seen_users, seen_columns, row_of
        remaining = len(active)
        multiply = torch._int_mm if items.kind == "int8" else torch.mm
        maxima = buffers.maxima
        for number, block in enumerate(items.blocks):
            if not remaining:
                break
            user_codes = torch.from_numpy(codes[:remaining])
            multiply(user_codes, block.codes.T, out=buffers.product[:remaining])
            remaining = kernels.scan(
                buffers.array[:remaining],
                codes,
                buffers.excluded_value,
                (
                    block.low, block.width, number, block.scale, block.norm, block.rounding_error,
                    items.arithmetic_error, float(items.suffix_max_norm[number]),
                ),
                active[:remaining],
                users,
                lists,
                exact,
                filters,
                maxima,
            )  # fmt: skip
            maxima = buffers.no_maxima
        kernels.finish(lists, exact, positions, scores)

    def _group_seen_by_block(self, start: int, n: int) -> tuple[Positions, Int32s, Int32s]:
        """The batch's seen items by block: pointers (blocks + 1), users and columns."""
        from batch_predictions.models.common.topk import topk_candidates

        pointers = np.zeros(len(self.items.blocks) + 1, dtype=np.int64)
        if self.seen is None:
            empty = np.empty(0, dtype=np.int32)
            return pointers, empty, empty
        indptr = self.seen.indptr[start : start + n + 1]
        users = np.empty(indptr[-1] - indptr[0], dtype=np.int32)
        columns = np.empty(len(users), dtype=np.int32)
        topk_candidates.group_seen_by_block(
            indptr, self.seen.indices, self.items.rank_of, BLOCK_ITEMS, pointers, users, columns
        )
        return pointers, users, columns

    def _fill_equal_scores(
        self,
        start: int,
        rows: npt.NDArray[np.int64],
        positions: Positions,
        scores: Floats,
        buffers: SearchBuffers,
    ) -> None:
        """Writes the lists of users with a zero vector: scores of 0, the lowest positions."""
        from batch_predictions.models.common.topk import topk_candidates

        items = self.items
        seen = np.empty(0, dtype=np.int32)
        for row in rows:
            if self.seen is not None:
                low, high = self.seen.indptr[start + row], self.seen.indptr[start + row + 1]
                seen = self.seen.indices[low:high]
            length = topk_candidates.first_allowed_positions(
                self.k, items.rank_of, seen, buffers.is_seen, positions[row]
            )
            scores[row, :length] = 0.0


def _run_in_threads(
    run_batch: Callable[[int, SearchBuffers], None],
    starts: range,
    threads: int,
    make_buffers: Callable[[], SearchBuffers],
) -> None:
    """Distributes batches over threads; raises the first error when all threads have ended."""
    import torch

    remaining = iter(starts)

    def run_batches() -> None:
        torch.set_num_threads(1)
        buffers = make_buffers()
        for start in remaining:  # Threads share the iterator; `next` on a range is atomic.
            run_batch(start, buffers)

    with ThreadPoolExecutor(threads, thread_name_prefix="top-k") as pool:
        for future in [pool.submit(run_batches) for _ in range(threads)]:
            future.result()

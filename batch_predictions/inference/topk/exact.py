"""One search of an index: batches of users through its blocks of items, in threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from batch_predictions.inference.topk.arrays import Floats, Positions, norms_of

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from batch_predictions.inference.topk.index import Index

USERS = 256
WIDTH = 2048
"""Users and items of one block: 2 MiB of products, which stay in the processor's caches."""


class SearchBuffers:
    """Buffers of one thread."""

    def __init__(self, index: Index, k: int) -> None:
        import torch

        whole = index.kind == "int8"
        f = index.targets.shape[1] if index.rotation is None else index.rotation.shape[1]
        self.product = torch.empty((USERS, WIDTH), dtype=torch.int32 if whole else torch.float32)
        self.array = self.product.numpy()
        self.banned = np.int32(-(2**31)) if whole else np.float32(-np.inf)
        self.codes = np.empty((USERS, f), dtype=np.int8 if whole else np.float32)
        room = max(4 * k, k + 128)
        self.floors = np.empty(USERS)
        self.counts = np.empty(USERS, dtype=np.int64)
        self.lower, self.upper = np.empty((USERS, room)), np.empty((USERS, room))
        self.found = np.empty((USERS, room), dtype=np.int32)
        self.room = np.empty(room), np.empty(room, dtype=np.int64)
        self.used = np.zeros(int(index.categories.max()) + 2, dtype=np.int64)
        self.taken = np.zeros(len(index.targets), dtype=np.bool_)
        # Slots for the first floor: at least twice k, so that it is near the k-th best.
        slots = 1 << (2 * k - 1).bit_length()
        none = np.empty(0, dtype=self.array.dtype)
        self.maxima = np.empty(slots, dtype=self.array.dtype) if slots <= WIDTH else none
        if index.cap or len(index.order) < k:
            self.maxima = none
        self.none = none


class Search:
    """One call of `Index.search`; batches of users are independent of each other."""

    def __init__(
        self,
        index: Index,
        queries: Floats,
        k: int,
        seen: csr_matrix | None,
        positions: Positions,
        scores: Floats,
    ) -> None:
        self.index, self.queries, self.k = index, queries, k
        self.norms = norms_of(queries, "queries")
        self.seen = seen.tocsr() if seen is not None else None
        self.positions, self.scores = positions, scores

    def batch(self, start: int, at: SearchBuffers) -> None:
        """Searches for up to 256 users."""
        import torch

        from batch_predictions.inference.topk import kernels, vectors

        index, k = self.index, self.k
        queries = self.queries[start : start + USERS]
        norms = self.norms[start : start + USERS]
        n = len(queries)
        codes = at.codes[:n]
        scales, errors = np.ones(n), np.zeros(n)
        if index.rotation is not None:
            vectors.quantise(queries @ index.rotation, codes, scales, errors, 0.0)
        else:
            codes[:] = queries
        positions, scores = self.positions[start : start + n], self.scores[start : start + n]
        active = np.flatnonzero(norms > 0).astype(np.int64)
        pointers, seen_users, seen_columns = self._seen(start, n)
        if len(active) < n:
            self._without_scores(start, np.flatnonzero(norms == 0), positions, scores, at)
            codes[: len(active)] = codes[active]
        at.floors[:], at.counts[:] = -np.inf, 0
        row_of = np.full(n, -1, dtype=np.int64)
        row_of[active] = np.arange(len(active))
        users = scales, norms, errors
        lists = at.floors, at.counts, at.lower, at.upper, at.found
        exact = (k, queries, index.targets, index.order, index.rank_of, *at.room)
        filters = (
            pointers, seen_users, seen_columns, row_of, index.categories, index.cap, at.used
        )  # fmt: skip
        left = len(active)
        multiply = torch._int_mm if index.kind == "int8" else torch.mm
        maxima = at.maxima
        for number, block in enumerate(index.blocks):
            if not left:
                break
            multiply(torch.from_numpy(codes[:left]), block.codes.T, out=at.product[:left])
            left = kernels.scan(
                at.array[:left],
                codes,
                at.banned,
                (
                    block.low, block.width, number, block.scale, block.norm, block.lost,
                    index.arithmetic, float(index.later[number]),
                ),
                active[:left],
                users,
                lists,
                exact,
                filters,
                maxima,
            )  # fmt: skip
            maxima = at.none
        kernels.finish(lists, exact, (index.categories, index.cap, at.used), positions, scores)

    def _seen(self, start: int, n: int) -> tuple[npt.NDArray[Any], ...]:
        """The batch's seen items by block: pointers (blocks + 1), users and columns."""
        from batch_predictions.inference.topk import candidates

        pointers = np.zeros(len(self.index.blocks) + 1, dtype=np.int64)
        if self.seen is None:
            none = np.empty(0, dtype=np.int32)
            return pointers, none, none
        indptr = self.seen.indptr[start : start + n + 1]
        users = np.empty(indptr[-1] - indptr[0], dtype=np.int32)
        columns = np.empty(len(users), dtype=np.int32)
        candidates.seen_by_block(
            indptr, self.seen.indices, self.index.rank_of, WIDTH, pointers, users, columns
        )
        return pointers, users, columns

    def _without_scores(
        self,
        start: int,
        rows: npt.NDArray[np.int64],
        positions: Positions,
        scores: Floats,
        at: SearchBuffers,
    ) -> None:
        """Users with a vector of zeros: all scores are equal, the first positions win."""
        from batch_predictions.inference.topk import candidates

        index = self.index
        own = np.empty(0, dtype=np.int32)
        for row in rows:
            if self.seen is not None:
                low, high = self.seen.indptr[start + row], self.seen.indptr[start + row + 1]
                own = self.seen.indices[low:high]
            kept = candidates.first_allowed(
                self.k, index.rank_of, own, at.taken, index.categories, index.cap, at.used,
                positions[row],
            )  # fmt: skip
            scores[row, :kept] = 0.0


def in_threads(
    work: Callable[[int, SearchBuffers], None],
    starts: range,
    threads: int,
    workplace: Callable[[], SearchBuffers],
) -> None:
    """Deals batches onto threads; the first error is raised when all have ended."""
    import torch

    waiting = iter(starts)

    def worker() -> None:
        torch.set_num_threads(1)
        at = workplace()
        for start in waiting:  # One step of an iterator over a range is atomic.
            work(start, at)

    with ThreadPoolExecutor(threads, thread_name_prefix="top-k") as pool:
        for each in [pool.submit(worker) for _ in range(threads)]:
            each.result()

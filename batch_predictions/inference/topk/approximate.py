"""Candidates found by faiss in the cells nearest to a user: for catalogues past a million items.

The largest inner products are the nearest neighbours once every item has one coordinate more that
makes all norms equal (Bachrach et al. 2014, "Speeding up the Xbox recommender system"). k-means
parts the items into some 4 sqrt(m) cells; for a user those whose centres are nearest are searched,
found by the exact top-k over the centres. What is found is scored exactly like everything else, so
a list's scores are those of the exact answer; only an item may be missing from it. A user for whom
too few are found is left to the exact search: no list is short.

Everything depends on the user and the items alone: neither on the batch nor on threads.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from batch_predictions.inference.topk.arrays import Floats, Positions, norms_of

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from batch_predictions.inference.topk.index import Index

SPARE = 16
"""Candidates beyond k and what was seen: faiss orders by sums in float32."""

MOST = 4096
"""Candidates looked for; whoever has seen more is searched for exactly."""

POINTS, ROUNDS = 40, 10
"""Items of a cell that k-means learns from, and its rounds."""

CHUNK = 65_536


@dataclass(frozen=True, eq=False)
class _Cells:
    """The items in cells: faiss's lists of ranks, and the exact index over the cells' centres."""

    lists: Any
    centres: Index
    largest: float


class InCells:
    """Items in cells of which a user's nearest are searched.

    Args:
        targets: (m, f).
        order: positions that may be found, by rank.
        rank_of: rank by position, -1 for what nobody is to find.
        categories: by position; with `cap`.
        cap: at most so many of one category in a list; 0: no cap.
        searched: cells that are searched for a user.
        block_mb: memory that the candidates of one batch of users may take, MiB.
    """

    def __init__(
        self,
        targets: Floats,
        order: npt.NDArray[np.int32],
        rank_of: npt.NDArray[np.int32],
        categories: npt.NDArray[np.int32],
        cap: int,
        searched: int,
        block_mb: int = 256,
    ) -> None:
        self.targets, self.order, self.rank_of = targets, order, rank_of
        self.categories, self.cap = categories, cap
        self.block_bytes = block_mb * 2**20
        self.cells = _cells(targets, order, searched)

    def search(
        self,
        queries: Floats,
        k: int,
        seen: csr_matrix | None,
        positions: Positions,
        scores: Floats,
        threads: int | None = None,
    ) -> npt.NDArray[np.int64]:
        """Writes lists of at most k; returns the rows that need the exact way."""
        norms = norms_of(queries, "queries")
        own = np.zeros(len(queries), dtype=np.int64) if seen is None else np.diff(seen.indptr)
        # By a power of two, so that a user's candidates do not depend on who stands beside it.
        wanted = (4 if self.cap else 1) * k + SPARE + own
        depth = 2 ** np.ceil(np.log2(wanted)).astype(np.int64)
        able = (norms > 0) & (depth <= MOST)
        for each in np.unique(depth[able]):
            rows = np.flatnonzero(able & (depth == each))
            size = int(np.clip(self.block_bytes // (64 * each), 1, 1024))
            for low in range(0, len(rows), size):
                some = rows[low : low + size]
                unit = (queries[some] / norms[some, np.newaxis]).astype(np.float32)
                ranks = self._candidates(unit, int(each), threads)
                positions[some], scores[some] = self._lists(
                    queries[some], ranks, None if seen is None else seen[some], k,
                    positions[some], scores[some],
                )  # fmt: skip
        short = (positions[:, :k] >= 0).sum(axis=1) < k
        return np.flatnonzero(short | ~able)

    def _candidates(self, unit: Floats, depth: int, threads: int | None) -> npt.NDArray[np.int64]:
        """Ranks of the items nearest to queries of length 1 in their cells; -1 fills up."""
        import faiss
        import torch

        # As long as the items now are: of the lengths tried the one that finds most.
        near = np.zeros((len(unit), unit.shape[1] + 1), dtype=np.float32)
        near[:, :-1] = unit * self.cells.largest
        level = np.concatenate([near, np.ones((len(near), 1), dtype=np.float32)], axis=1)
        cells, _ = self.cells.centres.search(level, self.cells.lists.nprobe, threads=threads)
        # A setting of this thread alone.
        faiss.omp_set_num_threads(threads or torch.get_num_threads())
        found: npt.NDArray[np.int64] = self.cells.lists.search_preassigned(
            near,
            depth,
            cells,
            np.zeros(cells.shape, dtype=np.float32),
        )[1]
        return found

    def _lists(
        self,
        queries: Floats,
        ranks: npt.NDArray[np.int64],
        seen: csr_matrix | None,
        k: int,
        positions: Positions,
        scores: Floats,
    ) -> tuple[Positions, Floats]:
        """Scores candidates exactly; the k best of each user."""
        from batch_predictions.inference.topk import candidates, kernels

        found = ranks.astype(np.int32)
        n, depth = found.shape
        counts = (found >= 0).sum(axis=1)  # faiss fills up at the end.
        if seen is not None:
            taken = np.zeros(len(self.targets), dtype=np.bool_)
            candidates.drop_seen(found, counts, seen.indptr, seen.indices, self.rank_of, taken)
        unknown = np.full((n, depth), -np.inf)
        kernels.finish(
            (np.full(n, -np.inf), counts, unknown, -unknown, found),
            (
                k, queries, self.targets, self.order, self.rank_of,
                np.empty(depth), np.empty(depth, dtype=np.int64),
            ),
            (self.categories, self.cap, np.zeros(int(self.categories.max()) + 2, dtype=np.int64)),
            positions,
            scores,
        )  # fmt: skip
        return positions, scores


_ready: WeakValueDictionary[bytes, _Cells] = WeakValueDictionary()
_building = threading.Lock()


def _cells(targets: Floats, order: npt.NDArray[np.int32], searched: int) -> _Cells:
    """The items of `order` in cells; instances of one process share them."""
    with _building:
        name = hashlib.sha256(targets.data)
        name.update(order.data)
        name.update(str(searched).encode())
        cells = _ready.get(name.digest())
        if cells is None:
            cells = _ready[name.digest()] = _build(targets, order, searched)
        return cells


def _build(targets: Floats, order: npt.NDArray[np.int32], searched: int) -> _Cells:
    """The same cells every time: k-means from a fixed sample and seed, by one thread."""
    try:
        import faiss
    except ImportError:
        raise RuntimeError(
            "inference.approximate asks for faiss, which is not installed: "
            "pip install 'batch-predictions[ann]', or set inference.approximate to off"
        ) from None
    from batch_predictions.inference.topk.index import Index

    m, f = len(order), targets.shape[1]
    largest = max(
        (float(norms_of(targets[part], "targets").max()) for part in _parts(order)), default=0.0
    )
    count = max(1, min(int(4 * m**0.5), m // POINTS))
    random = np.random.default_rng(20_170_101)
    sample = np.sort(random.choice(m, min(m, POINTS * count), replace=False))
    quantiser = faiss.IndexFlatL2(f + 1)
    lists = faiss.IndexIVFFlat(quantiser, f + 1, count, faiss.METRIC_L2)
    lists.cp.niter, lists.cp.seed = ROUNDS, 20_170_101
    lists.nprobe = min(searched, count)
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        lists.train(_levelled(targets[order[sample]], largest))
        for part in _parts(order):
            lists.add(_levelled(targets[part], largest))
    finally:
        faiss.omp_set_num_threads(before)
    # |q - c|^2 is least where q c - |c|^2 / 2 is largest.
    centres = quantiser.reconstruct_n(0, count)
    halves = 0.5 * np.einsum("cf,cf->c", centres, centres, dtype=np.float64)
    level = np.concatenate([centres, -halves[:, np.newaxis].astype(np.float32)], axis=1)
    return _Cells(lists, Index(level), largest)


def _parts(order: npt.NDArray[np.int32]) -> list[npt.NDArray[np.int32]]:
    return [order[low : low + CHUNK] for low in range(0, len(order), CHUNK)]


def _levelled(rows: Floats, largest: float) -> Floats:
    """Rows with a coordinate more that makes them all as long as the longest."""
    norms = norms_of(rows, "targets")
    rest = np.sqrt(np.maximum(largest**2 - norms**2, 0.0))
    return np.concatenate([rows, rest[:, np.newaxis].astype(np.float32)], axis=1)

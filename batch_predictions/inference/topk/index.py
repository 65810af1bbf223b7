"""The index behind the exact top-k: items made ready once, users searched in blocks.

Items are sorted by norm, so that Cauchy-Schwarz ends a user's search early, and turned by a random
rotation, so that no coordinate is much larger than others and eight bits lose little. Blocks of 256
users x 2,048 items are multiplied in int8 (four times the speed of float32 where the processor has
VNNI), whatever may enter the k best given the bound of the rounding error is kept, and the few
hundred candidates that are left are scored from the float32 vectors in float64. Where int8 is slow,
or vectors are long, the product is float32 and its own bound takes the place; the answer is the
same, to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from batch_predictions.inference.topk.approximate import InCells
from batch_predictions.inference.topk.arrays import Floats, Positions, norms_of
from batch_predictions.inference.topk.exact import USERS, WIDTH, Search, SearchBuffers, in_threads
from batch_predictions.inference.topk.gpu import GPUCandidates
from batch_predictions.models.common.torch_threads import one_torch_thread

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_matrix

Kind = Literal["int8", "float32"]

SHORTEST = 16
LONGEST = 512
"""Longer vectors are multiplied in float32: rotating them costs more than eight bits save."""


@cache
def fast_int8() -> bool:
    """Whether the processor multiplies int8 fast and exactly (VNNI or AMX)."""
    from llvmlite.binding import get_host_cpu_features

    features = get_host_cpu_features()
    if not any(features.get(name) for name in ("avx512vnni", "avxvnni", "amx-int8")):
        return False
    import torch

    # Processors without VNNI saturate inside a product; an extreme one shows that this does not.
    rows = torch.full((32, 64), 127, dtype=torch.int8)
    rows[::2] = -127
    return torch.equal(torch._int_mm(rows, rows.T), (rows.long() @ rows.long().T).int())


@dataclass(frozen=True)
class _Block:
    """Items of consecutive ranks: their codes (W, f), and what the bound of the error needs."""

    codes: torch.Tensor
    low: int
    width: int
    scale: float
    norm: float
    lost: float


class Index:
    """Items to search, for any number of queries; it is not changed by searching.

    Args:
        targets: (m, f) float32; kept, not copied.
        blocked: (m,) true for targets that nobody is to find.
        categories: (m,) integers, with `per_category`; negative: no category, no cap.
        per_category: at most so many of one category in a list; 0: no cap.
        kind: how products are made; None: the faster one here.
        device: cpu, or a device of torch that finds the candidates; they are scored here.
        block_mb: memory that one block of products may take on another device, MiB.
        cells: with a number, faiss looks for candidates in so many cells of items for each user,
            and lists may lack an item; 0: exact.
    """

    def __init__(
        self,
        targets: Floats,
        *,
        blocked: npt.NDArray[np.bool_] | None = None,
        categories: npt.NDArray[np.integer[Any]] | None = None,
        per_category: int = 0,
        kind: Kind | None = None,
        device: str = "cpu",
        block_mb: int = 256,
        cells: int = 0,
    ) -> None:
        self.targets = np.ascontiguousarray(targets, dtype=np.float32)
        m, f = self.targets.shape
        if blocked is not None and blocked.shape != (m,):
            raise ValueError(f"top-k: {blocked.shape} marks of what is blocked for {m} targets")
        norms = norms_of(self.targets, "targets")
        allowed = np.arange(m) if blocked is None else np.flatnonzero(~blocked)
        if kind is None:
            kind = "int8" if SHORTEST <= f <= LONGEST and fast_int8() else "float32"
        self.kind: Kind = kind
        # Long vectors stay in their order: a sorted copy would take their memory once more.
        by_norm = np.argsort(-norms[allowed], kind="stable") if f <= LONGEST else slice(None)
        self.order = allowed[by_norm].astype(np.int32)
        self.rank_of = np.full(m, -1, dtype=np.int32)
        self.rank_of[self.order] = np.arange(len(self.order), dtype=np.int32)
        self.cap = per_category if categories is not None else 0
        self.categories = _compact(categories, m) if self.cap else np.zeros(1, dtype=np.int32)
        self.room = self._room() if self.cap else len(self.order)
        # Sum of f rounded products in any order (Higham 2002, section 3.1), and the rotations'.
        self.arithmetic = f * 2.0**-24 * (4.0 if kind == "int8" else 1.01)
        self.rotation = _rotation(f) if kind == "int8" else None
        self.blocks = [
            self._block(low, norms) for low in range(0, len(self.order), WIDTH)
        ]  # fmt: skip
        largest = np.array([block.norm for block in self.blocks] + [0.0])
        self.later = np.maximum.accumulate(largest[::-1])[::-1][1:]
        self.elsewhere: GPUCandidates | InCells | None = None
        if cells and len(self.order):
            self.elsewhere = InCells(
                self.targets, self.order, self.rank_of, self.categories, self.cap, cells, block_mb
            )
        elif device != "cpu" and not self.cap:  # Caps need the order of all candidates: CPU.
            self.elsewhere = GPUCandidates(self.targets, self.order, device, block_mb)

    def _block(self, low: int, norms: npt.NDArray[np.float64]) -> _Block:
        import torch

        from batch_predictions.inference.topk import vectors

        places = self.order[low : low + WIDTH]
        norm = float(norms[places].max())
        if self.rotation is None and int(places[-1]) - int(places[0]) == WIDTH - 1:
            view = self.targets[places[0] : places[0] + WIDTH]
            if bool((np.diff(places) == 1).all()):  # In their own order: no copy.
                return _Block(torch.from_numpy(view), low, WIDTH, 1.0, norm, 0.0)
        rows = np.zeros((WIDTH, self.targets.shape[1]), dtype=np.float32)
        rows[: len(places)] = self.targets[places]
        if self.rotation is None:
            return _Block(torch.from_numpy(rows), low, len(places), 1.0, norm, 0.0)
        rows = rows @ self.rotation
        scale = float(np.abs(rows).max()) / 127.0 or 1.0
        codes = np.empty(rows.shape, dtype=np.int8)
        errors = np.empty(len(rows))
        vectors.quantise(rows, codes, np.empty(len(rows)), errors, scale)
        return _Block(
            torch.from_numpy(codes), low, len(places), scale, norm, float(errors.max())
        )  # fmt: skip

    def _room(self) -> int:
        """The longest list that the cap admits: no more is looked for."""
        counts = np.bincount(self.categories[self.order] + 1)
        return int(counts[:1].sum() + np.minimum(counts[1:], self.cap).sum())

    def search(
        self,
        queries: Floats,
        k: int,
        *,
        seen: csr_matrix | None = None,
        threads: int | None = None,
        exact: bool = False,
    ) -> tuple[Positions, Floats]:
        """The k targets of the largest inner product for every query, best first.

        Args:
            queries: (n, f).
            k: how many.
            seen: (n, m) sparse; stored entries are not to be found.
            threads: how many work; None: as many as torch has.
            exact: look at every item here, wherever candidates are found else.

        Returns:
            Positions (n, k) with -1, scores (n, k) with -inf, where there is no further target.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        n, (m, f) = len(queries), self.targets.shape
        # Compiled code does not look where it reads.
        if queries.ndim != 2 or queries.shape[1] != f:
            raise ValueError(f"top-k: queries are {queries.shape}, the targets' vectors have {f}")
        if seen is not None and seen.shape != (n, m):
            raise ValueError(f"top-k: seen is {seen.shape} for {n} queries and {m} targets")
        positions = np.full((n, k), -1, dtype=np.int64)
        scores = np.full((n, k), -np.inf, dtype=np.float32)
        sought = min(k, self.room)
        if not n or not sought:
            return positions, scores
        if self.elsewhere is not None and not exact:
            own = seen.tocsr() if seen is not None else None
            open_ends = self.elsewhere.search(queries, sought, own, positions, scores, threads)
            if len(open_ends):
                rest = own[open_ends] if own is not None else None
                found = self._search(queries[open_ends], sought, rest, threads)
                positions[open_ends, :sought], scores[open_ends, :sought] = found
            return positions, scores
        positions[:, :sought], scores[:, :sought] = self._search(queries, sought, seen, threads)
        return positions, scores

    def _search(
        self, queries: Floats, k: int, seen: csr_matrix | None, threads: int | None
    ) -> tuple[Positions, Floats]:
        n = len(queries)
        positions = np.full((n, k), -1, dtype=np.int64)
        scores = np.full((n, k), -np.inf, dtype=np.float32)
        search = Search(self, queries, k, seen, positions, scores)
        starts = range(0, n, USERS)
        with one_torch_thread() as before:
            threads = min(threads or before, len(starts))
            if threads < 2:
                workplace = SearchBuffers(self, k)
                for start in starts:
                    search.batch(start, workplace)
            else:
                in_threads(search.batch, starts, threads, lambda: SearchBuffers(self, k))
        return positions, scores


def _rotation(f: int) -> Floats:
    """Orthonormal rows (f, at least 16), the same every time.

    torch._int_mm gives wrong products of vectors of length 1; short ones are made longer.
    """
    random = np.random.default_rng(20_170_101)
    width = max(f, SHORTEST)
    return np.linalg.qr(random.standard_normal((width, width)))[0][:f].astype(np.float32)


def _compact(categories: npt.NDArray[np.integer[Any]] | None, m: int) -> npt.NDArray[np.int32]:
    """Categories as 0 to c - 1; -1 for none."""
    if categories is None or len(categories) != m:
        raise ValueError(f"top-k: categories are to be {m} integers, one for each target")
    names, codes = np.unique(categories, return_inverse=True)
    codes = codes - int((names < 0).sum())
    return np.maximum(codes, -1).astype(np.int32)

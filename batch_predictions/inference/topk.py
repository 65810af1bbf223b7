"""Exact top-k by inner product, in blocks: scores of all users by all items are never held."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_matrix

Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]


def top_k(
    queries: Floats,
    targets: Floats,
    k: int,
    *,
    seen: csr_matrix | None = None,
    blocked: npt.NDArray[np.bool_] | None = None,
    device: str = "cpu",
    block_mb: int = 256,
) -> tuple[Positions, Floats]:
    """The k targets of the largest inner product for every query.

    Equal scores are ordered by position, so the answer does not depend on the size of the blocks.

    Args:
        queries: (n, f).
        targets: (m, f).
        k: how many; fewer are found where fewer are allowed.
        seen: (n, m) sparse; stored entries are not to be found.
        blocked: (m,) true for targets that nobody is to find.
        device: cpu or cuda.
        block_mb: memory of one block of scores, MiB.

    Returns:
        Positions (n, k) with -1, and scores (n, k) with -inf, where there is no further target.
    """
    import torch

    n, m = len(queries), len(targets)
    positions = np.full((n, k), -1, dtype=np.int64)
    scores = np.full((n, k), -np.inf, dtype=np.float32)
    if not n or not m:
        return positions, scores
    rows = min(n, 1024)
    columns = max(k, min(m, block_mb * 2**20 // (4 * rows)))
    banned = None if blocked is None else torch.from_numpy(np.flatnonzero(blocked)).to(device)
    with torch.inference_mode():
        for start in range(0, n, rows):
            stop = min(n, start + rows)
            block = torch.from_numpy(np.ascontiguousarray(queries[start:stop])).to(device)
            best = _Best(stop - start, k, device)
            own = None if seen is None else seen[start:stop].tocsc()
            for low in range(0, m, columns):
                high = min(m, low + columns)
                slab = torch.from_numpy(np.ascontiguousarray(targets[low:high])).to(device)
                values = block @ slab.T
                if banned is not None:
                    here = banned[(banned >= low) & (banned < high)] - low
                    values[:, here] = -torch.inf
                if own is not None:
                    hit = own[:, low:high].tocoo()
                    values[
                        torch.from_numpy(hit.row.astype(np.int64)).to(device),
                        torch.from_numpy(hit.col.astype(np.int64)).to(device),
                    ] = -torch.inf
                best.merge(values, low)
            positions[start:stop] = best.positions.cpu().numpy()
            scores[start:stop] = best.scores.cpu().numpy()
    positions[np.isneginf(scores)] = -1
    return positions, scores


class _Best:
    """The best k so far of a block of queries, in order."""

    def __init__(self, n: int, k: int, device: str) -> None:
        import torch

        self.k = k
        self.scores = torch.full((n, k), -torch.inf, device=device)
        self.positions = torch.full((n, k), -1, dtype=torch.int64, device=device)

    def merge(self, values: torch.Tensor, offset: int) -> None:
        """Takes in the scores of the targets from `offset` on, which come after all before."""
        import torch

        k = min(self.k, values.shape[1])
        found, where = _first_k(values, k)
        scores = torch.cat([self.scores, found], dim=1)
        positions = torch.cat([self.positions, where + offset], dim=1)
        # Positions rise from left to right among equal scores, and a stable sort keeps that.
        order = torch.sort(scores, dim=1, descending=True, stable=True).indices[:, : self.k]
        self.scores = scores.gather(1, order)
        self.positions = positions.gather(1, order)


def _first_k(values: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest of every row, equal ones by position."""
    import torch

    found, where = torch.topk(values, k, dim=1)
    least = found[:, -1:]
    # torch.topk takes any of the values that tie for the last place: such rows are sorted whole.
    tied = ((values >= least).sum(dim=1) > k) & torch.isfinite(least[:, 0])
    if tied.any():
        sorted_ = torch.sort(values[tied], dim=1, descending=True, stable=True)
        found[tied], where[tied] = sorted_.values[:, :k], sorted_.indices[:, :k]
    order = torch.argsort(where, dim=1)
    found, where = found.gather(1, order), where.gather(1, order)
    order = torch.sort(found, dim=1, descending=True, stable=True).indices
    return found.gather(1, order), where.gather(1, order)

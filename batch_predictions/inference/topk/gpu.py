"""Candidates of the exact top-k found on a GPU in half precision, and scored exactly here.

Vectors are scaled to norms of at most 1 and rounded to float16. The products' error is bounded by
what rounding took from both vectors, so a list that is a little longer than k surely holds the k
best whenever its last product is further from the k-th than twice the bound. For the few users
where it is not (many equal scores) the caller searches on the CPU. The answer is that of the CPU,
to the bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from batch_predictions.inference.device import prefetching_uploader, with_oom_backoff
from batch_predictions.inference.topk.arrays import Floats, Positions, norms_of

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_matrix

SPARE = 64
"""Candidates looked for beyond 1.5 k."""

MOST_ROWS = 8192


class GPUCandidates:
    """Items on a device of torch, as float16; `order` lists the positions that may be found."""

    def __init__(
        self, targets: Floats, order: npt.NDArray[np.int32], device: str, block_mb: int
    ) -> None:
        import torch

        self.targets, self.order, self.device = targets, order, device
        self.block_bytes = block_mb * 2**20
        norms = norms_of(targets, "targets")
        self.largest = float(norms[order].max(initial=0.0)) or 1.0
        m, f = len(order), targets.shape[1]
        self.codes = torch.empty((m, f), dtype=torch.float16, device=device)
        lost = 0.0
        for low in range(0, m, 65_536):
            rows = torch.from_numpy(targets[order[low : low + 65_536]]).to(device) / self.largest
            self.codes[low : low + len(rows)] = rows
            errors = (rows - self.codes[low : low + len(rows)].float()).norm(dim=1)
            lost = max(lost, float(errors.max()))
        # The product's own rounding to float16, its sum in float32, and numbers near 0.
        self.margin = lost * 1.001 + 2.0**-11 + f * 2.0**-20 + 1e-6

    def search(
        self,
        queries: Floats,
        k: int,
        seen: csr_matrix | None,
        positions: Positions,
        scores: Floats,
        threads: int | None = None,
    ) -> npt.NDArray[np.int64]:
        """Writes lists of at most k; returns the rows that need another way."""
        norms = norms_of(queries, "queries")
        unit = (queries / np.where(norms > 0, norms, 1.0)[:, np.newaxis]).astype(np.float32)
        wanted = min(len(self.order), k + k // 2 + SPARE)
        rows = max(1, min(MOST_ROWS, self.block_bytes // (2 * 4 * max(1, wanted))))
        left = []

        def part(low: int, high: int, block: torch.Tensor) -> None:
            values, ranks, lost = self._candidates(block, wanted, seen, low)
            open_ends = self._finish(
                queries[low:high], k, values, ranks, lost, positions[low:high], scores[low:high]
            )
            left.append(low + open_ends)

        with_oom_backoff(part, prefetching_uploader(unit, self.device), len(queries), rows)
        # All scores of a vector of zeros are equal.
        return np.unique(np.concatenate([*left, np.flatnonzero(norms == 0)]))

    def _candidates(
        self, block: torch.Tensor, wanted: int, seen: csr_matrix | None, start: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """The largest products of a block of users (r, wanted), their ranks, the users' errors."""
        import torch

        r, m = len(block), len(self.order)
        codes = block.half()
        lost = (block - codes.float()).norm(dim=1).double().cpu().numpy()
        columns = max(wanted, min(m, self.block_bytes // (2 * r)))
        own = None if seen is None else seen[start : start + r][:, self.order].tocsc()
        values = torch.full((r, 0), -torch.inf, dtype=torch.float16, device=self.device)
        ranks = torch.zeros((r, 0), dtype=torch.int64, device=self.device)
        with torch.inference_mode():
            for low in range(0, m, columns):
                high = min(m, low + columns)
                product = codes @ self.codes[low:high].T
                if own is not None:
                    hit = own[:, low:high].tocoo()
                    where = [
                        torch.from_numpy(axis.astype(np.int64)).to(self.device)
                        for axis in (hit.row, hit.col)
                    ]
                    product[where[0], where[1]] = -torch.inf
                best, places = torch.topk(product, min(wanted, high - low), dim=1)
                values = torch.cat([values, best], dim=1)
                ranks = torch.cat([ranks, places + low], dim=1)
                if values.shape[1] > wanted:
                    values, places = torch.topk(values, wanted, dim=1)
                    ranks = ranks.gather(1, places)
        return values.float().cpu().numpy(), ranks.cpu().numpy(), lost

    def _finish(
        self,
        queries: Floats,
        k: int,
        values: npt.NDArray[np.float32],
        ranks: npt.NDArray[np.int64],
        lost: npt.NDArray[np.float64],
        positions: Positions,
        scores: Floats,
    ) -> npt.NDArray[np.int64]:
        """Scores candidates exactly and writes the lists; rows whose candidates do not suffice."""
        from batch_predictions.inference.topk import kernels

        n, wanted = values.shape
        margin = (lost * 1.001 + self.margin)[:, np.newaxis]
        lower, upper = values - margin, values + margin
        counts = np.isfinite(values).sum(axis=1)
        floors = np.full(n, -np.inf)
        if k <= wanted:
            floors = lower[:, k - 1]
        complete = (counts < wanted) | (wanted == len(self.order)) | (upper[:, -1] < floors)
        room = np.empty(wanted), np.empty(wanted, dtype=np.int64)
        none = np.zeros(1, dtype=np.int32)
        kernels.finish(
            (floors, counts, lower, upper, ranks.astype(np.int32)),
            (k, queries, self.targets, self.order, none, *room),
            (none, 0, np.zeros(2, dtype=np.int64)),
            positions,
            scores,
        )
        return np.flatnonzero(~complete)

"""Candidates of the exact top-k, found on a GPU in half precision and scored exactly on the CPU.

Vectors are scaled to norms of at most 1 and rounded to float16. The rounding errors of both vectors
bound the error of a product. So a list of somewhat more than k candidates provably contains the k
best when its last product is below the k-th by more than twice the bound. Users without this proof
(many equal scores) are returned, and the caller searches for them on the CPU. The lists equal the
CPU's to the bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Floats, Positions
from batch_predictions.models.common.topk.device_batches import (
    prefetching_uploader,
    with_oom_backoff,
)
from batch_predictions.models.common.topk.item_blocks import upper_norms

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_matrix

EXTRA_CANDIDATES = 64
"""Number of candidates in addition to 1.5 k."""

MAX_BATCH_USERS = 8192


class GPUCandidates:
    """Items on a torch device, as float16.

    Args:
        targets: (m, f) float32.
        order: positions that lists may have; a candidate's rank is its index here.
        device: torch device.
        block_mb: memory of one block of products, MiB.
    """

    def __init__(
        self, targets: Floats, order: npt.NDArray[np.int32], device: str, block_mb: int
    ) -> None:
        import torch

        self.targets, self.order, self.device = targets, order, device
        self.block_bytes = block_mb * 2**20
        norms = upper_norms(targets, "targets")
        self.largest = float(norms[order].max(initial=0.0)) or 1.0
        m, f = len(order), targets.shape[1]
        self.codes = torch.empty((m, f), dtype=torch.float16, device=device)
        rounding_error = 0.0
        for low in range(0, m, 65_536):
            rows = torch.from_numpy(targets[order[low : low + 65_536]]).to(device) / self.largest
            self.codes[low : low + len(rows)] = rows
            errors = (rows - self.codes[low : low + len(rows)].float()).norm(dim=1)
            rounding_error = max(rounding_error, float(errors.max()))
        # And the product's rounding to float16, its sum in float32, and subnormal numbers.
        self.margin = rounding_error * 1.001 + 2.0**-11 + f * 2.0**-20 + 1e-6

    def search(
        self,
        queries: Floats,
        k: int,
        seen: csr_matrix | None,
        positions: Positions,
        scores: Floats,
    ) -> npt.NDArray[np.int64]:
        """Writes lists of at most k; returns the rows whose lists lack a proof.

        Args:
            queries: vectors of the users, (n, f).
            k: length of the lists.
            seen: items that are left out, n x m; None: none.
            positions: receives item positions, best first, (n, k).
            scores: receives the inner products, (n, k).
        """
        norms = upper_norms(queries, "queries")
        unit = (queries / np.where(norms > 0, norms, 1.0)[:, np.newaxis]).astype(np.float32)
        length = min(len(self.order), k + k // 2 + EXTRA_CANDIDATES)
        batch_users = max(1, min(MAX_BATCH_USERS, self.block_bytes // (2 * 4 * max(1, length))))
        unproved = []

        def search_batch(low: int, high: int, block: torch.Tensor) -> None:
            values, ranks, errors = self._find_candidates(block, length, seen, low)
            rows = self._score_candidates(
                queries[low:high], k, values, ranks, errors, positions[low:high], scores[low:high]
            )
            unproved.append(low + rows)

        with_oom_backoff(
            search_batch, prefetching_uploader(unit, self.device), len(queries), batch_users
        )
        # All scores of a zero vector are equal.
        return np.unique(np.concatenate([*unproved, np.flatnonzero(norms == 0)]))

    def _find_candidates(
        self, block: torch.Tensor, length: int, seen: csr_matrix | None, start: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """The largest products of a batch of users (r, length), their ranks, the users' errors."""
        import torch

        r, m = len(block), len(self.order)
        codes = block.half()
        errors = (block - codes.float()).norm(dim=1).double().cpu().numpy()
        columns = max(length, min(m, self.block_bytes // (2 * r)))
        seen_columns = None if seen is None else seen[start : start + r][:, self.order].tocsc()
        values = torch.full((r, 0), -torch.inf, dtype=torch.float16, device=self.device)
        ranks = torch.zeros((r, 0), dtype=torch.int64, device=self.device)
        with torch.inference_mode():
            for low in range(0, m, columns):
                high = min(m, low + columns)
                product = codes @ self.codes[low:high].T
                if seen_columns is not None:
                    hits = seen_columns[:, low:high].tocoo()
                    indices = [
                        torch.from_numpy(axis.astype(np.int64)).to(self.device)
                        for axis in (hits.row, hits.col)
                    ]
                    product[indices[0], indices[1]] = -torch.inf
                best, best_columns = torch.topk(product, min(length, high - low), dim=1)
                values = torch.cat([values, best], dim=1)
                ranks = torch.cat([ranks, best_columns + low], dim=1)
                if values.shape[1] > length:
                    values, best_columns = torch.topk(values, length, dim=1)
                    ranks = ranks.gather(1, best_columns)
        return values.float().cpu().numpy(), ranks.cpu().numpy(), errors

    def _score_candidates(
        self,
        queries: Floats,
        k: int,
        values: npt.NDArray[np.float32],
        ranks: npt.NDArray[np.int64],
        errors: npt.NDArray[np.float64],
        positions: Positions,
        scores: Floats,
    ) -> npt.NDArray[np.int64]:
        """Scores candidates exactly and writes the lists; returns the rows without a proof."""
        from batch_predictions.models.common.topk import kernels

        n, length = values.shape
        margin = (errors * 1.001 + self.margin)[:, np.newaxis]
        lower, upper = values - margin, values + margin
        counts = np.isfinite(values).sum(axis=1)
        floors = np.full(n, -np.inf)
        if k <= length:
            floors = lower[:, k - 1]
        is_proved = (counts < length) | (length == len(self.order)) | (upper[:, -1] < floors)
        buffers = np.empty(length), np.empty(length, dtype=np.int64)
        unused = np.zeros(1, dtype=np.int32)
        kernels.finish(
            (floors, counts, lower, upper, ranks.astype(np.int32)),
            (k, queries, self.targets, self.order, unused, *buffers),
            positions,
            scores,
        )
        return np.flatnonzero(~is_proved)

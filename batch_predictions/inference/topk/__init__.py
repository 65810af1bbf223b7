"""Exact top-k by inner product; the scores of all users by all items are never held.

`top_k` answers one call, `Index` prepares items for many. `exact` searches on the CPU over
`item_blocks`, `gpu` finds candidates on a GPU; `kernels`, `candidates` and `vectors` are compiled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from batch_predictions.inference.topk.arrays import Floats, Positions
from batch_predictions.inference.topk.index import Index
from batch_predictions.inference.topk.item_blocks import Kind

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["Index", "Kind", "top_k"]


def top_k(
    queries: Floats,
    targets: Floats,
    k: int,
    *,
    seen: csr_matrix | None = None,
    blocked: npt.NDArray[np.bool_] | None = None,
    categories: npt.NDArray[np.integer[Any]] | None = None,
    per_category: int = 0,
    device: str = "cpu",
    block_mb: int = 256,
) -> tuple[Positions, Floats]:
    """The k targets of the largest inner product for every query.

    Scores are summed in float64 and equal ones ordered by position, so the answer depends neither
    on the batch that a query comes in nor on the device.

    Args:
        queries: (n, f).
        targets: (m, f).
        k: length of the lists; fewer are found where fewer are allowed.
        seen: (n, m) sparse; stored entries are not to be found.
        blocked: (m,) true for targets that nobody is to find.
        categories: (m,) integers, with `per_category`; negative: no category, no cap.
        per_category: at most this many of one category in a list; 0: no cap.
        device: cpu or cuda.
        block_mb: memory of one block of scores on a GPU, MiB; the CPU's blocks take 2.

    Returns:
        Positions (n, k) with -1, and scores (n, k) with -inf, where there is no further target.
    """
    index = Index(
        targets,
        blocked=blocked,
        categories=categories,
        per_category=per_category,
        device=device,
        block_mb=block_mb,
    )
    return index.search(queries, k, seen=seen)

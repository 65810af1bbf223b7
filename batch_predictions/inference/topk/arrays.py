"""Array types of the top-k, the size of its blocks, and norms that are safe as upper bounds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]

BLOCK_USERS = 256
BLOCK_ITEMS = 2048
"""Users and items of one block: 2 MiB of products, which stay in the processor's caches."""


def upper_norms(rows: Floats, name: str) -> npt.NDArray[np.float64]:
    """Euclidean norm of every row, rounded up by 1e-12, (n,).

    Raises:
        ValueError: a row holds a number that is not finite; `name` says whose row it is.
    """
    norms = np.empty(len(rows))
    for low in range(0, len(rows), 65_536):
        part = rows[low : low + 65_536]
        norms[low : low + 65_536] = np.sqrt(
            np.einsum("if,if->i", part, part, dtype=np.float64)
        )  # fmt: skip
    if not np.isfinite(norms).all():
        row = int(np.flatnonzero(~np.isfinite(norms))[0])
        raise ValueError(f"top-k: row {row} of the {name} has a value that is not finite")
    return norms * (1 + 1e-12)

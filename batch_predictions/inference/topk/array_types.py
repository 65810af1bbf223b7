"""Array types and block sizes of the top-k, and norms that are upper bounds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]

BLOCK_USERS = 256
BLOCK_ITEMS = 2048
"""Users and items of one block: 2 MiB of products, which stay in the CPU's caches."""


def upper_norms(rows: Floats, name: str) -> npt.NDArray[np.float64]:
    """Euclidean norm of every row, rounded up by 1e-12, (n,).

    Raises:
        ValueError: a row has a value that is not finite; the message has `name` and the row.
    """
    norms = np.empty(len(rows))
    for low in range(0, len(rows), 65_536):
        chunk = rows[low : low + 65_536]
        squares = np.einsum("if,if->i", chunk, chunk, dtype=np.float64)
        norms[low : low + 65_536] = np.sqrt(squares)
    if not np.isfinite(norms).all():
        row = int(np.flatnonzero(~np.isfinite(norms))[0])
        raise ValueError(f"top-k: row {row} of the {name} has a value that is not finite")
    return norms * (1 + 1e-12)

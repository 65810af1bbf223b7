"""Arrays that the parts of the top-k share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]


def norms_of(rows: Floats, what: str) -> npt.NDArray[np.float64]:
    """Euclidean norms, a little above the true ones.

    Raises:
        ValueError: a row holds what is not a finite number.
    """
    norms = np.empty(len(rows))
    for low in range(0, len(rows), 65_536):
        part = rows[low : low + 65_536]
        norms[low : low + 65_536] = np.sqrt(
            np.einsum("if,if->i", part, part, dtype=np.float64)
        )  # fmt: skip
    if not np.isfinite(norms).all():
        row = int(np.flatnonzero(~np.isfinite(norms))[0])
        raise ValueError(f"top-k: row {row} of the {what} holds what is not a finite number")
    return norms * (1 + 1e-12)

"""Items prepared for the exact search: sorted by norm, rotated, quantised, in blocks of 2,048.

With items sorted by norm, Cauchy-Schwarz ends a user's search early. A random rotation spreads
every vector evenly over its coordinates, so that eight bits lose little. A block has a bound of its
rounding error, from which the search decides which items may enter the k best.

Here are also the array types and block sizes of the top-k, and norms that are upper bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Floats

if TYPE_CHECKING:
    import torch


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


Kind = Literal["int8", "float32"]

MIN_INT8_FACTORS = 16
MAX_INT8_FACTORS = 512
"""Longer vectors are multiplied in float32: the rotation costs more than int8 saves."""


@cache
def fast_int8() -> bool:
    """Returns whether the CPU multiplies int8 fast and exactly (VNNI or AMX)."""
    from llvmlite.binding import get_host_cpu_features

    features = get_host_cpu_features()
    if not any(features.get(name) for name in ("avx512vnni", "avxvnni", "amx-int8")):
        return False
    import torch

    # CPUs without VNNI saturate within a product: test an extreme one.
    rows = torch.full((32, 64), 127, dtype=torch.int8)
    rows[::2] = -127
    return torch.equal(torch._int_mm(rows, rows.T), (rows.long() @ rows.long().T).int())


@dataclass(frozen=True)
class ItemBlock:
    """Items of consecutive ranks.

    Attributes:
        codes: (BLOCK_ITEMS, f) int8 or float32, zeros beyond `width`.
        low: rank of the first item.
        width: number of items.
        scale: value of one step of the codes; 1 for float32.
        norm: largest norm of an item.
        rounding_error: largest norm of an item's quantisation error.
    """

    codes: torch.Tensor
    low: int
    width: int
    scale: float
    norm: float
    rounding_error: float


class ItemBlocks:
    """Items in search order, for any number of searches; immutable.

    Args:
        targets: (m, f) float32; kept, not copied.
        blocked: (m,) true for targets that no list may have.
        kind: arithmetic of the products; None: the faster one on this CPU.

    Raises:
        ValueError: shapes differ, or a target has a value that is not finite.
    """

    def __init__(
        self,
        targets: Floats,
        blocked: npt.NDArray[np.bool_] | None = None,
        kind: Kind | None = None,
    ) -> None:
        self.targets = np.ascontiguousarray(targets, dtype=np.float32)
        m, f = self.targets.shape
        if blocked is not None and blocked.shape != (m,):
            raise ValueError(f"top-k: `blocked` has shape {blocked.shape} for {m} targets")
        norms = upper_norms(self.targets, "targets")
        allowed = np.arange(m) if blocked is None else np.flatnonzero(~blocked)
        if kind is None:
            suits_int8 = MIN_INT8_FACTORS <= f <= MAX_INT8_FACTORS and fast_int8()
            kind = "int8" if suits_int8 else "float32"
        self.kind: Kind = kind
        # Long vectors are not sorted: a sorted copy would need their memory a second time.
        is_sorted = f <= MAX_INT8_FACTORS
        by_norm = np.argsort(-norms[allowed], kind="stable") if is_sorted else slice(None)
        self.order = allowed[by_norm].astype(np.int32)
        self.rank_of = np.full(m, -1, dtype=np.int32)
        self.rank_of[self.order] = np.arange(len(self.order), dtype=np.int32)
        # Bound for a sum of f rounded products in any order (Higham 2002, section 3.1), and for the
        # rotation.
        self.arithmetic_error = f * 2.0**-24 * (4.0 if kind == "int8" else 1.01)
        self.rotation = _rotation(f) if kind == "int8" else None
        starts = range(0, len(self.order), BLOCK_ITEMS)
        self.blocks = [self._build_block(low, norms) for low in starts]
        largest = np.array([block.norm for block in self.blocks] + [0.0])
        self.suffix_max_norm = np.maximum.accumulate(largest[::-1])[::-1][1:]

    def _build_block(self, low: int, norms: npt.NDArray[np.float64]) -> ItemBlock:
        import torch

        from batch_predictions.models.common.topk import vectors

        positions = self.order[low : low + BLOCK_ITEMS]
        norm = float(norms[positions].max())
        if self.rotation is None and int(positions[-1]) - int(positions[0]) == BLOCK_ITEMS - 1:
            view = self.targets[positions[0] : positions[0] + BLOCK_ITEMS]
            if bool((np.diff(positions) == 1).all()):  # Adjacent rows: no copy.
                return ItemBlock(torch.from_numpy(view), low, BLOCK_ITEMS, 1.0, norm, 0.0)
        rows = np.zeros((BLOCK_ITEMS, self.targets.shape[1]), dtype=np.float32)
        rows[: len(positions)] = self.targets[positions]
        if self.rotation is None:
            return ItemBlock(torch.from_numpy(rows), low, len(positions), 1.0, norm, 0.0)
        rows = rows @ self.rotation
        scale = float(np.abs(rows).max()) / 127.0 or 1.0
        codes = np.empty(rows.shape, dtype=np.int8)
        errors = np.empty(len(rows))
        vectors.quantise(rows, codes, np.empty(len(rows)), errors, scale)
        error = float(errors.max())
        return ItemBlock(torch.from_numpy(codes), low, len(positions), scale, norm, error)


def _rotation(f: int) -> Floats:
    """A random rotation with a fixed seed: orthonormal rows (f, at least 16).

    Short vectors get 16 coordinates: torch._int_mm gives wrong products of vectors of length 1.
    """
    random = np.random.default_rng(20_170_101)
    width = max(f, MIN_INT8_FACTORS)
    return np.linalg.qr(random.standard_normal((width, width)))[0][:f].astype(np.float32)

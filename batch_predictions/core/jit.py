"""Decorators for functions that numba compiles to machine code, cached on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def njit_cached(function: Callable[..., object]) -> Any:
    """Compiles at the first call, or loads the code that an earlier process compiled.

    The function releases the interpreter's lock. Decorating imports numba: import modules of
    compiled functions inside functions only.
    """
    return _compiled(function, fastmath=False)


def njit_reassoc(function: Callable[..., object]) -> Any:
    """Compiles like `njit_cached`, with sums that the compiler may reorder for SIMD.

    The order depends only on the number of terms, so that equal terms give equal bits.
    """
    return _compiled(function, fastmath={"reassoc", "contract"})


def _compiled(function: Callable[..., object], fastmath: bool | set[str]) -> Any:
    from numba import njit

    try:
        return njit(nogil=True, cache=True, fastmath=fastmath)(function)
    except RuntimeError:
        # No writable folder for the cache, as in some containers: every process compiles.
        return njit(nogil=True, fastmath=fastmath)(function)

"""Compiled Python: loops that numba turns into machine code once, cached on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def njit_cached(function: Callable[..., Any]) -> Any:
    """Compiles at the first call, or takes what an earlier process compiled; lets go of the
    interpreter's lock.

    Decorating imports numba, so modules of compiled functions are imported only inside functions.
    """
    return _compiled(function, fastmath=False)


def njit_reassoc(function: Callable[..., Any]) -> Any:
    """`compiled`, for loops of sums that may be added in the processor's order: one order for
    each number of terms, so that equal terms give equal bits whatever stands around them."""
    return _compiled(function, fastmath={"reassoc", "contract"})


def _compiled(function: Callable[..., Any], fastmath: bool | set[str]) -> Any:
    from numba import njit

    try:
        return njit(nogil=True, cache=True, fastmath=fastmath)(function)
    except RuntimeError:
        # No folder for a cache can be written, as in some containers: compiled by every process.
        return njit(nogil=True, fastmath=fastmath)(function)

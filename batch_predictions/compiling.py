"""Compiled Python: loops that numba turns into machine code once, cached on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def compiled(function: Callable[..., Any]) -> Any:
    """Compiles at the first call, or takes what an earlier process compiled; lets go of the
    interpreter's lock.

    Decorating imports numba, so modules of compiled functions are imported only inside functions.
    """
    from numba import njit

    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        # No folder for a cache can be written, as in some containers: compiled by every process.
        return njit(nogil=True)(function)

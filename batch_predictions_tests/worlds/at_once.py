"""Calls of a function in threads that begin at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Value = TypeVar("_Value")
_Result = TypeVar("_Result")


def call_at_once(function: Callable[[_Value], _Result], values: Iterable[_Value]) -> list[_Result]:
    """Results of a function for each value, in their order; raises what one call raises."""
    values = list(values)
    begin = threading.Barrier(len(values))

    def call(value: _Value) -> _Result:
        begin.wait()
        return function(value)

    with ThreadPoolExecutor(len(values)) as pool:
        return list(pool.map(call, values))

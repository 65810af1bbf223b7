"""LLVM vectors, of trees with a lane per row of a group, for intrinsics of numba.

Imports numba, so this module is imported only inside functions.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

GROUP_ROWS = 32
"""Rows of a group: the compiler makes of them two registers of AVX-512, or four of AVX2."""


def open_arrays(
    context: Any, builder: Any, signature: Any, values: Any, arguments: tuple[int, ...]
) -> dict[int, Any]:
    """The arrays among an intrinsic's arguments, by number."""
    return {
        n: context.make_array(signature.args[n])(context, builder, values[n]) for n in arguments
    }


def load_element(builder: Any, array: Any, index: Any) -> Any:
    """An element of an array."""
    return builder.load(cgutils.gep_inbounds(builder, array.data, index))


def line_pointer(builder: Any, array: Any, line: Any, vector_type: Any) -> Any:
    """The address of a line of an array (lines, GROUP_ROWS), as that of a vector."""
    offset = builder.mul(line, line.type(GROUP_ROWS))
    pointer = cgutils.gep_inbounds(builder, array.data, offset)
    return builder.bitcast(pointer, vector_type.as_pointer())


def broadcast(builder: Any, value: Any, lanes: int = GROUP_ROWS) -> Any:
    """A vector with a value in every lane."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first_lane = builder.insert_element(undefined, value, ir.IntType(32)(0))
    sources = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(first_lane, undefined, sources)


def goes_right(builder: Any, x: Any, threshold: Any, default_left: Any) -> Any:
    """Whether each lane's value goes right at a node; a missing value goes its default way.

    Args:
        builder: of the code.
        x: a vector of values.
        threshold: a row goes left up to this value.
        default_left: 1 where a missing value goes left.
    """
    thresholds = broadcast(builder, threshold)
    # A missing value fails the first comparison and passes the second.
    return builder.select(
        builder.icmp_unsigned("!=", default_left, default_left.type(0)),
        builder.fcmp_ordered(">", x, thresholds),
        builder.fcmp_unordered(">", x, thresholds),
    )

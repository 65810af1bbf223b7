"""LLVM vectors for intrinsics of numba.

Imports numba, so this module is imported only inside functions.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils


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


def load_index(builder: Any, array: Any, index: Any) -> Any:
    """An element of an array of 32-bit integers, as wide as an index."""
    return builder.sext(load_element(builder, array, index), index.type)


def place_in_matrix(builder: Any, array: Any, line: Any, column: Any) -> Any:
    """The place of an element among all of a contiguous matrix."""
    width = builder.extract_value(array.shape, 1)
    return builder.add(builder.mul(line, width), column)


def vector_pointer(builder: Any, array: Any, index: Any, vector_type: Any) -> Any:
    """The address of the elements from `index` on of a contiguous array, as that of a vector."""
    pointer = cgutils.gep_inbounds(builder, array.data, index)
    return builder.bitcast(pointer, vector_type.as_pointer())


def line_pointer(builder: Any, array: Any, line: Any, vector_type: Any) -> Any:
    """The address of a line of an array whose lines are as long as the vector."""
    index = builder.mul(line, line.type(vector_type.count))
    return vector_pointer(builder, array, index, vector_type)


def broadcast(builder: Any, value: Any, lanes: int) -> Any:
    """A vector with a value in every lane."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first_lane = builder.insert_element(undefined, value, ir.IntType(32)(0))
    sources = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(first_lane, undefined, sources)

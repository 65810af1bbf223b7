"""LLVM vectors for intrinsics of numba.

Imports numba, so this module is imported only inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from llvmlite import ir
from numba import types
from numba.core import base, cgutils, typing

Builder: TypeAlias = ir.IRBuilder
Context: TypeAlias = base.BaseContext
OpenArray: TypeAlias = cgutils._StructProxy
Signature: TypeAlias = typing.Signature
Type: TypeAlias = types.Type
Typing: TypeAlias = typing.Context
Value: TypeAlias = ir.Value
Values: TypeAlias = Sequence[Value]
Intrinsic: TypeAlias = tuple[Signature, Callable[[Context, Builder, Signature, Values], Value]]
"""The types of an intrinsic, and the function that emits its code."""


def open_arrays(
    context: Context,
    builder: Builder,
    signature: Signature,
    values: Values,
    arguments: tuple[int, ...],
) -> dict[int, OpenArray]:
    """Opens the arrays among an intrinsic's arguments, by the number of the argument.

    Args:
        context: numba's context of the generated code.
        builder: of the code.
        signature: types of the intrinsic's arguments.
        values: LLVM values of the arguments.
        arguments: numbers of those that are arrays.
    """
    return {
        n: context.make_array(signature.args[n])(context, builder, values[n]) for n in arguments
    }


def load_element(builder: Builder, array: OpenArray, index: Value) -> Value:
    """Emits the load of an element of an array."""
    return builder.load(cgutils.gep_inbounds(builder, array.data, index))


def load_index(builder: Builder, array: OpenArray, index: Value) -> Value:
    """Emits the load of an element of an int32 array, widened to the type of `index`."""
    return builder.sext(load_element(builder, array, index), index.type)


def place_in_matrix(builder: Builder, array: OpenArray, line: Value, column: Value) -> Value:
    """Emits the flat index of an element of a contiguous matrix: line x width + column."""
    width = builder.extract_value(array.shape, 1)
    return builder.add(builder.mul(line, width), column)


def vector_pointer(
    builder: Builder, array: OpenArray, index: Value, vector_type: ir.VectorType
) -> Value:
    """Emits a pointer to a vector: the elements from `index` on of a contiguous array."""
    pointer = cgutils.gep_inbounds(builder, array.data, index)
    return builder.bitcast(pointer, vector_type.as_pointer())


def line_pointer(
    builder: Builder, array: OpenArray, line: Value, vector_type: ir.VectorType
) -> Value:
    """Emits a pointer to a line, as a vector, of an array whose lines are as long as the vector."""
    index = builder.mul(line, line.type(vector_type.count))
    return vector_pointer(builder, array, index, vector_type)


def broadcast(builder: Builder, value: Value, lanes: int) -> Value:
    """Emits a vector of `lanes` lanes that all hold one value."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first_lane = builder.insert_element(undefined, value, ir.IntType(32)(0))
    sources = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(first_lane, undefined, sources)

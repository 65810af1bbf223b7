"""Vector operations that numba does not generate itself, written as LLVM.

LLVM compiles its vectors to AVX-512, or to what the processor has. Sums are never reordered, so
that the same vectors give the same bits on any processor. The module imports numba: import it, and
the modules that use it, inside functions. Functions are compiled once, cached on disk, and release
the GIL.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from batch_predictions.core.arrays import Doubles, Floats
from batch_predictions.core.jit import njit_cached
from batch_predictions.models.common.vector_ir import (
    Builder,
    Context,
    Intrinsic,
    Signature,
    Type,
    Typing,
    Value,
    Values,
)

CHUNK = 64
"""Products that are compared at once; the width of blocks is a multiple of it."""

LANES = 8
"""Partial sums of an inner product: one register of float64 with AVX-512."""


@intrinsic
def greater_mask(
    typing: Typing, row: Type, start: Type, int_limit: Type, float_limit: Type
) -> Intrinsic:
    """Returns a 64-bit mask of the elements of row[start : start + 64] above a limit.

    An int32 row is compared with `int_limit`, a float32 row with `float_limit`: four AVX-512
    comparisons, where the processor has them.
    """
    signature = types.uint64(row, types.intp, types.int32, types.float32)

    def generate(context: Context, builder: Builder, signature: Signature, values: Values) -> Value:
        array_type = signature.args[0]
        array = context.make_array(array_type)(context, builder, values[0])
        pointer = cgutils.gep_inbounds(builder, array.data, values[1])
        is_int = isinstance(array_type.dtype, types.Integer)
        element = ir.IntType(32) if is_int else ir.FloatType()
        vector = ir.VectorType(element, CHUNK)
        elements = builder.load(builder.bitcast(pointer, vector.as_pointer()), align=4)
        limit = values[2] if is_int else values[3]
        undefined = ir.Constant(vector, ir.Undefined)
        first = builder.insert_element(undefined, limit, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), CHUNK), [0] * CHUNK)
        limits = builder.shuffle_vector(first, undefined, zeros)  # Broadcasts the limit.
        compare = builder.icmp_signed if is_int else builder.fcmp_ordered
        return builder.bitcast(compare(">", elements, limits), ir.IntType(64))

    return signature, generate


@intrinsic
def lowest_set_bit(typing: Typing, mask: Type) -> Intrinsic:
    """Index of the lowest set bit of a mask that is not 0."""

    def generate(context: Context, builder: Builder, signature: Signature, values: Values) -> Value:
        return builder.cttz(values[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@intrinsic
def _dot_lanes(typing: Typing, a: Type, i: Type, b: Type, j: Type, n: Type) -> Intrinsic:
    """The inner product of the first n (a multiple of 8) elements of row i of a and row j of b."""
    signature = types.float64(a, types.intp, b, types.intp, types.intp)

    def generate(context: Context, builder: Builder, signature: Signature, values: Values) -> Value:
        single = ir.VectorType(ir.FloatType(), LANES)
        double = ir.VectorType(ir.DoubleType(), LANES)
        rows = []
        for argument in (0, 2):
            array_type = signature.args[argument]
            array = context.make_array(array_type)(context, builder, values[argument])
            width = cgutils.unpack_tuple(builder, array.shape, 2)[1]
            start = builder.mul(values[argument + 1], width)
            rows.append(cgutils.gep_inbounds(builder, array.data, start))
        total = cgutils.alloca_once_value(builder, ir.Constant(double, [0.0] * LANES))
        steps = builder.udiv(values[4], values[4].type(LANES))
        with cgutils.for_range(builder, steps) as loop:
            first = builder.mul(loop.index, loop.index.type(LANES))
            factors = []
            for row in rows:
                pointer = cgutils.gep_inbounds(builder, row, first)
                elements = builder.load(builder.bitcast(pointer, single.as_pointer()), align=4)
                factors.append(builder.fpext(elements, double))
            builder.store(builder.fadd(builder.load(total), builder.fmul(*factors)), total)
        lanes = builder.load(total)
        sums = [builder.extract_element(lanes, ir.IntType(32)(lane)) for lane in range(LANES)]
        while len(sums) > 1:
            sums = [builder.fadd(*pair) for pair in zip(sums[::2], sums[1::2], strict=True)]
        return sums[0]

    return signature, generate


@njit_cached
def dot(a: Floats, i: int, b: Floats, j: int) -> float:
    """Inner product of row i of a and row j of b (float32), summed in float64 in eight lanes.

    Takes row numbers: creating views of the rows would cost more than the sum.
    """
    f = a.shape[1]
    in_lanes = f // LANES * LANES
    remainder = 0.0
    for column in range(in_lanes, f):
        remainder += np.float64(a[i, column]) * np.float64(b[j, column])
    return _dot_lanes(a, i, b, j, in_lanes) + remainder


@njit_cached
def quantise(
    rows: Floats, codes: npt.NDArray[np.int8], scales: Doubles, errors: Doubles, common_scale: float
) -> None:
    """Quantises rows to int8, so that `rows ~ scales * codes`.

    Args:
        rows: (n, f) float32.
        codes: (n, f) int8, written.
        scales: (n,) written.
        errors: (n,) written: Euclidean norm of the rounding error of every row.
        common_scale: scale of all rows; 0: every row gets its own.
    """
    n, f = rows.shape
    for i in range(n):
        scale = common_scale
        if scale == 0.0:
            largest = np.float32(0.0)
            for j in range(f):
                largest = max(largest, abs(rows[i, j]))
            scale = np.float64(largest) / 127.0
        if scale == 0.0:
            scale = 1.0
        scales[i] = scale
        inverse = 1.0 / scale
        squared_error = 0.0
        for j in range(f):
            value = np.float64(rows[i, j])
            code = np.rint(value * inverse)
            code = min(127.0, max(-127.0, code))
            codes[i, j] = np.int8(code)
            error = value - code * scale
            squared_error += error * error
        errors[i] = np.sqrt(squared_error)


@intrinsic
def prefetch(typing: Typing, rows: Type, i: Type) -> Intrinsic:
    """Prefetches the first 256 bytes of a row into the cache."""
    signature = types.void(rows, types.intp)

    def generate(context: Context, builder: Builder, signature: Signature, values: Values) -> Value:
        array = context.make_array(signature.args[0])(context, builder, values[0])
        width = cgutils.unpack_tuple(builder, array.shape, 2)[1]
        row = cgutils.gep_inbounds(builder, array.data, builder.mul(values[1], width))
        pointer, int32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        name = "llvm.prefetch.p0" if str(pointer) == "ptr" else "llvm.prefetch.p0i8"
        function_type = ir.FunctionType(ir.VoidType(), [pointer, int32, int32, int32])
        function = cgutils.get_or_insert_function(builder.module, function_type, name)
        start = builder.bitcast(row, pointer)
        for offset in range(0, 256, 64):
            line = cgutils.gep_inbounds(builder, start, ir.IntType(64)(offset))
            # To read, of highest locality, from the data cache.
            builder.call(function, [line, int32(0), int32(3), int32(1)])
        return context.get_dummy_value()

    return signature, generate

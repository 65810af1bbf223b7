"""Vector instructions that compiled Python does not reach by itself, written as LLVM.

LLVM's vectors become AVX-512 instructions, or what the processor has; sums are never reordered, so
the same vectors give the same bits on any processor. Imports numba, so this module and those on it
are imported only inside functions. Everything is compiled once, cached on disk, and lets go of the
interpreter's lock.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from batch_predictions.jit import njit_cached

CHUNK = 64
"""Products compared at once; blocks are as wide as a multiple of it."""

LANES = 8
"""Partial sums of an inner product: one register of float64 with AVX-512."""


@intrinsic
def greater_mask(typing: Any, row: Any, start: Any, whole: Any, real: Any) -> Any:
    """A bit for each of row[start : start + 64] that is above `whole` (int32) or `real` (float32).

    Written as LLVM vectors, which become four AVX-512 comparisons, or what the processor has.
    """
    signature = types.uint64(row, types.intp, types.int32, types.float32)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.args[0]
        array = context.make_array(kind)(context, builder, values[0])
        place = cgutils.gep_inbounds(builder, array.data, values[1])
        exact = isinstance(kind.dtype, types.Integer)
        element = ir.IntType(32) if exact else ir.FloatType()
        vector = ir.VectorType(element, CHUNK)
        held = builder.load(builder.bitcast(place, vector.as_pointer()), align=4)
        limit = values[2] if exact else values[3]
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), limit, ir.IntType(32)(0))
        same = ir.Constant(ir.VectorType(ir.IntType(32), CHUNK), [0] * CHUNK)
        limits = builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), same)
        compare = builder.icmp_signed if exact else builder.fcmp_ordered
        return builder.bitcast(compare(">", held, limits), ir.IntType(64))

    return signature, generate


@intrinsic
def first_bit(typing: Any, mask: Any) -> Any:
    """The number of zeros below the lowest one."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.cttz(values[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@intrinsic
def _dot_whole(typing: Any, a: Any, i: Any, b: Any, j: Any, n: Any) -> Any:
    """The inner product of the first n (a multiple of 8) elements of row i of a and row j of b."""
    signature = types.float64(a, types.intp, b, types.intp, types.intp)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        real, wide = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.DoubleType(), LANES)
        rows = []
        for at in (0, 2):
            array = context.make_array(signature.args[at])(context, builder, values[at])
            width = cgutils.unpack_tuple(builder, array.shape, 2)[1]
            start = builder.mul(values[at + 1], width)
            rows.append(cgutils.gep_inbounds(builder, array.data, start))
        total = cgutils.alloca_once_value(builder, ir.Constant(wide, [0.0] * LANES))
        steps = builder.udiv(values[4], values[4].type(LANES))
        with cgutils.for_range(builder, steps) as loop:
            first = builder.mul(loop.index, loop.index.type(LANES))
            parts = []
            for row in rows:
                place = cgutils.gep_inbounds(builder, row, first)
                held = builder.load(builder.bitcast(place, real.as_pointer()), align=4)
                parts.append(builder.fpext(held, wide))
            builder.store(builder.fadd(builder.load(total), builder.fmul(*parts)), total)
        lanes = builder.load(total)
        sums = [builder.extract_element(lanes, ir.IntType(32)(lane)) for lane in range(LANES)]
        while len(sums) > 1:
            sums = [builder.fadd(*pair) for pair in zip(sums[::2], sums[1::2], strict=True)]
        return sums[0]

    return signature, generate


@njit_cached
def dot(a: Any, i: int, b: Any, j: int) -> float:
    """The inner product of two rows of float32, summed in float64 in eight fixed lanes.

    Rows by number: a view of each would cost more than the sum.
    """
    f = a.shape[1]
    whole = f // LANES * LANES
    rest = 0.0
    for each in range(whole, f):
        rest += np.float64(a[i, each]) * np.float64(b[j, each])
    return _dot_whole(a, i, b, j, whole) + rest


@njit_cached
def quantise(rows: Any, out: Any, scales: Any, errors: Any, common: float) -> None:
    """Rows (n, f) as int8 with `rows ~ scales * out`.

    Args:
        scales: (n,) written.
        errors: (n,) written: Euclidean norm of what rounding took from each row.
        common: one scale for all rows; 0: each row its own.
    """
    n, f = rows.shape
    for i in range(n):
        scale = common
        if scale == 0.0:
            largest = np.float32(0.0)
            for j in range(f):
                largest = max(largest, abs(rows[i, j]))
            scale = np.float64(largest) / 127.0
        if scale == 0.0:
            scale = 1.0
        scales[i] = scale
        inverse = 1.0 / scale
        lost = 0.0
        for j in range(f):
            value = np.float64(rows[i, j])
            code = np.rint(value * inverse)
            code = min(127.0, max(-127.0, code))
            out[i, j] = np.int8(code)
            rest = value - code * scale
            lost += rest * rest
        errors[i] = np.sqrt(lost)


@intrinsic
def prefetch(typing: Any, rows: Any, i: Any) -> Any:
    """Asks for the first 256 bytes of a row, which lies anywhere in memory, ahead of its use."""
    signature = types.void(rows, types.intp)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, values[0])
        width = cgutils.unpack_tuple(builder, array.shape, 2)[1]
        row = cgutils.gep_inbounds(builder, array.data, builder.mul(values[1], width))
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        name = "llvm.prefetch.p0" if str(byte) == "ptr" else "llvm.prefetch.p0i8"
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        fetch = cgutils.get_or_insert_function(builder.module, kind, name)
        place = builder.bitcast(row, byte)
        for offset in range(0, 256, 64):
            line = cgutils.gep_inbounds(builder, place, ir.IntType(64)(offset))
            builder.call(fetch, [line, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return signature, generate

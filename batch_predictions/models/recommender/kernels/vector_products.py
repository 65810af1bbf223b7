"""Sums of products that stay in vector registers, for compiled loops over users and items.

numba's own loops over arrays load and store every partial sum. Terms are added one after another,
each product and its sum rounded once or each for itself as the function says, so that equal terms
give equal bits whatever is computed beside them. `prefetch_line` has what comes next loaded.

Imports numba, so this module is imported only inside functions.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from batch_predictions.models.common.vector_ir import (
    Builder,
    Context,
    Intrinsic,
    Signature,
    Type,
    Typing,
    Value,
    Values,
    broadcast,
    line_pointer,
    load_element,
    load_index,
    open_arrays,
    place_in_matrix,
    vector_pointer,
)

TILE_ROWS = 4
"""Rows of a tile of sums."""
TILE_COLUMNS = 16
"""Columns of a tile: the sums of a tile are 8 registers of AVX2 in single precision."""
LINE_COLUMNS = 64
"""Columns of a line of sums."""


@intrinsic
def add_products_to_tile(
    typing: Typing, left: Type, right: Type, row: Type, column: Type, terms: Type, sums: Type
) -> Intrinsic:
    """sums[row + r, column + c] += left[t, row + r] x right[t, column + c], t from 0 to terms - 1.

    Of the `TILE_ROWS` x `TILE_COLUMNS` sums from `row` and `column` on. A product and its sum are
    rounded once. All matrices are contiguous.

    Args:
        typing: numba's context.
        left: a line of factors per term, (terms or more, rows).
        right: a line of factors per term, (terms or more, columns).
        row: first row of the tile.
        column: first column of the tile.
        terms: number of terms.
        sums: changed, of the same dtype, (rows, columns).
    """
    signature = types.void(left, right, types.intp, types.intp, types.intp, sums)

    def generate(context: Context, builder: Builder, signature: Signature, values: Values) -> Value:
        arrays = open_arrays(context, builder, signature, values, (0, 1, 5))
        row, column, terms = values[2:5]
        float_type = context.get_value_type(signature.args[5].dtype)
        vector = ir.VectorType(float_type, TILE_COLUMNS)
        tile_rows = [builder.add(row, row.type(number)) for number in range(TILE_ROWS)]
        places = [place_in_matrix(builder, arrays[5], line, column) for line in tile_rows]
        targets = [vector_pointer(builder, arrays[5], place, vector) for place in places]
        size = float_type.get_abi_size(context.target_data)
        totals = [
            cgutils.alloca_once_value(builder, builder.load(target, align=size))
            for target in targets
        ]
        function_type = ir.FunctionType(vector, [vector] * 3)
        name = f"llvm.fma.v{TILE_COLUMNS}f{8 * size}"
        multiply_add = cgutils.get_or_insert_function(builder.module, function_type, name)
        with cgutils.for_range(builder, terms) as loop:
            place = place_in_matrix(builder, arrays[1], loop.index, column)
            pointer = vector_pointer(builder, arrays[1], place, vector)
            factors = builder.load(pointer, align=size)
            for total, line in zip(totals, tile_rows, strict=True):
                place = place_in_matrix(builder, arrays[0], loop.index, line)
                factor = load_element(builder, arrays[0], place)
                products = [broadcast(builder, factor, TILE_COLUMNS), factors, builder.load(total)]
                builder.store(builder.call(multiply_add, products), total)
        for total, target in zip(totals, targets, strict=True):
            builder.store(builder.load(total), target, align=size)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def sum_lines(
    typing: Typing, weights: Type, numbers: Type, start: Type, stop: Type, lines: Type, sums: Type
) -> Intrinsic:
    """sums[c] = the sum of weights[e] x lines[numbers[e], c], e from start to stop - 1.

    A product and its sum are each rounded.

    Args:
        typing: numba's context.
        weights: float32, (entries,).
        numbers: of lines, (entries,).
        start: first entry.
        stop: the entry after the last.
        lines: contiguous, (n, LINE_COLUMNS).
        sums: written, (LINE_COLUMNS,).
    """
    signature = types.void(weights, numbers, types.intp, types.intp, lines, sums)

    def generate(context: Context, builder: Builder, signature: Signature, values: Values) -> Value:
        arrays = open_arrays(context, builder, signature, values, (0, 1, 4, 5))
        vector = ir.VectorType(ir.FloatType(), LINE_COLUMNS)
        index_type = values[2].type
        total = cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * LINE_COLUMNS))
        with cgutils.for_range_slice(builder, values[2], values[3], index_type(1)) as (entry, _):
            number = load_index(builder, arrays[1], entry)
            pointer = line_pointer(builder, arrays[4], number, vector)
            weight = load_element(builder, arrays[0], entry)
            line = builder.load(pointer, align=4)
            product = builder.fmul(broadcast(builder, weight, LINE_COLUMNS), line)
            builder.store(builder.fadd(builder.load(total), product), total)
        target = vector_pointer(builder, arrays[5], index_type(0), vector)
        builder.store(builder.load(total), target, align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def prefetch_line(typing: Typing, values: Type, index: Type) -> Intrinsic:
    """Asks the processor to load a line of a flat array into its caches."""
    signature = types.void(values, types.intp)

    def generate(context: Context, builder: Builder, signature: Signature, values: Values) -> Value:
        array = open_arrays(context, builder, signature, values, (0,))[0]
        place = cgutils.gep_inbounds(builder, array.data, values[1])
        pointer = builder.bitcast(place, cgutils.voidptr_t)
        number = ir.IntType(32)
        kinds = [pointer.type, number, number, number]
        instruction = builder.module.declare_intrinsic(
            "llvm.prefetch", kinds[:1], ir.FunctionType(ir.VoidType(), kinds)
        )
        # For reading, into the second-level cache, of data.
        builder.call(instruction, [pointer, number(0), number(2), number(1)])
        return context.get_dummy_value()

    return signature, generate

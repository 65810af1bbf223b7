"""Compiled tree scoring: rows in groups of 32, one register lane each.

Imports numba, so this module is imported only inside functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from batch_predictions.jit import njit_cached

ROWS = 32
"""Rows of a group: two registers of AVX-512, four of AVX2, which the compiler makes of them."""


@intrinsic
def _exit_leaves(
    typing: Any,
    group: Any,
    feature: Any,
    threshold: Any,
    left: Any,
    mask: Any,
    start: Any,
    stop: Any,
    out: Any,
) -> Any:
    """The leaf of one tree, nodes start to stop - 1, that each row of a group ends in.

    Every node clears the leaves of its left side for the rows that it sends to the right; the
    lowest bit that is left is the exit. Whether a row comes by the node at all need not be asked:
    a node off its path clears none that the path would reach first.
    """
    signature = types.void(
        group, feature, threshold, left, mask, types.intp, types.intp, types.int64[::1]
    )

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        arrays = {
            n: context.make_array(signature.args[n])(context, builder, values[n])
            for n in (0, 1, 2, 3, 4, 7)
        }
        single = signature.args[0].dtype == types.float32
        number = ir.FloatType() if single else ir.DoubleType()
        word = ir.IntType(8 * signature.args[4].dtype.bitwidth // 8)
        numbers, words = ir.VectorType(number, ROWS), ir.VectorType(word, ROWS)
        place = values[5].type

        def of(n: int, at: Any) -> Any:
            return builder.load(cgutils.gep_inbounds(builder, arrays[n].data, at))

        def spread(value: Any, vector: Any) -> Any:
            nothing = ir.Constant(vector, ir.Undefined)
            one = builder.insert_element(nothing, value, ir.IntType(32)(0))
            same = ir.Constant(ir.VectorType(ir.IntType(32), ROWS), [0] * ROWS)
            return builder.shuffle_vector(one, nothing, same)

        bits = cgutils.alloca_once_value(builder, ir.Constant(words, [-1] * ROWS))
        with cgutils.for_range_slice(builder, values[5], values[6], place(1)) as (node, _):
            row = builder.mul(builder.sext(of(1, node), place), place(ROWS))
            held = cgutils.gep_inbounds(builder, arrays[0].data, row)
            x = builder.load(builder.bitcast(held, numbers.as_pointer()), align=4)
            limit = spread(of(2, node), numbers)
            # A value that is missing fails the first comparison and passes the second.
            to_right = builder.select(
                builder.icmp_unsigned("!=", of(3, node), ir.IntType(8)(0)),
                builder.fcmp_ordered(">", x, limit),
                builder.fcmp_unordered(">", x, limit),
            )
            now = builder.load(bits)
            fewer = builder.and_(now, spread(of(4, node), words))
            builder.store(builder.select(to_right, fewer, now), bits)
        kind = ir.FunctionType(words, [words, ir.IntType(1)])
        name = f"llvm.cttz.v{ROWS}i{word.width}"
        count = cgutils.get_or_insert_function(builder.module, kind, name)
        lowest = builder.call(count, [builder.load(bits), ir.IntType(1)(1)])
        leaves = ir.VectorType(ir.IntType(64), ROWS)
        if word.width < 64:
            lowest = builder.zext(lowest, leaves)
        builder.store(lowest, builder.bitcast(arrays[7].data, leaves.as_pointer()), align=8)
        return context.get_dummy_value()

    return signature, generate


@njit_cached
def margins(
    rows: Any,
    first: Any,
    feature: Any,
    threshold: Any,
    left: Any,
    mask: Any,
    leaf: Any,
    zeroed: Any,
    out: Any,
) -> None:
    """Sums of leaves, tree after tree, in float64: LightGBM's own order, so its own bits.

    Args:
        rows: (n, f) float32 or float64.
        first: (trees + 1,) the first node of each tree.
        feature, threshold, left, mask: (nodes,) column; limit, of the type of `rows`; 1 where a
            missing value goes left; the leaves that are left when a row goes right.
        leaf: (trees, leaves) values from the left to the right.
        zeroed: (f,) whether a missing value of the column counts as 0.
        out: (n,) written.
    """
    n, width = rows.shape
    group = np.zeros((width, ROWS), dtype=rows.dtype)
    ends = np.zeros(ROWS, dtype=np.int64)
    total = np.empty(ROWS)
    for start in range(0, n, ROWS):
        real = min(ROWS, n - start)
        for row in range(real):
            for column in range(width):
                value = rows[start + row, column]
                if zeroed[column] and np.isnan(value):
                    value = rows.dtype.type(0)
                group[column, row] = value
        total[:] = 0.0
        for tree in range(len(first) - 1):
            _exit_leaves(group, feature, threshold, left, mask, first[tree], first[tree + 1], ends)
            for row in range(ROWS):
                total[row] += leaf[tree, ends[row]]
        out[start : start + real] = total[:real]


@njit_cached
def _satisfies(x: Any, limit: float, to_right: bool, missing_left: bool, met: Any) -> None:
    """Sets to 0 where a row does not take a split's side; rows before stay as they are."""
    if to_right and missing_left:
        for row in range(ROWS):
            met[row] = met[row] if x[row] > limit else 0.0
    elif to_right:
        for row in range(ROWS):
            met[row] = 0.0 if x[row] <= limit else met[row]
    elif missing_left:
        for row in range(ROWS):
            met[row] = 0.0 if x[row] > limit else met[row]
    else:
        for row in range(ROWS):
            met[row] = met[row] if x[row] <= limit else 0.0


@njit_cached
def parts(
    rows: Any,
    leaves: Any,
    values: Any,
    features: Any,
    shares: Any,
    conditions: Any,
    splits: Any,
    limits: Any,
    sides: Any,
    points: Any,
    weights: Any,
    zeroed: Any,
    out: Any,
) -> None:
    """TreeSHAP of groups of rows; see `parts.Parts`.

    Args:
        rows: (n, f).
        leaves: (leaves + 1,) the first step of each leaf's path; `values` its value.
        features, shares: (steps,) column; share of the training's rows that its splits let by.
        conditions: (steps + 1,) the first of each step's splits.
        splits, limits, sides: (splits,) column; limit; 1 to the right, plus 2 where a missing
            value goes left.
        points, weights: (most + 1, most) of Gauss and Legendre on 0 to 1, by number of points.
        zeroed: (f,) whether a missing value of the column counts as 0.
        out: (n, f) written.
    """
    n, width = rows.shape
    longest = 1
    for leaf in range(len(values)):
        longest = max(longest, leaves[leaf + 1] - leaves[leaf])
    group = np.zeros((width, ROWS))
    total = np.zeros((width, ROWS))
    met = np.empty((longest, ROWS))
    products = np.empty((longest, ROWS))
    part = np.empty(ROWS)
    for start in range(0, n, ROWS):
        real = min(ROWS, n - start)
        for row in range(real):
            for column in range(width):
                value = np.float64(rows[start + row, column])
                group[column, row] = 0.0 if zeroed[column] and np.isnan(value) else value
        total[:] = 0.0
        for leaf in range(len(values)):
            begin, steps = leaves[leaf], leaves[leaf + 1] - leaves[leaf]
            count = (steps + 1) // 2
            for place in range(count):
                products[place, :] = values[leaf]
            for step in range(steps):
                own = met[step]
                own[:] = 1.0
                at = begin + step
                for split in range(conditions[at], conditions[at + 1]):
                    side = sides[split]
                    _satisfies(
                        group[splits[split]], limits[split], side & 1 == 1, side & 2 == 2, own
                    )
                for place in range(count):
                    point = points[count, place]
                    base = (1.0 - point) * shares[at]
                    held = products[place]
                    for row in range(ROWS):
                        held[row] *= base + point * own[row]
            for step in range(steps):
                own = met[step]
                at = begin + step
                part[:] = 0.0
                for place in range(count):
                    point = points[count, place]
                    base = (1.0 - point) * shares[at]
                    none = weights[count, place] / base
                    more = weights[count, place] / (base + point) - none
                    held = products[place]
                    for row in range(ROWS):
                        part[row] += held[row] * (none + more * own[row])
                moved = total[features[at]]
                for row in range(ROWS):
                    moved[row] += (own[row] - shares[at]) * part[row]
        for row in range(real):
            for column in range(width):
                out[start + row, column] = total[column, row]

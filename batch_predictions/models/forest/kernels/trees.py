"""Compiled scoring of trees, in groups of rows with one register lane each.

Imports numba, so this module is imported only inside functions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from batch_predictions.core.arrays import Doubles, Floats, Int32s, Int64s
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
    broadcast,
    line_pointer,
    load_element,
    load_index,
    open_arrays,
)
from batch_predictions.models.forest.kernels.banzhaf_kernels import GROUP_ROWS, goes_right

GROUPS_AT_ONCE = 16
"""Groups that are transposed together."""


@intrinsic
def _find_exit_leaves(
    typing: Typing,
    columns: Type,
    split_feature: Type,
    threshold: Type,
    right_mask: Type,
    start: Type,
    middle: Type,
    stop: Type,
    exit_leaves: Type,
) -> Intrinsic:
    """Writes the leaf of one tree, nodes start to stop - 1, that each row of a group ends in.

    A missing value goes right at the nodes before `middle` and left at the others. Every node
    clears the leaves of its left side for the rows that go right; the lowest bit that remains is
    the exit leaf. Nodes off a row's path are evaluated too: they only clear leaves of other
    subtrees, never the exit leaf.
    """
    signature = types.void(
        columns,
        split_feature,
        threshold,
        right_mask,
        types.intp,
        types.intp,
        types.intp,
        types.uint64[::1],
    )

    def generate(context: Context, builder: Builder, signature: Signature, values: Values) -> Value:
        arrays = open_arrays(context, builder, signature, values, (0, 1, 2, 3, 7))
        float_type = context.get_value_type(signature.args[0].dtype)
        mask_type = context.get_value_type(signature.args[3].dtype)
        float_vector = ir.VectorType(float_type, GROUP_ROWS)
        mask_vector = ir.VectorType(mask_type, GROUP_ROWS)
        start, middle, stop = values[4:7]
        bits = cgutils.alloca_once_value(builder, ir.Constant(mask_vector, [-1] * GROUP_ROWS))
        for first, last, missing_left in ((start, middle, False), (middle, stop, True)):
            with cgutils.for_range_slice(builder, first, last, start.type(1)) as (node, _):
                column = load_index(builder, arrays[1], node)
                x = builder.load(line_pointer(builder, arrays[0], column, float_vector), align=4)
                threshold = load_element(builder, arrays[2], node)
                mask = broadcast(builder, load_element(builder, arrays[3], node), GROUP_ROWS)
                is_right = goes_right(builder, x, threshold, missing_left=missing_left)
                before = builder.load(bits)
                builder.store(builder.select(is_right, builder.and_(before, mask), before), bits)
        count_type = ir.FunctionType(mask_vector, [mask_vector, ir.IntType(1)])
        name = f"llvm.cttz.v{GROUP_ROWS}i{mask_type.width}"
        count_trailing_zeros = cgutils.get_or_insert_function(builder.module, count_type, name)
        lowest_bit = builder.call(count_trailing_zeros, [builder.load(bits), ir.IntType(1)(1)])
        leaf_vector = ir.VectorType(ir.IntType(64), GROUP_ROWS)
        if mask_type.width < 64:
            lowest_bit = builder.zext(lowest_bit, leaf_vector)
        target = builder.bitcast(arrays[7].data, leaf_vector.as_pointer())
        builder.store(lowest_bit, target, align=8)
        return context.get_dummy_value()

    return signature, generate


@njit_cached
def group_rows(rows: Doubles | Floats, start: int, lines: Doubles | Floats) -> None:
    """Transposes rows in groups, with a line of values for each feature.

    Args:
        rows: (n, features), in C or Fortran order.
        start: the first row.
        lines: written, values beyond the last row stay, (groups, features, GROUP_ROWS).
    """
    n, n_features = rows.shape
    whole = min(len(lines), (n - start) // GROUP_ROWS)
    # Column by column, a few groups at a time: of rows in Fortran order a single group has two
    # cache lines of each column, which no prefetching expects.
    for first in range(0, whole, GROUPS_AT_ONCE):
        for feature in range(n_features):
            for group in range(first, min(first + GROUPS_AT_ONCE, whole)):
                # A constant number of rows, which the compiler turns into vectors.
                for row in range(GROUP_ROWS):
                    lines[group, feature, row] = rows[start + group * GROUP_ROWS + row, feature]
    if whole < len(lines):
        first_row = start + whole * GROUP_ROWS
        for feature in range(n_features):
            for row in range(n - first_row):
                lines[whole, feature, row] = rows[first_row + row, feature]


@njit_cached
def raw_scores(
    lines: Doubles | Floats,
    tree_starts: Int64s,
    tree_middles: Int64s,
    split_feature: Int32s,
    threshold: Doubles | Floats,
    right_mask: npt.NDArray[np.uint32],
    leaf_values: Doubles,
    out: Doubles,
) -> None:
    """Sums of leaf values, tree after tree, in float64: LightGBM's own order, so its own bits.

    Args:
        lines: n rows in groups, float32 or float64, (groups, features, GROUP_ROWS).
        tree_starts: first node of each tree, and the number of nodes, (trees + 1,).
        tree_middles: first node of each tree where a missing value goes left, (trees,).
        split_feature: column of each node, (nodes,).
        threshold: of each node, with the dtype of `lines`, (nodes,).
        right_mask: bits of the leaves that remain possible if a row goes right, (nodes,).
        leaf_values: from left to right, (trees, leaves).
        out: written, (n,).
    """
    exit_leaves = np.zeros(GROUP_ROWS, dtype=np.uint64)
    total = np.empty(GROUP_ROWS)
    for group in range(len(lines)):
        start = group * GROUP_ROWS
        size = min(GROUP_ROWS, len(out) - start)
        total[:] = 0.0
        for tree in range(len(tree_starts) - 1):
            _find_exit_leaves(
                lines[group],
                split_feature,
                threshold,
                right_mask,
                tree_starts[tree],
                tree_middles[tree],
                tree_starts[tree + 1],
                exit_leaves,
            )
            values = leaf_values[tree]
            for row in range(GROUP_ROWS):
                total[row] += values[exit_leaves[row]]
        out[start : start + size] = total[:size]

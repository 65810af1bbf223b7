"""Compiled Banzhaf values of groups of features, in groups of 32 rows.

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
from batch_predictions.models.common.vector_ir import (
    broadcast,
    line_pointer,
    load_element,
    open_arrays,
)
from batch_predictions.models.forest.kernels.row_groups import GROUP_ROWS, goes_right


@intrinsic
def _keep_leaves(
    typing: Any,
    columns: Any,
    split_feature: Any,
    threshold: Any,
    default_left: Any,
    right_mask: Any,
    left_mask: Any,
    node_players: Any,
    start: Any,
    stop: Any,
    alive: Any,
) -> Any:
    """Clears the leaves that the nodes start to stop - 1 of one tree bar for each row of a group.

    `alive` (players, GROUP_ROWS), written, holds the leaves whose splits on a player's features a
    row passes.
    """
    arrays_before = (columns, split_feature, threshold, default_left, right_mask, left_mask)
    signature = types.void(*arrays_before, node_players, types.intp, types.intp, alive)

    def generate_code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        arrays = open_arrays(context, builder, signature, values, (0, 1, 2, 3, 4, 5, 6, 9))
        float_type = context.get_value_type(signature.args[0].dtype)
        mask_type = context.get_value_type(signature.args[4].dtype)
        float_vector = ir.VectorType(float_type, GROUP_ROWS)
        mask_vector = ir.VectorType(mask_type, GROUP_ROWS)
        index_type = values[7].type
        with cgutils.for_range_slice(builder, values[7], values[8], index_type(1)) as (node, _):
            column = builder.sext(load_element(builder, arrays[1], node), index_type)
            x = builder.load(line_pointer(builder, arrays[0], column, float_vector), align=4)
            threshold, default_left = (load_element(builder, arrays[n], node) for n in (2, 3))
            right, left = (load_element(builder, arrays[n], node) for n in (4, 5))
            is_right = goes_right(builder, x, threshold, default_left)
            player = load_element(builder, arrays[6], node)
            target = line_pointer(builder, arrays[9], player, mask_vector)
            before = builder.load(target, align=4)
            mask = builder.select(
                is_right,
                broadcast(builder, right, GROUP_ROWS),
                broadcast(builder, left, GROUP_ROWS),
            )
            builder.store(builder.and_(before, mask), target, align=4)
        return context.get_dummy_value()

    return signature, generate_code


@intrinsic
def _add_leaf(
    typing: Any,
    value: Any,
    players: Any,
    zero_fractions: Any,
    start: Any,
    stop: Any,
    bit: Any,
    alive: Any,
    total: Any,
) -> Any:
    """Adds what a leaf adds to its players, the entries start to stop - 1.

    Args:
        typing: numba's context.
        value: of the leaf.
        players: player of each entry.
        zero_fractions: of each entry, above 0.
        start: first entry.
        stop: the entry after the last.
        bit: of the leaf in its tree.
        alive: leaves that each player lets each row reach, (players, GROUP_ROWS).
        total: written, (players, GROUP_ROWS).
    """
    arrays_before = (types.float32, players, zero_fractions)
    signature = types.void(*arrays_before, types.intp, types.intp, bit, alive, total)

    def generate_code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        arrays = open_arrays(context, builder, signature, values, (1, 2, 6, 7))
        single = ir.FloatType()
        float_vector = ir.VectorType(single, GROUP_ROWS)
        mask_vector = ir.VectorType(context.get_value_type(signature.args[5]), GROUP_ROWS)
        index_type = values[3].type
        bits = broadcast(builder, values[5], GROUP_ROWS)
        zeros = ir.Constant(mask_vector, [0] * GROUP_ROWS)

        def entries() -> Any:
            return cgutils.for_range_slice(builder, values[3], values[4], index_type(1))

        def passes(player: Any) -> Any:
            line = line_pointer(builder, arrays[6], player, mask_vector)
            alive = builder.load(line, align=4)
            return builder.icmp_unsigned("!=", builder.and_(alive, bits), zeros)

        def choose(player: Any, if_passes: Any, if_not: Any) -> Any:
            values = (
                broadcast(builder, if_passes, GROUP_ROWS),
                broadcast(builder, if_not, GROUP_ROWS),
            )
            return builder.select(passes(player), *values)

        product = cgutils.alloca_once_value(builder, broadcast(builder, values[0], GROUP_ROWS))
        with entries() as (entry, _):
            player, fraction = (load_element(builder, arrays[n], entry) for n in (1, 2))
            if_not = builder.fmul(fraction, single(0.5))
            factor = choose(player, builder.fadd(if_not, single(0.5)), if_not)
            builder.store(builder.fmul(builder.load(product), factor), product)
        with entries() as (entry, _):
            player, fraction = (load_element(builder, arrays[n], entry) for n in (1, 2))
            # (o - z) over the player's own factor (z + o) / 2, which is in the product.
            difference = builder.fsub(single(2.0), builder.fmul(fraction, single(2.0)))
            if_passes = builder.fdiv(difference, builder.fadd(fraction, single(1.0)))
            weight = choose(player, if_passes, single(-2.0))
            target = line_pointer(builder, arrays[7], player, float_vector)
            added = builder.fmul(builder.load(product), weight)
            builder.store(builder.fadd(builder.load(target, align=4), added), target, align=4)
        return context.get_dummy_value()

    return signature, generate_code


@njit_cached
def banzhaf_values(
    lines: Any,
    tree_starts: Any,
    split_feature: Any,
    threshold: Any,
    default_left: Any,
    right_mask: Any,
    left_mask: Any,
    node_players: Any,
    tree_leaves: Any,
    leaf_values: Any,
    leaf_players: Any,
    players: Any,
    zero_fractions: Any,
    leaf_bits: Any,
    out: Any,
) -> None:
    """Contributions of players, tree after tree; see `banzhaf.BanzhafExplainer`.

    Args:
        lines: n rows in groups, (groups, features, GROUP_ROWS).
        leaf_bits: the bit of each leaf of a tree.
        out: written, (n, players).
    """
    n, n_players = out.shape
    alive = np.empty((n_players, GROUP_ROWS), dtype=right_mask.dtype)
    all_leaves = leaf_bits.sum()
    total = np.empty((n_players, GROUP_ROWS), dtype=np.float32)
    for group in range(len(lines)):
        start = group * GROUP_ROWS
        size = min(GROUP_ROWS, n - start)
        total[:] = 0.0
        for tree in range(len(tree_starts) - 1):
            alive[:] = all_leaves
            _keep_leaves(
                lines[group],
                split_feature,
                threshold,
                default_left,
                right_mask,
                left_mask,
                node_players,
                tree_starts[tree],
                tree_starts[tree + 1],
                alive,
            )
            for leaf in range(tree_leaves[tree], tree_leaves[tree + 1]):
                _add_leaf(
                    leaf_values[leaf],
                    players,
                    zero_fractions,
                    leaf_players[leaf],
                    leaf_players[leaf + 1],
                    leaf_bits[leaf - tree_leaves[tree]],
                    alive,
                    total,
                )
        for row in range(size):
            for player in range(n_players):
                out[start + row, player] = total[player, row]

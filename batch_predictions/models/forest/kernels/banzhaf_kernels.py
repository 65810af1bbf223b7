"""Compiled Banzhaf values of groups of features, in groups of rows with one register lane each.

Imports numba, so this module is imported only inside functions.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from batch_predictions.core.arrays import Floats, Int32s, Int64s, UInt8s
from batch_predictions.core.jit import njit_cached
from batch_predictions.models.common.vector_ir import (
    Builder,
    Context,
    Intrinsic,
    OpenArray,
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
)

GROUP_ROWS = 64
"""Rows of a group: four registers of AVX-512, or eight of AVX2, and the bits of an integer."""


def goes_right(builder: Builder, x: Value, threshold: Value, *, missing_left: bool) -> Value:
    """Emits the mask of the lanes whose value goes to a node's right child.

    Args:
        builder: of the code.
        x: a vector of values.
        threshold: a row goes left up to this value.
        missing_left: whether a missing value goes left.
    """
    thresholds = broadcast(builder, threshold, GROUP_ROWS)
    # A missing value fails the first comparison and passes the second.
    compare = builder.fcmp_ordered if missing_left else builder.fcmp_unordered
    return compare(">", x, thresholds)


_FLOATS = ir.VectorType(ir.FloatType(), GROUP_ROWS)
_LANES = ir.VectorType(ir.IntType(1), GROUP_ROWS)
_BITS = ir.IntType(GROUP_ROWS)
_ALL_ROWS = np.uint64(2**GROUP_ROWS - 1)


@intrinsic
def _multiply_down(
    typing: Typing,
    columns: Type,
    split_feature: Type,
    threshold: Type,
    default_left: Type,
    edges: Type,
    earlier_edges: Type,
    factors: Type,
    start: Type,
    stop: Type,
    passes: Type,
    products: Type,
) -> Intrinsic:
    """Writes `passes` and `products` of the edges below the nodes start to stop - 1 of one tree.

    Args:
        typing: numba's context.
        columns: values of a group of rows, (features, GROUP_ROWS).
        split_feature, threshold, default_left, edges, earlier_edges, factors: of the nodes; see
            `banzhaf.BanzhafExplainer`.
        start: first node.
        stop: the node after the last.
        passes: a bit for each row that goes along the edge and all earlier ones of its player,
            uint64, (edges,). The entry of edge 0 has all bits.
        products: of the factors from the root to the edge, (edges, GROUP_ROWS). The line of edge 0
            is 1.
    """
    nodes = (columns, split_feature, threshold, default_left, edges, earlier_edges, factors)
    signature = types.void(*nodes, types.intp, types.intp, passes, products)

    def generate(context: Context, builder: Builder, signature: Signature, values: Values) -> Value:
        arrays = open_arrays(context, builder, signature, values, (0, 1, 2, 3, 4, 5, 6, 9, 10))
        float_type = context.get_value_type(signature.args[0].dtype)
        column_vector = ir.VectorType(float_type, GROUP_ROWS)
        start, stop, index_type = values[7], values[8], values[7].type
        with cgutils.for_range_slice(builder, start, stop, index_type(1)) as (node, _):
            column = load_index(builder, arrays[1], node)
            x = builder.load(line_pointer(builder, arrays[0], column, column_vector), align=4)
            threshold, default_left = (load_element(builder, arrays[n], node) for n in (2, 3))
            is_right = builder.select(
                builder.icmp_unsigned("!=", default_left, default_left.type(0)),
                goes_right(builder, x, threshold, missing_left=True),
                goes_right(builder, x, threshold, missing_left=False),
            )
            right = builder.bitcast(is_right, _BITS)
            passed = load_element(builder, arrays[9], load_index(builder, arrays[5], node))
            line = line_pointer(builder, arrays[10], load_index(builder, arrays[4], node), _FLOATS)
            product = builder.load(line, align=4)
            first_edge = _first_edge(builder, node, start)
            for side, taken in enumerate((builder.not_(right), right)):
                edge = builder.add(first_edge, index_type(side))
                passes_on = builder.and_(passed, taken)
                builder.store(passes_on, cgutils.gep_inbounds(builder, arrays[9].data, edge))
                numbers = range(3 * side, 3 * side + 3)
                both, only_earlier, none = (_of_node(builder, arrays[6], node, n) for n in numbers)
                factor = builder.select(builder.bitcast(passed, _LANES), only_earlier, none)
                factor = builder.select(builder.bitcast(passes_on, _LANES), both, factor)
                line = line_pointer(builder, arrays[10], edge, _FLOATS)
                builder.store(builder.fmul(product, factor), line, align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _sum_up(
    typing: Typing,
    players: Type,
    edges: Type,
    earlier_edges: Type,
    weights: Type,
    start: Type,
    stop: Type,
    passes: Type,
    products: Type,
    total: Type,
) -> Intrinsic:
    """Adds what the nodes start to stop - 1 of one tree add to their players.

    Args:
        typing: numba's context.
        players, edges, earlier_edges, weights: of the nodes; see `banzhaf.BanzhafExplainer`.
        start: first node.
        stop: the node after the last.
        passes: as `_multiply_down` left it.
        products: as `_multiply_down` left it; an edge's line becomes the sum of the leaves below.
        total: changed, (players, GROUP_ROWS).
    """
    nodes = (players, edges, earlier_edges, weights)
    signature = types.void(*nodes, types.intp, types.intp, passes, products, total)

    def generate(context: Context, builder: Builder, signature: Signature, values: Values) -> Value:
        arrays = open_arrays(context, builder, signature, values, (0, 1, 2, 3, 6, 7, 8))
        start, stop, index_type = values[4], values[5], values[4].type

        def load_lanes(edge: Value) -> Value:
            return builder.bitcast(load_element(builder, arrays[6], edge), _LANES)

        with cgutils.for_range(builder, builder.sub(stop, start)) as loop:
            # Children come after their parents.
            node = builder.sub(builder.sub(stop, loop.index), index_type(1))
            target = line_pointer(builder, arrays[8], load_index(builder, arrays[0], node), _FLOATS)
            added = builder.load(target, align=4)
            nothing = ir.Constant(_FLOATS, [0.0] * GROUP_ROWS)
            weights = [_of_node(builder, arrays[3], node, n) for n in range(3)]
            if_not = builder.select(
                load_lanes(load_index(builder, arrays[2], node)), weights[2], nothing
            )
            first_edge = _first_edge(builder, node, start)
            sums = []
            for side in (0, 1):
                edge = builder.add(first_edge, index_type(side))
                line = line_pointer(builder, arrays[7], edge, _FLOATS)
                sums.append(builder.load(line, align=4))
                weight = builder.select(load_lanes(edge), weights[side], if_not)
                added = builder.fadd(added, builder.fmul(sums[side], weight))
            builder.store(added, target, align=4)
            line = line_pointer(builder, arrays[7], load_index(builder, arrays[1], node), _FLOATS)
            builder.store(builder.fadd(*sums), line, align=4)
        return context.get_dummy_value()

    return signature, generate


def _first_edge(builder: Builder, node: Value, start: Value) -> Value:
    """The edge to a node's left child; the next one leads to its right child."""
    number = builder.sub(node, start)
    return builder.add(builder.shl(number, number.type(1)), number.type(1))


def _of_node(builder: Builder, array: OpenArray, node: Value, number: int) -> Value:
    """Emits a vector whose lanes all hold an element of a node's line of a matrix."""
    place = place_in_matrix(builder, array, node, node.type(number))
    return broadcast(builder, load_element(builder, array, place), GROUP_ROWS)


@njit_cached
def banzhaf_values(
    lines: Floats,
    tree_starts: Int64s,
    split_feature: Int32s,
    threshold: Floats,
    default_left: UInt8s,
    players: Int32s,
    edges: Int32s,
    earlier_edges: Int32s,
    factors: Floats,
    weights: Floats,
    out: Floats,
) -> None:
    """Contributions of players, tree after tree; see `banzhaf.BanzhafExplainer` for the arguments.

    Args:
        lines: n rows in groups, (groups, features, GROUP_ROWS).
        out: written, (n, players).
    """
    n, n_players = out.shape
    max_nodes = 0
    for tree in range(len(tree_starts) - 1):
        max_nodes = max(max_nodes, tree_starts[tree + 1] - tree_starts[tree])
    passes = np.empty(2 * max_nodes + 1, dtype=np.uint64)
    passes[0] = _ALL_ROWS
    products = np.empty((2 * max_nodes + 1, GROUP_ROWS), dtype=np.float32)
    total = np.empty((n_players, GROUP_ROWS), dtype=np.float32)
    for group in range(len(lines)):
        total[:] = 0.0
        for tree in range(len(tree_starts) - 1):
            start, stop = tree_starts[tree], tree_starts[tree + 1]
            products[0, :] = 1.0
            _multiply_down(
                lines[group],
                split_feature,
                threshold,
                default_left,
                edges,
                earlier_edges,
                factors,
                start,
                stop,
                passes,
                products,
            )
            _sum_up(players, edges, earlier_edges, weights, start, stop, passes, products, total)
        first_row = group * GROUP_ROWS
        for row in range(min(GROUP_ROWS, n - first_row)):
            for player in range(n_players):
                out[first_row + row, player] = total[player, row]

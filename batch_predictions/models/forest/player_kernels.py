"""Compiled TreeSHAP of few players, in groups of 32 rows.

Imports numba, so this module is imported only inside functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from batch_predictions.jit import njit_cached
from batch_predictions.models.forest.kernels import GROUP_ROWS, fill_columns


@njit_cached
def fill_tables(
    leaf_values: Any,
    player_starts: Any,
    zero_fractions: Any,
    table_starts: Any,
    points: Any,
    weights: Any,
    tables: Any,
) -> None:
    """The leaves' tables; see `player_shap.PlayerExplainer` and `treeshap`.

    Args:
        leaf_values: (leaves,).
        player_starts: first entry of each leaf in `zero_fractions`, (leaves + 1,).
        zero_fractions: of each leaf's players, (entries,).
        table_starts: first value of each leaf in `tables`, and the number of values, (leaves + 1,).
        points, weights: of the quadrature, by number of points.
        tables: written.
    """
    for leaf in range(len(leaf_values)):
        first = player_starts[leaf]
        k = player_starts[leaf + 1] - first
        n_points = (k + 1) // 2
        for case in range(1 << k):
            start = table_starts[leaf] + case * k
            tables[start : start + k] = 0.0
            for index in range(n_points):
                point = points[n_points, index]
                product = weights[n_points, index] * leaf_values[leaf]
                for place in range(k):
                    passes = case >> place & 1
                    product *= (1.0 - point) * zero_fractions[first + place] + point * passes
                for place in range(k):
                    passes = case >> place & 1
                    zero_fraction = zero_fractions[first + place]
                    factor = (1.0 - point) * zero_fraction + point * passes
                    tables[start + place] += (passes - zero_fraction) * product / factor


@njit_cached
def _keep_leaves(
    x: Any, threshold: float, missing_left: bool, left_bits: Any, right_bits: Any, alive: Any
) -> None:
    """Clears the leaves on the side of a node that rows do not go to.

    Args:
        x: values of the node's feature, (GROUP_ROWS,).
        threshold: a row goes left up to this value.
        missing_left: whether a missing value goes left.
        left_bits: leaves on the left.
        right_bits: leaves on the right.
        alive: leaves whose splits on the node's player a row passes, written, (GROUP_ROWS,).
    """
    if_right, if_left = ~left_bits, ~right_bits
    if missing_left:
        for row in range(GROUP_ROWS):
            alive[row] &= if_right if x[row] > threshold else if_left
    else:
        for row in range(GROUP_ROWS):
            alive[row] &= if_left if x[row] <= threshold else if_right


@njit_cached
def _add_leaf(players: Any, bit: Any, table: Any, alive: Any, cases: Any, total: Any) -> None:
    """Adds what a leaf adds to its players.

    Args:
        players: of the leaf's path, (k,).
        bit: of the leaf in its tree.
        table: contributions by case and player, (2^k k and more,).
        alive: leaves that each player lets each row reach, (players, GROUP_ROWS).
        cases: overwritten, (GROUP_ROWS,).
        total: written, (players, GROUP_ROWS).
    """
    k = len(players)
    one = np.uint64(1)
    cases[:] = 0
    for place in range(k):
        passes = alive[players[place]]
        for row in range(GROUP_ROWS):
            cases[row] |= np.int64(passes[row] >> bit & one) << place
    for place in range(k):
        contributions = total[players[place]]
        for row in range(GROUP_ROWS):
            contributions[row] += table[place + cases[row] * k]


@njit_cached
def add_player_values(
    rows: Any,
    tree_nodes: Any,
    tree_leaves: Any,
    features: Any,
    thresholds: Any,
    default_left: Any,
    node_players: Any,
    left_bits: Any,
    right_bits: Any,
    leaf_players: Any,
    players: Any,
    table_starts: Any,
    tables: Any,
    missing_as_zero: Any,
    out: Any,
) -> None:
    """Contributions of players, tree after tree; see `player_shap.PlayerExplainer`.

    Args:
        rows: (n, features).
        out: written, (n, players).
    """
    n, n_features = rows.shape
    n_players = out.shape[1]
    columns = np.zeros((n_features, GROUP_ROWS))
    alive = np.empty((n_players, GROUP_ROWS), dtype=np.uint64)
    cases = np.empty(GROUP_ROWS, dtype=np.int64)
    total = np.empty((n_players, GROUP_ROWS))
    for start in range(0, n, GROUP_ROWS):
        size = min(GROUP_ROWS, n - start)
        fill_columns(rows, start, size, missing_as_zero, columns)
        total[:] = 0.0
        for tree in range(len(tree_nodes) - 1):
            alive[:] = ~np.uint64(0)
            for node in range(tree_nodes[tree], tree_nodes[tree + 1]):
                _keep_leaves(
                    columns[features[node]],
                    thresholds[node],
                    default_left[node],
                    left_bits[node],
                    right_bits[node],
                    alive[node_players[node]],
                )
            for leaf in range(tree_leaves[tree], tree_leaves[tree + 1]):
                first, last = leaf_players[leaf], leaf_players[leaf + 1]
                table = tables[table_starts[leaf] :]
                bit = np.uint64(leaf - tree_leaves[tree])
                _add_leaf(players[first:last], bit, table, alive, cases, total)
        for row in range(size):
            for player in range(n_players):
                out[start + row, player] = total[player, row]

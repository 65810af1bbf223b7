"""Contributions of groups of features to a raw score: TreeSHAP of few players, by tables.

Where the players of TreeSHAP are a few groups of features (`treeshap.TreeExplainer` with players),
a leaf of value v adds to a player what depends only on which of the leaf's players send a row the
leaf's way: with k players on the path, 2^k cases, which are computed once. A row then needs, as in
QuickScorer, one comparison for each node, and for each leaf k lookups. The results are those of
`TreeExplainer`, up to the order of sums, some ten times as fast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from batch_predictions.models.forest.lightgbm_text import Tree, UnsupportedModelError, parse_model
from batch_predictions.models.forest.quickscorer import (
    Doubles,
    Rows,
    check_width,
    find_missing_as_zero,
)
from batch_predictions.models.forest.treeshap import (
    Path,
    build_explainer,
    group_by_player,
    iterate_paths,
    quadrature,
)

Integers = npt.NDArray[np.int64]
MAX_TABLE_VALUES = 4_000_000
"""Of larger tables, 32 MB, the quadrature of `TreeExplainer` is used instead."""


def build_player_explainer(model_text: str, players: Sequence[int]) -> Callable[[Rows], Doubles]:
    """A function from rows, (n, features), to contributions, (n, players), for a model's text.

    Args:
        model_text: LightGBM's text.
        players: the player of each feature, 0 and up.
    """
    try:
        return PlayerExplainer.from_text(model_text, players).shap_values
    except UnsupportedModelError:
        return build_explainer(model_text, players)


@dataclass(frozen=True)
class PlayerExplainer:
    """The nodes and the leaves' tables of all trees as flat arrays.

    Attributes:
        tree_nodes: first node of each tree, and the number of nodes, (trees + 1,).
        tree_leaves: first leaf of each tree, and the number of leaves, (trees + 1,).
        features: column that each node compares, (nodes,).
        thresholds: a row goes left up to this value, (nodes,).
        default_left: whether a missing value goes left, (nodes,).
        node_players: the player of each node's feature, (nodes,).
        left_bits, right_bits: the leaves of its tree on each side of a node, (nodes,).
        leaf_players: first entry of each leaf in `players`, and the number of entries,
            (leaves + 1,).
        players: players of the leaves' paths, (entries,).
        table_starts: first value of each leaf in `tables`, (leaves,).
        tables: contributions by case and player, cases in the order of the bits of `players`.
        missing_as_zero: whether a missing value counts as 0, (features,).
        n_players: number of players.
    """

    tree_nodes: Integers
    tree_leaves: Integers
    features: Integers
    thresholds: Doubles
    default_left: npt.NDArray[np.bool_]
    node_players: Integers
    left_bits: npt.NDArray[np.uint64]
    right_bits: npt.NDArray[np.uint64]
    leaf_players: Integers
    players: Integers
    table_starts: Integers
    tables: Doubles
    missing_as_zero: npt.NDArray[np.bool_]
    n_players: int

    def shap_values(self, rows: Rows) -> Doubles:
        """Contributions, (n, players), of rows, (n, features).

        Raises:
            ValueError: rows do not have the model's number of columns.
        """
        from batch_predictions.models.forest.player_kernels import add_player_values

        check_width(rows, len(self.missing_as_zero))
        out = np.empty((len(rows), self.n_players), np.float64)
        add_player_values(
            np.ascontiguousarray(rows),
            self.tree_nodes,
            self.tree_leaves,
            self.features,
            self.thresholds,
            self.default_left,
            self.node_players,
            self.left_bits,
            self.right_bits,
            self.leaf_players,
            self.players,
            self.table_starts,
            self.tables,
            self.missing_as_zero,
            out,
        )
        return out

    @classmethod
    def from_text(cls, model_text: str, players: Sequence[int]) -> PlayerExplainer:
        """The trees of a model in LightGBM's text format.

        Raises:
            UnsupportedModelError: only LightGBM can explain the model, or its tables are too large.
        """
        n_features, trees = parse_model(model_text)
        trees = [tree for tree in trees if tree.children]
        leaves = _LeafPaths(players)
        tree_leaves = [0]
        for tree in trees:
            paths = dict(iterate_paths(tree))
            for leaf in range(len(tree.leaf_values)):
                leaves.add(tree, leaf, paths[leaf])
            tree_leaves.append(tree_leaves[-1] + len(tree.leaf_values))
        features = [feature for tree in trees for feature in tree.split_feature]
        return cls(
            np.cumsum([0, *(len(tree.split_feature) for tree in trees)]).astype(np.int64),
            np.array(tree_leaves, np.int64),
            np.array(features, np.int64),
            np.array([t for tree in trees for t in tree.threshold], np.float64),
            np.array([left for tree in trees for left in tree.default_left], np.bool_),
            np.array([players[feature] for feature in features], np.int64),
            np.array([bits for tree in trees for bits in tree.left_leaves], np.uint64),
            np.array([bits for tree in trees for bits in _right_leaves(tree)], np.uint64),
            np.array(leaves.player_starts, np.int64),
            np.array(leaves.players, np.int64),
            np.array(leaves.table_starts[:-1], np.int64),
            leaves.tables(),
            find_missing_as_zero(n_features, trees),
            max(players, default=-1) + 1,
        )


class _LeafPaths:
    """The players of each leaf with their zero fractions, leaf by leaf."""

    def __init__(self, player_of_feature: Sequence[int]) -> None:
        self.player_of_feature = player_of_feature
        self.leaf_values: list[float] = []
        self.player_starts, self.table_starts = [0], [0]
        self.players: list[int] = []
        self.zero_fractions: list[float] = []

    def add(self, tree: Tree, leaf: int, path: Path) -> None:
        """Adds the next leaf.

        Raises:
            UnsupportedModelError: the tables are too large.
        """
        self.leaf_values.append(tree.leaf_values[leaf])
        for player, zero_fraction, _ in group_by_player(tree, path, self.player_of_feature):
            self.players.append(player)
            self.zero_fractions.append(zero_fraction)
        k = len(self.players) - self.player_starts[-1]
        self.player_starts.append(len(self.players))
        self.table_starts.append(self.table_starts[-1] + (k << k))
        if self.table_starts[-1] > MAX_TABLE_VALUES:
            raise UnsupportedModelError("the leaves' paths have too many players")

    def tables(self) -> Doubles:
        """What each leaf adds to its k players in each of the 2^k cases: see `treeshap`."""
        from batch_predictions.models.forest.player_kernels import fill_tables

        tables = np.empty(self.table_starts[-1])
        points, weights = quadrature(int(max(np.diff(self.player_starts), default=1)))
        fill_tables(
            np.array(self.leaf_values, np.float64),
            np.array(self.player_starts, np.int64),
            np.array(self.zero_fractions, np.float64),
            np.array(self.table_starts, np.int64),
            points,
            weights,
            tables,
        )
        return tables


def _right_leaves(tree: Tree) -> list[int]:
    """The leaves below each node's right child, as bits, (nodes,)."""

    def leaves_below(child: int) -> int:
        if child < 0:
            return 1 << (-1 - child)
        return tree.left_leaves[child] | leaves_below(tree.children[child][1])

    return [leaves_below(right) for _, right in tree.children]

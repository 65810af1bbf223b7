"""Contributions of groups of features to a raw score: Banzhaf values, many rows at once.

TreeSHAP's integral (see `treeshap`) averages over how many of the other players are known. Its
midpoint counts every coalition of the other players alike: the Banzhaf value (Banzhaf 1965,
"Weighted voting doesn't work"; for models: Wang and Jia 2023, "Data Banzhaf"). With the zero
fractions z_j of a leaf's players and o_j, whether the player's splits let the row pass, a leaf of
value v adds to player i

    v (o_i - z_i) * prod over j other than i of (z_j + o_j) / 2

Unlike Shapley values they do not sum to the score; they rank the players almost always alike, at a
tenth of the time. Of two players both values are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from batch_predictions.models.forest.lightgbm_text import Tree, UnsupportedModelError, parse_model
from batch_predictions.models.forest.quickscorer import (
    Doubles,
    Forest,
    Rows,
    iterate_lines,
)
from batch_predictions.models.forest.treeshap import (
    build_explainer,
    group_by_player,
    iterate_paths,
)

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


def build_banzhaf_explainer(model_text: str, players: Sequence[int]) -> Callable[[Rows], Doubles]:
    """A function from rows, (n, features), to contributions, (n, players), for a model's text.

    A model that is not supported here is explained by LightGBM's Shapley values.

    Args:
        model_text: LightGBM's text.
        players: the player of each feature, 0 and up.
    """
    try:
        return BanzhafExplainer.from_text(model_text, players).values
    except UnsupportedModelError:
        return build_explainer(model_text, players)


@dataclass(frozen=True)
class BanzhafExplainer:
    """The nodes of all trees, and the players of all leaves, as flat arrays.

    Attributes:
        forest: the nodes.
        node_players: the player of each node's feature, (nodes,).
        left_mask: bits of the leaves that remain possible if a row goes left, (nodes,).
        tree_leaves: first leaf of each tree, and the number of leaves, (trees + 1,).
        leaf_values: (leaves,).
        leaf_players: first entry of each leaf in `players`, and the number of entries,
            (leaves + 1,).
        players: players of the leaves' paths, (entries,).
        zero_fractions: share of the training rows that the player's splits let pass, (entries,).
        n_players: number of players.
    """

    forest: Forest
    node_players: Integers
    left_mask: npt.NDArray[Any]
    tree_leaves: Integers
    leaf_values: Floats
    leaf_players: Integers
    players: Integers
    zero_fractions: Floats
    n_players: int

    def values(self, rows: Rows) -> Doubles:
        """Contributions in single precision, (n, players), of rows, (n, features).

        Raises:
            ValueError: rows do not have the model's number of columns.
        """
        from batch_predictions.models.forest.kernels.banzhaf import banzhaf_values

        forest = self.forest
        out = np.empty((len(rows), self.n_players), np.float32)
        for span, lines in iterate_lines(rows, forest.n_features):
            banzhaf_values(
                lines,
                forest.tree_starts,
                forest.split_feature,
                forest.thresholds[lines.dtype.name],
                forest.default_left,
                forest.right_mask,
                self.left_mask,
                self.node_players,
                self.tree_leaves,
                self.leaf_values,
                self.leaf_players,
                self.players,
                self.zero_fractions,
                _leaf_bits(forest.right_mask.dtype),
                out[span],
            )
        return out.astype(np.float64)

    @classmethod
    def from_text(cls, model_text: str, players: Sequence[int]) -> BanzhafExplainer:
        """The trees of a model in LightGBM's text format.

        Raises:
            UnsupportedModelError: only LightGBM can explain the model.
        """
        forest = Forest.from_text(model_text)
        _, trees = parse_model(model_text)
        all_bits = (1 << forest.right_mask.dtype.itemsize * 8) - 1
        tree_leaves, leaf_players = [0], [0]
        entries: list[tuple[int, float]] = []
        for tree in trees:
            # A tree without a split has no path: it is a constant, which no player changes.
            paths = dict(iterate_paths(tree))
            for leaf in range(len(paths)):
                for player, zero_fraction, _ in group_by_player(tree, paths[leaf], players):
                    entries.append((player, zero_fraction))
                leaf_players.append(len(entries))
            tree_leaves.append(tree_leaves[-1] + len(paths))
        split_trees = [tree for tree in trees if tree.children]
        return cls(
            forest,
            np.array([players[feature] for feature in forest.split_feature], np.int64),
            np.array(
                [all_bits & ~bits for tree in trees for bits in _right_leaves(tree)],
                forest.right_mask.dtype,
            ),
            np.array(tree_leaves, np.int64),
            np.array([value for tree in split_trees for value in tree.leaf_values], np.float32),
            np.array(leaf_players, np.int64),
            np.array([player for player, _ in entries], np.int64),
            np.array([zero_fraction for _, zero_fraction in entries], np.float32),
            max(players, default=-1) + 1,
        )


def _leaf_bits(mask: np.dtype[Any]) -> npt.NDArray[Any]:
    """The bit of each leaf of a tree, (bits,)."""
    return np.array([1 << leaf for leaf in range(mask.itemsize * 8)], mask)


def _right_leaves(tree: Tree) -> list[int]:
    """The leaves below each node's right child, as bits, (nodes,)."""

    def leaves_below(child: int) -> int:
        if child < 0:
            return 1 << (-1 - child)
        return tree.left_leaves[child] | leaves_below(tree.children[child][1])

    return [leaves_below(right) for _, right in tree.children]

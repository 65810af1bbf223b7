"""Contributions of groups of features to a raw score: Banzhaf values, many rows at once.

A player is a group of features. A known player sends a row along its own path, an unknown one along
every path in proportion to the training rows (the game of path-dependent TreeSHAP, Lundberg et al.
2020). The Banzhaf value counts every coalition of the other players alike (Banzhaf 1965, "Weighted
voting doesn't work"; for models: Wang and Jia 2023, "Data Banzhaf"). With the zero fractions z_j,
the shares of the training rows that the splits of a leaf's players let pass, and o_j, whether they
let the row pass, a leaf of value v adds to player i

    v (o_i - z_i) * prod over j other than i of (z_j + o_j) / 2

which is w_i v times the product over all j, with the weight w = 2 (o - z) / (o + z). Unlike Shapley
values they do not sum to the score; they rank the players almost always alike. Of two players both
values are equal. `benchmarks/trees.py` compares them with LightGBM's Shapley values.

Leaves share the beginnings of their paths, so that one pass down a tree and one up suffice
(Karczmarz et al. 2022, "Improved Feature Importance Computation for Tree Models Based on the
Banzhaf Value"). Down: an edge that changes z and o of its player to z' and o' multiplies the
product by (z' + o') / (z + o). Up: it adds w' - w times the sum of the leaves below to the player.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles, Floats, Int32s
from batch_predictions.models.forest.lightgbm_text import Tree, UnsupportedModelError, parse_model
from batch_predictions.models.forest.quickscorer import Rows, iterate_lines, thresholds_by_dtype


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
        import lightgbm

        booster = lightgbm.Booster(model_str=model_text)

        def explain(rows: Rows) -> Doubles:
            values = booster.predict(rows, pred_contrib=True, num_threads=1)
            return sum_players(np.asarray(values, np.float64)[:, :-1], players)

        return explain


def sum_players(contributions: Rows, players: Sequence[int]) -> Doubles:
    """Sums the features' contributions, (n, features), by player, (n, players)."""
    sums = np.zeros((len(contributions), max(players, default=-1) + 1))
    for feature, player in enumerate(players):
        sums[:, player] += contributions[:, feature]
    return sums


@dataclass(frozen=True)
class BanzhafExplainer:
    """The nodes of all trees, parents before their children, as flat arrays.

    Edge 0 of a tree leads to its root; edges 2 i + 1 and 2 i + 2 lead to the left and to the right
    child of the tree's i-th node.

    Attributes:
        n_features: number of columns of rows.
        n_players: number of players.
        tree_starts: first node of each tree, and the number of nodes, (trees + 1,).
        split_feature: column that each node compares, (nodes,).
        thresholds: a row goes left up to this value, (nodes,), by the dtype of rows.
        default_left: whether a missing value goes left, (nodes,).
        players: the player of each node's feature, (nodes,).
        edges: the edge that leads to each node, (nodes,).
        earlier_edges: the last edge on the way to the node that is a split on its player's
            features; 0 without one, (nodes,).
        factors: see `_Node`, (nodes, 6).
        weights: see `_Node`, (nodes, 3).
    """

    n_features: int
    n_players: int
    tree_starts: npt.NDArray[np.intp]
    split_feature: Int32s
    thresholds: dict[str, Rows]
    default_left: npt.NDArray[np.uint8]
    players: Int32s
    edges: Int32s
    earlier_edges: Int32s
    factors: Floats
    weights: Floats

    def values(self, rows: Rows) -> Doubles:
        """Contributions in single precision, (n, players), of rows, (n, features).

        Raises:
            ValueError: rows do not have the model's number of columns.
        """
        from batch_predictions.models.forest.kernels.banzhaf_kernels import banzhaf_values

        out = np.empty((len(rows), self.n_players), np.float32)
        for span, lines in iterate_lines(rows, self.n_features):
            banzhaf_values(
                lines,
                self.tree_starts,
                self.split_feature,
                self.thresholds[lines.dtype.name],
                self.default_left,
                self.players,
                self.edges,
                self.earlier_edges,
                self.factors,
                self.weights,
                out[span],
            )
        return out.astype(np.float64)

    @classmethod
    def from_text(cls, model_text: str, players: Sequence[int]) -> BanzhafExplainer:
        """The trees of a model in LightGBM's text format.

        Raises:
            UnsupportedModelError: only LightGBM can explain the model.
        """
        n_features, trees = parse_model(model_text)
        # A tree without a split is a constant, which no player changes.
        nodes_of_trees = [list(_iterate_nodes(tree, players)) for tree in trees]
        nodes = [node for nodes in nodes_of_trees for node in nodes]
        return cls(
            n_features,
            max(players, default=-1) + 1,
            np.cumsum([0, *map(len, nodes_of_trees)]).astype(np.intp),
            np.array([node.split_feature for node in nodes], np.int32),
            thresholds_by_dtype([node.threshold for node in nodes]),
            np.array([node.default_left for node in nodes], np.uint8),
            np.array([players[node.split_feature] for node in nodes], np.int32),
            np.array([node.edge for node in nodes], np.int32),
            np.array([node.earlier_edge for node in nodes], np.int32),
            np.array([node.factors for node in nodes], np.float32).reshape(-1, 6),
            np.array([node.weights for node in nodes], np.float32).reshape(-1, 3),
        )


class _Node(NamedTuple):
    """A node of one tree; see `BanzhafExplainer`.

    Attributes:
        factors: of the left edge, then of the right: for rows that go along it and passed the
            player's splits before; for others that passed these; for rows that did not. The factor
            of an edge to a leaf has the leaf's value in it.
        weights: of rows that go along the left edge, along the right one, or along the other; rows
            that did not pass the player's splits before add nothing.
    """

    split_feature: int
    threshold: float
    default_left: bool
    edge: int
    earlier_edge: int
    factors: list[float]
    weights: list[float]


def _iterate_nodes(tree: Tree, players: Sequence[int]) -> Iterator[_Node]:
    """The nodes of a tree, parents before their children."""
    # A node, the edge to it, and the last edge of each player with its zero fraction.
    stack: list[tuple[int, int, dict[int, tuple[int, float]]]] = []
    if tree.children:
        stack.append((0, 0, {}))
    number = 0
    while stack:
        node, edge, last_edges = stack.pop()
        player = players[tree.split_feature[node]]
        earlier_edge, before = last_edges.get(player, (0, 1.0))
        factors, weights = [], []
        for side, child in enumerate(tree.children[node]):
            share = tree.share(node, side)
            fraction = before * share
            value = tree.leaf_values[-1 - child] if child < 0 else 1.0
            factors += [
                value * (fraction + 1) / (before + 1),
                value * fraction / (before + 1),
                value * share,
            ]
            weights.append(_weight(fraction) - _weight(before))
            if child >= 0:
                child_edge = 2 * number + 1 + side
                stack.append((child, child_edge, last_edges | {player: (child_edge, fraction)}))
        yield _Node(
            tree.split_feature[node],
            tree.threshold[node],
            tree.default_left[node],
            edge,
            earlier_edge,
            factors,
            [*weights, -2.0 - _weight(before)],
        )
        number += 1


def _weight(zero_fraction: float) -> float:
    """The weight w of a player whose splits let a row pass; that of one that does not is -2."""
    return 2 * (1 - zero_fraction) / (1 + zero_fraction)

"""Contribution of each feature to a raw score: TreeSHAP as LightGBM computes it, many rows at once.

Lundberg et al. 2020, "From local explanations to global understanding with explainable AI for
trees" (path-dependent TreeSHAP): Shapley values of the game in which a known feature sends a row
along its own path, and an unknown feature along every path in proportion to the training rows.
Take a leaf of value v whose path splits on the features (or groups of them) j. The path's splits
on j let a share z_j of the training rows pass (the zero fraction), and this row (o_j = 1) or not
(o_j = 0). The leaf adds to feature i

    v (o_i - z_i) * integral over t from 0 to 1 of prod over j other than i of ((1 - t) z_j + t o_j)

since the weights of Shapley values are Beta integrals. The product is a polynomial in t, which
Gauss-Legendre quadrature integrates exactly with half as many points as features. All rows take the
same steps, so that they are computed side by side. No factor is 0, so that the product without i is
a quotient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from batch_predictions.models.forest.lightgbm_text import (
    Tree,
    UnsupportedModelError,
    parse_model,
)
from batch_predictions.models.forest.quickscorer import Doubles, Rows, iterate_lines

Integers = npt.NDArray[np.int64]
Path = list[tuple[int, bool]]
"""Nodes from the root to a leaf, and whether the path goes right at each."""


def build_explainer(
    model_text: str, players: Sequence[int] | None = None
) -> Callable[[Rows], Doubles]:
    """A function from rows, (n, features), to contributions, (n, players), for a model's text.

    A model that is not supported here is explained by LightGBM on one thread, feature by feature;
    contributions of players are the sums of these.

    Args:
        model_text: LightGBM's text.
        players: see `TreeExplainer.from_text`.
    """
    try:
        return TreeExplainer.from_text(model_text, players).shap_values
    except UnsupportedModelError:
        import lightgbm

        booster = lightgbm.Booster(model_str=model_text)

        def explain(rows: Rows) -> Doubles:
            values = booster.predict(rows, pred_contrib=True, num_threads=1)
            contributions = np.asarray(values, np.float64)[:, :-1]
            return contributions if players is None else sum_players(contributions, players)

        return explain


def sum_players(contributions: Rows, players: Sequence[int]) -> Doubles:
    """Sums of the features' contributions, (n, features), by player, (n, players)."""
    sums = np.zeros((len(contributions), max(players) + 1))
    for feature, player in enumerate(players):
        sums[:, player] += contributions[:, feature]
    return sums


@dataclass(frozen=True)
class TreeExplainer:
    """The paths of all leaves as flat arrays; see `kernels.trees.shap_values`.

    A path has a step for each of its players, and a step has the path's splits on the player's
    features. Every feature is a player of its own, or players are groups of features that are known
    together: fewer steps, and no share of what features of one group do together is lost.

    Attributes:
        leaf_starts: first step of each leaf, and the number of steps, (leaves + 1,).
        leaf_values: (leaves,).
        step_players: player of each step, (steps,).
        zero_fractions: share of the training rows that each step's splits let pass, (steps,).
        step_starts: first split of each step, and the number of splits, (steps + 1,).
        split_features: (splits,).
        split_thresholds: (splits,).
        split_directions: 1 if the path goes right, plus 2 if a missing value goes left, (splits,).
        points, weights: of Gauss-Legendre quadrature on 0 to 1, by number of points,
            (max points + 1, max points).
        n_features: number of columns of rows.
        n_players: number of players.
    """

    leaf_starts: Integers
    leaf_values: Doubles
    step_players: Integers
    zero_fractions: Doubles
    step_starts: Integers
    split_features: Integers
    split_thresholds: Doubles
    split_directions: Integers
    points: Doubles
    weights: Doubles
    n_features: int
    n_players: int

    def shap_values(self, rows: Rows) -> Doubles:
        """Computes contributions, (n, players), of rows, (n, features).

        Where every feature is a player, they are those of `Booster.predict(rows,
        pred_contrib=True)` without its last column, the expected value.

        Raises:
            ValueError: rows do not have the model's number of columns.
        """
        from batch_predictions.models.forest.kernels.trees import shap_values

        contributions = np.empty((len(rows), self.n_players), np.float64)
        for span, lines in iterate_lines(rows, self.n_features):
            shap_values(
                lines,
                self.leaf_starts,
                self.leaf_values,
                self.step_players,
                self.zero_fractions,
                self.step_starts,
                self.split_features,
                self.split_thresholds,
                self.split_directions,
                self.points,
                self.weights,
                contributions[span],
            )
        return contributions

    @classmethod
    def from_text(cls, model_text: str, players: Sequence[int] | None = None) -> TreeExplainer:
        """The paths of a model in LightGBM's text format.

        Args:
            model_text: the model.
            players: the player of each feature, 0 and up; None: each feature is one.

        Raises:
            UnsupportedModelError: only LightGBM can explain the model.
        """
        n_features, trees = parse_model(model_text)
        players = range(n_features) if players is None else players
        leaf_starts, leaf_values = [0], []
        step_players, zero_fractions, step_starts = [], [], [0]
        split_features, split_thresholds, split_directions = [], [], []
        for tree in trees:
            for leaf, path in iterate_paths(tree):
                leaf_values.append(tree.leaf_values[leaf])
                for player, zero_fraction, splits in group_by_player(tree, path, players):
                    step_players.append(player)
                    zero_fractions.append(zero_fraction)
                    for node, goes_right in splits:
                        split_features.append(tree.split_feature[node])
                        split_thresholds.append(tree.threshold[node])
                        split_directions.append(goes_right + 2 * tree.default_left[node])
                    step_starts.append(len(split_features))
                leaf_starts.append(len(step_players))
        points, weights = quadrature(int(max(np.diff(leaf_starts), default=1)))
        return cls(
            np.array(leaf_starts, np.int64),
            np.array(leaf_values, np.float64),
            np.array(step_players, np.int64),
            np.array(zero_fractions, np.float64),
            np.array(step_starts, np.int64),
            np.array(split_features, np.int64),
            np.array(split_thresholds, np.float64),
            np.array(split_directions, np.int64),
            points,
            weights,
            n_features,
            max(players, default=-1) + 1,
        )


def iterate_paths(tree: Tree) -> Iterator[tuple[int, Path]]:
    """Every leaf of a tree with its path; nothing for a tree that is a single leaf."""
    stack: list[tuple[int, Path]] = [(0, [])] if tree.children else []
    while stack:
        child, path = stack.pop()
        if child < 0:
            yield -1 - child, path
            continue
        left, right = tree.children[child]
        stack.append((left, [*path, (child, False)]))
        stack.append((right, [*path, (child, True)]))


def group_by_player(
    tree: Tree, path: Path, players: Sequence[int]
) -> list[tuple[int, float, Path]]:
    """Groups the splits of a path by player, each with its zero fraction.

    Args:
        tree: the tree.
        path: nodes from the root to a leaf, each with the direction in which the path goes.
        players: player of each feature.
    """
    steps: dict[int, tuple[float, Path]] = {}
    for node, goes_right in path:
        player = players[tree.split_feature[node]]
        zero_fraction, splits = steps.get(player, (1.0, []))
        zero_fraction *= tree.share(node, goes_right)
        steps[player] = zero_fraction, [*splits, (node, goes_right)]
    return [(player, fraction, splits) for player, (fraction, splits) in steps.items()]


def quadrature(max_features: int) -> tuple[Doubles, Doubles]:
    """Points and weights of Gauss-Legendre quadrature on 0 to 1, by number of points.

    Args:
        max_features: players of the longest path; half as many points are exact for it.
    """
    max_points = (max_features + 1) // 2
    points = np.zeros((max_points + 1, max_points))
    weights = np.zeros((max_points + 1, max_points))
    for count in range(1, max_points + 1):
        nodes, node_weights = np.polynomial.legendre.leggauss(count)
        points[count, :count], weights[count, :count] = (nodes + 1) / 2, node_weights / 2
    return points, weights

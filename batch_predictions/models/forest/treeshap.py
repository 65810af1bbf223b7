"""What each feature adds to a margin: TreeSHAP as LightGBM computes it, many rows at once.

Lundberg et al. 2020, "From local explanations to global understanding with explainable AI for
trees": the Shapley values of the game in which a feature that is known takes its row's way and one
that is not takes every way by the share of the training's rows. A leaf of value v whose path asks
features j, each letting by a share z_j of the rows and this row (o_j = 1) or not (0), gives feature
i the part

    v (o_i - z_i) * integral over t from 0 to 1 of prod over j other than i of ((1 - t) z_j + t o_j)

since the weights of Shapley are Beta integrals. The product is a polynomial in t, which Gauss and
Legendre's points integrate exactly: half as many as features. Every row of a group goes through the
same steps, so they run side by side; no factor is 0, so the product without i is a quotient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from batch_predictions.models.forest import lightgbm_text as text
from batch_predictions.models.forest.quickscorer import Doubles, Rows, zeroed_features


def explainer(model: str) -> Callable[[Rows], Doubles]:
    """Parts of the features in the margins of a model: (n, f) rows to (n, f).

    LightGBM itself, on one thread, answers for a model that is not suited; see `scoring`.
    """
    try:
        return TreeExplainer.read(model).of
    except text.UnsupportedModelError:
        import lightgbm

        booster = lightgbm.Booster(model_str=model)
        return lambda rows: np.asarray(
            booster.predict(rows, pred_contrib=True, num_threads=1), np.float64
        )[:, :-1]


@dataclass(frozen=True)
class TreeExplainer:
    """The paths of all leaves as flat arrays; see `kernels.parts`."""

    zeroed: npt.NDArray[np.bool_]
    arrays: tuple[npt.NDArray[Any], ...]

    def of(self, rows: Rows) -> Doubles:
        """Parts (n, f) of rows (n, f): `Booster.predict(rows, pred_contrib=True)` without its last
        column, the expected value.

        Raises:
            ValueError: rows do not have the model's columns.
        """
        from batch_predictions.models.forest import kernels

        if rows.ndim != 2 or rows.shape[1] != len(self.zeroed):
            raise ValueError(f"rows are {rows.shape}, the trees know {len(self.zeroed)} features")
        out = np.empty(rows.shape, np.float64)
        kernels.parts(np.ascontiguousarray(rows), *self.arrays, self.zeroed, out)
        return out

    @classmethod
    def read(cls, model: str) -> TreeExplainer:
        """The paths of a model in LightGBM's text format.

        Raises:
            UnsuitedError: LightGBM alone can tell; the message says why.
        """
        features, trees = text.read(model)
        leaves, values, columns, shares = [0], [], [], []
        conditions, splits, limits, sides = [0], [], [], []
        for tree in trees:
            for leaf, path in _paths(tree):
                values.append(tree.leaf[leaf])
                for feature, share, taken in _steps(tree, path):
                    columns.append(feature)
                    shares.append(share)
                    for node, right in taken:
                        splits.append(feature)
                        limits.append(tree.threshold[node])
                        sides.append(right + 2 * tree.left[node])
                    conditions.append(len(splits))
                leaves.append(len(columns))
        points, weights = _points(int(max(np.diff(leaves), default=1)))
        whole = np.int64
        arrays = (
            *(np.array(leaves, whole), np.array(values, np.float64)),
            *(np.array(columns, whole), np.array(shares, np.float64)),
            *(np.array(conditions, whole), np.array(splits, whole)),
            *(np.array(limits, np.float64), np.array(sides, whole), points, weights),
        )
        return cls(zeroed_features(features, trees), arrays)


Path = list[tuple[int, bool]]
"""Nodes from the root, and whether the way goes to the right."""


def _paths(tree: text.Tree) -> Iterator[tuple[int, Path]]:
    """Every leaf of a tree with more than one, and the way to it."""
    stack: list[tuple[int, Path]] = [(0, [])] if tree.children else []
    while stack:
        at, path = stack.pop()
        if at < 0:
            yield -1 - at, path
            continue
        for right, child in enumerate(tree.children[at]):
            stack.append((child, [*path, (at, bool(right))]))


def _steps(tree: text.Tree, path: Path) -> list[tuple[int, float, Path]]:
    """A path by feature: the share of rows that its splits let by, and the splits."""
    steps: dict[int, tuple[float, Path]] = {}
    for node, right in path:
        child = tree.children[node][right]
        count = tree.counts[child] if child >= 0 else tree.leaf_counts[-1 - child]
        share, taken = steps.get(tree.feature[node], (1.0, []))
        share *= count / tree.counts[node]
        steps[tree.feature[node]] = share, [*taken, (node, right)]
    return [(feature, share, taken) for feature, (share, taken) in steps.items()]


def _points(longest: int) -> tuple[Doubles, Doubles]:
    """Points and weights on 0 to 1, by their number: enough for a path of `longest` features."""
    most = (int(longest) + 1) // 2
    points, weights = np.zeros((most + 1, most)), np.zeros((most + 1, most))
    for count in range(1, most + 1):
        at, weight = np.polynomial.legendre.leggauss(count)
        points[count, :count], weights[count, :count] = (at + 1) / 2, weight / 2
    return points, weights

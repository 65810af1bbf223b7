"""Scores LightGBM models faster than LightGBM, with results that are equal to the bit.

The algorithm is QuickScorer (Lucchese et al. 2015, "QuickScorer: a Fast Algorithm to Rank Documents
with Additive Ensembles of Regression Trees"), but with groups of rows in place of its sorted
thresholds: every node compares 32 rows at once, no comparison depends on the one before it, and the
state of a tree is one bit for each leaf. It supports trees of up to 64 leaves. Larger trees,
categorical splits and linear leaves are left to LightGBM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from batch_predictions.models.forest.lightgbm_text import (
    MISSING_TYPE_NONE,
    Tree,
    UnsupportedModelError,
    parse_model,
)

Doubles = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32] | Doubles


def build_predictor(model_text: str) -> Callable[[Rows], Doubles]:
    """A function from rows, (n, features), to raw scores, (n,), for LightGBM's text of a model.

    The function uses one thread and releases the interpreter's lock. A model that is not supported
    here is scored by LightGBM on one thread.
    """
    try:
        return Forest.from_text(model_text).raw_scores
    except UnsupportedModelError:
        import lightgbm

        booster = lightgbm.Booster(model_str=model_text)
        return lambda rows: np.asarray(
            booster.predict(rows, raw_score=True, num_threads=1), np.float64
        )


@dataclass(frozen=True)
class Forest:
    """Trees as flat arrays of nodes; see `kernels.trees.raw_scores`.

    Attributes:
        n_features: number of columns of rows.
        tree_starts: first node of each tree, and the number of nodes, (trees + 1,).
        split_feature: column that each node compares, (nodes,).
        thresholds: a row goes left up to this value, (nodes,), by the dtype of rows. For float32 it
            is the largest float32 up to the threshold, which gives the same comparisons.
        default_left: whether a missing value goes left, (nodes,).
        right_mask: bits of the leaves that remain possible if a row goes right, (nodes,).
        leaf_values: from left to right, (trees, leaves).
        missing_as_zero: whether a missing value counts as 0, (features,).
    """

    n_features: int
    tree_starts: npt.NDArray[np.intp]
    split_feature: npt.NDArray[np.int32]
    thresholds: Mapping[str, Rows]
    default_left: npt.NDArray[np.uint8]
    right_mask: npt.NDArray[Any]
    leaf_values: Doubles
    missing_as_zero: npt.NDArray[np.bool_]

    def raw_scores(self, rows: Rows) -> Doubles:
        """Raw scores, (n,), of rows, (n, features): as `Booster.predict(rows, raw_score=True)`.

        Raises:
            ValueError: rows do not have the model's number of columns.
        """
        from batch_predictions.models.forest.kernels.trees import raw_scores

        matrix = as_matrix(rows, self.n_features)
        scores = np.empty(len(matrix))
        raw_scores(
            matrix,
            self.tree_starts,
            self.split_feature,
            self.thresholds[matrix.dtype.name],
            self.default_left,
            self.right_mask,
            self.leaf_values,
            self.missing_as_zero,
            scores,
        )
        return scores

    @classmethod
    def from_text(cls, model_text: str) -> Forest:
        """The trees of a model in LightGBM's text format.

        Raises:
            UnsupportedModelError: it has too many leaves, or a kind of splits or outputs that is
                not supported.
        """
        n_features, trees = parse_model(model_text)
        max_leaves = max((len(tree.leaf_values) for tree in trees), default=1)
        bits = np.uint32 if max_leaves <= 32 else np.uint64
        all_bits = (1 << np.dtype(bits).itemsize * 8) - 1
        thresholds = np.array([t for tree in trees for t in tree.threshold], np.float64)
        leaf_values = np.zeros((len(trees), max_leaves))
        for number, tree in enumerate(trees):
            leaf_values[number, : len(tree.leaf_values)] = tree.leaf_values
        return cls(
            n_features=n_features,
            tree_starts=np.cumsum([0, *(len(tree.threshold) for tree in trees)]).astype(np.intp),
            split_feature=np.array([f for tree in trees for f in tree.split_feature], np.int32),
            thresholds={"float64": thresholds, "float32": _round_down(thresholds)},
            default_left=np.array([left for tree in trees for left in tree.default_left], np.uint8),
            right_mask=np.array(
                [all_bits & ~leaves for tree in trees for leaves in tree.left_leaves], bits
            ),
            leaf_values=leaf_values,
            missing_as_zero=find_missing_as_zero(n_features, trees),
        )


def as_matrix(rows: Rows, n_features: int) -> npt.NDArray[Any]:
    """Rows as the kernels read them: in single or double precision, in C or Fortran order.

    Raises:
        ValueError: rows do not have the model's number of columns.
    """
    check_width(rows, n_features)
    matrix: Any = rows if rows.dtype == np.float32 else np.asarray(rows, np.float64)
    return matrix if matrix.flags.f_contiguous else np.ascontiguousarray(matrix)


def check_width(rows: Rows, n_features: int) -> None:
    """Checks that rows are (n, features).

    Raises:
        ValueError: they are not.
    """
    if rows.ndim != 2 or rows.shape[1] != n_features:
        raise ValueError(f"rows are {rows.shape}, but the trees have {n_features} features")


def find_missing_as_zero(n_features: int, trees: Sequence[Tree]) -> npt.NDArray[np.bool_]:
    """Features whose missing values count as 0, (features,): training had none missing."""
    missing_as_zero = np.zeros(n_features, np.bool_)
    for tree in trees:
        for feature, missing_type in zip(tree.split_feature, tree.missing_type, strict=True):
            missing_as_zero[feature] = missing_type == MISSING_TYPE_NONE
    return missing_as_zero


def _round_down(values: Doubles) -> npt.NDArray[np.float32]:
    """The largest float32 up to each value; the largest finite one or -inf outside their range."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    is_above = rounded > values
    return np.where(is_above, np.nextafter(rounded, np.float32(-np.inf)), rounded).astype(
        np.float32
    )

"""Scores LightGBM models faster than LightGBM, with results that are equal to the bit.

The algorithm is QuickScorer (Lucchese et al. 2015, "QuickScorer: a Fast Algorithm to Rank Documents
with Additive Ensembles of Regression Trees"), but with groups of rows in place of its sorted
thresholds: every node compares 64 rows at once, no comparison depends on the one before it, and the
state of a tree is one bit for each leaf. It supports trees of up to 64 leaves. Larger trees,
categorical splits and linear leaves are left to LightGBM. `benchmarks/trees.py` compares both, and
the compiled trees of tl2cgen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.forest.lightgbm_text import UnsupportedModelError, parse_model

Rows = npt.NDArray[np.float32] | Doubles
Lines = npt.NDArray[np.float32] | Doubles
"""Rows in groups of `GROUP_ROWS`, as the kernels read them: a line of values for each feature,
(groups, features, GROUP_ROWS). The last group is filled up with zeros."""

BLOCK_ROWS = 4096
"""Rows that are grouped at once: of 60 float32 features they take 1 MB."""


def build_predictor(model_text: str) -> Callable[[Rows], Doubles]:
    """Builds a function from rows, (n, features), to the raw scores of one model, (n,)."""
    predict = build_predictors([model_text])
    return lambda rows: predict(rows)[0]


def build_predictors(model_texts: Sequence[str]) -> Callable[[Rows], Doubles]:
    """A function from rows, (n, features), to raw scores, (models, n).

    The function uses one thread and releases the interpreter's lock. A model that is not supported
    here is scored by LightGBM on one thread.

    Args:
        model_texts: LightGBM's text of each model; all have the same features.
    """
    forests: dict[int, Forest] = {}
    boosters: dict[int, Any] = {}
    for number, text in enumerate(model_texts):
        try:
            forests[number] = Forest.from_text(text)
        except UnsupportedModelError:
            import lightgbm

            boosters[number] = lightgbm.Booster(model_str=text)

    def predict(rows: Rows) -> Doubles:
        scores = np.empty((len(model_texts), len(rows)))
        if forests:
            n_features = next(iter(forests.values())).n_features
            for span, lines in iterate_lines(rows, n_features):
                for number, forest in forests.items():
                    forest.score_lines(lines, scores[number, span])
        for number, booster in boosters.items():
            scores[number] = booster.predict(rows, raw_score=True, num_threads=1)
        return scores

    return predict


@dataclass(frozen=True)
class Forest:
    """Trees as flat arrays of nodes; see `kernels.trees.raw_scores`.

    A tree's nodes where a missing value goes right come first.

    Attributes:
        n_features: number of columns of rows.
        tree_starts: first node of each tree, and the number of nodes, (trees + 1,).
        tree_middles: first node of each tree where a missing value goes left, (trees,).
        split_feature: column that each node compares, (nodes,).
        thresholds: a row goes left up to this value, (nodes,), by the dtype of rows. For float32 it
            is the largest float32 up to the threshold, which gives the same comparisons.
        right_mask: bits of the leaves that remain possible if a row goes right, (nodes,).
        leaf_values: from left to right, (trees, leaves).
    """

    n_features: int
    tree_starts: npt.NDArray[np.intp]
    tree_middles: npt.NDArray[np.intp]
    split_feature: npt.NDArray[np.int32]
    thresholds: Mapping[str, Rows]
    right_mask: npt.NDArray[Any]
    leaf_values: Doubles

    def score_lines(self, lines: Lines, out: Doubles) -> None:
        """Writes the raw scores of rows, (n,), that are given as groups."""
        from batch_predictions.models.forest.kernels.trees import raw_scores

        raw_scores(
            lines,
            self.tree_starts,
            self.tree_middles,
            self.split_feature,
            self.thresholds[lines.dtype.name],
            self.right_mask,
            self.leaf_values,
            out,
        )

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
        starts = np.cumsum([0, *(len(tree.threshold) for tree in trees)]).astype(np.intp)
        n_missing_right = [tree.default_left.count(False) for tree in trees]
        nodes = [
            (tree.split_feature[node], tree.threshold[node], all_bits & ~tree.left_leaves[node])
            for tree in trees
            for node in sorted(range(len(tree.threshold)), key=tree.default_left.__getitem__)
        ]
        leaf_values = np.zeros((len(trees), max_leaves))
        for number, tree in enumerate(trees):
            leaf_values[number, : len(tree.leaf_values)] = tree.leaf_values
        return cls(
            n_features=n_features,
            tree_starts=starts,
            tree_middles=starts[:-1] + np.array(n_missing_right, np.intp),
            split_feature=np.array([feature for feature, _, _ in nodes], np.int32),
            thresholds=thresholds_by_dtype([threshold for _, threshold, _ in nodes]),
            right_mask=np.array([mask for _, _, mask in nodes], bits),
            leaf_values=leaf_values,
        )


def iterate_lines(rows: Rows, n_features: int) -> Iterator[tuple[slice, Lines]]:
    """Blocks of rows, (n, features): which rows they are, and their groups.

    The groups are in one array, which the next block overwrites.

    Raises:
        ValueError: rows do not have the model's number of columns.
    """
    from batch_predictions.models.forest.kernels.banzhaf_kernels import GROUP_ROWS
    from batch_predictions.models.forest.kernels.trees import group_rows

    if rows.ndim != 2 or rows.shape[1] != n_features:
        raise ValueError(f"rows are {rows.shape}, but the trees have {n_features} features")
    matrix: Any = rows if rows.dtype == np.float32 else np.asarray(rows, np.float64)
    if not matrix.flags.f_contiguous:
        matrix = np.ascontiguousarray(matrix)
    max_groups = -(-min(BLOCK_ROWS, len(matrix)) // GROUP_ROWS)
    room = np.zeros((max_groups, n_features, GROUP_ROWS), matrix.dtype)
    for start in range(0, len(matrix), BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, len(matrix))
        lines = room[: -(-(stop - start) // GROUP_ROWS)]
        group_rows(matrix, start, lines)
        yield slice(start, stop), lines


def thresholds_by_dtype(thresholds: Sequence[float]) -> dict[str, Rows]:
    """The thresholds of nodes, (nodes,), by the dtype of the rows that they compare."""
    doubles = np.array(thresholds, np.float64)
    return {"float64": doubles, "float32": _round_down(doubles)}


def _round_down(values: Doubles) -> npt.NDArray[np.float32]:
    """The largest float32 up to each value; the largest finite one or -inf outside their range."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    is_above = rounded > values
    return np.where(is_above, np.nextafter(rounded, np.float32(-np.inf)), rounded).astype(
        np.float32
    )

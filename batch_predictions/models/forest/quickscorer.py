"""LightGBM models scored faster than LightGBM scores them, to the same bits.

QuickScorer (Lucchese et al. 2015, "QuickScorer: a Fast Algorithm to Rank Documents with Additive
Ensembles of Regression Trees") without its sorted thresholds, over groups of rows instead: every
node compares 32 rows at once, no step waits for the branch before it, and a tree's state is one
bit for each leaf. Of trees of at most 64 leaves; others, and what few models use (categorical
splits, linear leaves), are left to LightGBM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from batch_predictions.models.forest import lightgbm_text as text

Doubles = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32] | Doubles


def predictor(model: str) -> Callable[[Rows], Doubles]:
    """Margins (raw scores) of a model, given as LightGBM's text: (n, f) rows to (n,).

    One thread works, without the interpreter's lock. LightGBM itself, on one thread, answers for
    a model that is not suited.
    """
    try:
        return Forest.read(model).margins
    except text.UnsupportedModelError:
        import lightgbm

        booster = lightgbm.Booster(model_str=model)
        return lambda rows: np.asarray(
            booster.predict(rows, raw_score=True, num_threads=1), np.float64
        )


@dataclass(frozen=True)
class Forest:
    """Trees as flat arrays of nodes; see `kernels.margins`.

    Attributes:
        features: how many columns rows have.
        limits: thresholds by type of rows. Where `x <= t` in float64, the same is true of float32
            rows and the largest float32 that is no larger than t.
    """

    features: int
    first: npt.NDArray[np.intp]
    feature: npt.NDArray[np.int32]
    limits: Mapping[str, Rows]
    left: npt.NDArray[np.uint8]
    mask: npt.NDArray[Any]
    leaf: Doubles
    zeroed: npt.NDArray[np.bool_]

    def margins(self, rows: Rows) -> Doubles:
        """Raw scores, (n,), of rows (n, f): what `Booster.predict(rows, raw_score=True)` gives.

        Raises:
            ValueError: rows do not have the model's columns.
        """
        from batch_predictions.models.forest import kernels

        single = rows.dtype == np.float32
        held: npt.NDArray[Any] = np.ascontiguousarray(rows, np.float32 if single else np.float64)
        if held.ndim != 2 or held.shape[1] != self.features:
            raise ValueError(f"rows are {held.shape}, the trees know {self.features} features")
        out = np.empty(len(held))
        nodes = self.feature, self.limits[held.dtype.name], self.left, self.mask
        kernels.margins(held, self.first, *nodes, self.leaf, self.zeroed, out)
        return out

    @classmethod
    def read(cls, model: str) -> Forest:
        """The trees of a model in LightGBM's text format.

        Raises:
            UnsuitedError: it has more leaves, or splits or outputs of another kind.
        """
        features, trees = text.read(model)
        most = max((len(tree.leaf) for tree in trees), default=1)
        word = np.uint32 if most <= 32 else np.uint64
        threshold = np.array([each for tree in trees for each in tree.threshold], np.float64)
        leaf = np.zeros((len(trees), most))
        for n, tree in enumerate(trees):
            leaf[n, : len(tree.leaf)] = tree.leaf
        whole = (1 << np.dtype(word).itemsize * 8) - 1
        return cls(
            features,
            np.cumsum([0, *(len(tree.feature) for tree in trees)]).astype(np.intp),
            np.array([each for tree in trees for each in tree.feature], np.int32),
            {"float64": threshold, "float32": _rounded_down(threshold)},
            np.array([each for tree in trees for each in tree.left], np.uint8),
            np.array([whole & ~each for tree in trees for each in tree.cleared], word),
            leaf,
            zeroed_features(features, trees),
        )


def zeroed_features(features: int, trees: Sequence[text.Tree]) -> npt.NDArray[np.bool_]:
    """(features,) whether a missing value counts as 0: where the training saw none."""
    zeroed = np.zeros(features, np.bool_)
    for tree in trees:
        for column, kind in zip(tree.feature, tree.missing, strict=True):
            zeroed[column] = kind == text.NOTHING_IS_MISSING
    return zeroed


def _rounded_down(values: Doubles) -> npt.NDArray[np.float32]:
    """The largest float32 that is no larger; of beyond the largest, the largest or -inf."""
    with np.errstate(over="ignore"):
        near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float32)

"""LightGBM models scored faster than LightGBM scores them, to the same bits.

QuickScorer (Lucchese et al. 2015, "QuickScorer: a Fast Algorithm to Rank Documents with Additive
Ensembles of Regression Trees") without its sorted thresholds, over groups of rows instead: every
node compares 32 rows at once, no step waits for the branch before it, and a tree's state is one
bit for each leaf. Of trees of at most 64 leaves; others, and what few models use (categorical
splits, linear leaves), are left to LightGBM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32] | Doubles

MOST_LEAVES = 64
_CATEGORICAL, _LEFT, _MISSING = 1, 2, 2
"""Bits of LightGBM's `decision_type`; the kind of missing values stands above the second."""
_NOTHING_IS_MISSING, _ZERO_IS_MISSING = 0, 1


class UnsuitedError(ValueError):
    """A model that only LightGBM itself scores; the message says why."""


def predictor(text: str) -> Callable[[Rows], Doubles]:
    """Margins (raw scores) of a model, given as LightGBM's text: (n, f) rows to (n,).

    One thread works, without the interpreter's lock. LightGBM itself, on one thread, answers for
    a model that is not suited.
    """
    try:
        return Forest.read(text).margins
    except UnsuitedError:
        import lightgbm

        booster = lightgbm.Booster(model_str=text)
        return lambda rows: np.asarray(
            booster.predict(rows, raw_score=True, num_threads=1), np.float64
        )


@dataclass(frozen=True)
class Forest:
    """Trees as flat arrays of nodes; see `forest_kernels.margins`.

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
        from batch_predictions.models import forest_kernels

        single = rows.dtype == np.float32
        held: npt.NDArray[Any] = np.ascontiguousarray(rows, np.float32 if single else np.float64)
        if held.ndim != 2 or held.shape[1] != self.features:
            raise ValueError(f"rows are {held.shape}, the trees know {self.features} features")
        out = np.empty(len(held))
        nodes = self.feature, self.limits[held.dtype.name], self.left, self.mask
        forest_kernels.margins(held, self.first, *nodes, self.leaf, self.zeroed, out)
        return out

    @classmethod
    def read(cls, text: str) -> Forest:
        """The trees of a model in LightGBM's text format.

        Raises:
            UnsuitedError: it has more leaves, or splits or outputs of another kind.
        """
        head, *blocks = text.split("end of trees")[0].split("\nTree=")
        about = _fields(head)
        if "average_output" in head.split():
            raise UnsuitedError("the trees' mean is the answer, not their sum")
        if int(about.get("num_tree_per_iteration", "1")) > 1:
            raise UnsuitedError("it has several outputs")
        features = int(about["max_feature_idx"]) + 1
        trees = [_Tree.read(block) for block in blocks]
        kinds: list[set[int]] = [set() for _ in range(features)]
        for tree in trees:
            for column, kind in zip(tree.feature, tree.missing, strict=True):
                kinds[column].add(kind)
        if any(_ZERO_IS_MISSING in each for each in kinds):
            raise UnsuitedError("zeros count as missing")
        if any(len(each) > 1 for each in kinds):
            raise UnsuitedError("a feature's missing values are taken in two ways")
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
            np.array([each == {_NOTHING_IS_MISSING} for each in kinds], np.bool_),
        )


@dataclass(frozen=True)
class _Tree:
    """One tree; its leaves from the left to the right, bit n being leaf n."""

    feature: list[int]
    threshold: list[float]
    left: list[bool]
    missing: list[int]
    cleared: list[int]
    leaf: list[float]

    @classmethod
    def read(cls, block: str) -> _Tree:
        fields = _fields(block)
        values = [float(each) for each in fields["leaf_value"].split()]
        if len(values) > MOST_LEAVES:
            raise UnsuitedError(f"a tree has more than {MOST_LEAVES} leaves")
        if fields.get("is_linear", "0") != "0":
            raise UnsuitedError("its leaves are linear")
        decisions = _integers(fields, "decision_type")
        if any(each & _CATEGORICAL for each in decisions):
            raise UnsuitedError("it splits by category")
        children = list(
            zip(_integers(fields, "left_child"), _integers(fields, "right_child"), strict=True)
        )
        order, cleared = _leaves(children)
        return cls(
            _integers(fields, "split_feature"),
            [float(each) for each in fields.get("threshold", "").split()],
            [bool(each & _LEFT) for each in decisions],
            [each >> _MISSING for each in decisions],
            cleared,
            [values[each] for each in order],
        )


def _leaves(children: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """The leaves from the left to the right, and for each node the bits of its left side.

    Children are nodes, or leaves as -1 - number.
    """
    if not children:
        return [0], []
    order: list[int] = []
    cleared = [0] * len(children)

    def visit(at: int) -> Iterator[int]:
        if at < 0:
            order.append(-1 - at)
            return
        begin = len(order)
        yield children[at][0]
        cleared[at] = (1 << len(order)) - (1 << begin)
        yield children[at][1]

    # A stack of its own: trees may be deeper than Python recurses.
    stack = [visit(0)]
    while stack:
        child = next(stack[-1], None)
        if child is None:
            stack.pop()
        else:
            stack.append(visit(child))
    return order, cleared


def _fields(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _integers(fields: Mapping[str, str], name: str) -> list[int]:
    return [int(each) for each in fields.get(name, "").split()]


def _rounded_down(values: Doubles) -> npt.NDArray[np.float32]:
    """The largest float32 that is no larger; of beyond the largest, the largest or -inf."""
    with np.errstate(over="ignore"):
        near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float32)

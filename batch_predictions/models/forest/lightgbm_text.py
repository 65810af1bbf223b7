"""LightGBM's text format, read without LightGBM: trees as nodes, and what they cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MOST_LEAVES = 64
NOTHING_IS_MISSING = 0
"""Kind of missing values of a split: a missing value counts as 0."""
_ZERO_IS_MISSING = 1
_CATEGORICAL, _LEFT, _MISSING = 1, 2, 2
"""Bits of LightGBM's `decision_type`; the kind of missing values stands above the second."""


class UnsupportedModelError(ValueError):
    """A model that only LightGBM itself scores; the message says why."""


@dataclass(frozen=True)
class Tree:
    """One tree. Children are nodes, or leaves as -1 - number from the left to the right.

    Attributes:
        feature, threshold, left, missing: of every node: column; limit, to the left up to it;
            whether a missing value goes left; the kind of missing values.
        children: left and right one of every node.
        cleared: of every node, the leaves of its left side as bits.
        counts: rows of the training in every node; `leaf_counts` in every leaf.
        leaf: values of the leaves.
    """

    feature: list[int]
    threshold: list[float]
    left: list[bool]
    missing: list[int]
    children: list[tuple[int, int]]
    cleared: list[int]
    counts: list[int]
    leaf: list[float]
    leaf_counts: list[int]


def read(text: str) -> tuple[int, list[Tree]]:
    """The number of features and the trees of a model.

    Raises:
        UnsuitedError: it has more leaves, or splits or outputs of another kind.
    """
    head, *blocks = text.split("end of trees")[0].split("\nTree=")
    about = _fields(head)
    if "average_output" in head.split():
        raise UnsupportedModelError("the trees' mean is the answer, not their sum")
    if int(about.get("num_tree_per_iteration", "1")) > 1:
        raise UnsupportedModelError("it has several outputs")
    features = int(about["max_feature_idx"]) + 1
    trees = [_tree(block) for block in blocks]
    kinds: dict[int, set[int]] = {}
    for tree in trees:
        for column, kind in zip(tree.feature, tree.missing, strict=True):
            kinds.setdefault(column, set()).add(kind)
    if any(_ZERO_IS_MISSING in each for each in kinds.values()):
        raise UnsupportedModelError("zeros count as missing")
    if any(len(each) > 1 for each in kinds.values()):
        raise UnsupportedModelError("a feature's missing values are taken in two ways")
    return features, trees


def _tree(block: str) -> Tree:
    fields = _fields(block)
    values = [float(each) for each in fields["leaf_value"].split()]
    if len(values) > MOST_LEAVES:
        raise UnsupportedModelError(f"a tree has more than {MOST_LEAVES} leaves")
    if fields.get("is_linear", "0") != "0":
        raise UnsupportedModelError("its leaves are linear")
    decisions = _integers(fields, "decision_type")
    if any(each & _CATEGORICAL for each in decisions):
        raise UnsupportedModelError("it splits by category")
    children = list(
        zip(_integers(fields, "left_child"), _integers(fields, "right_child"), strict=True)
    )
    order, cleared = _leaves(children)
    place = {leaf: n for n, leaf in enumerate(order)}
    counts = _integers(fields, "leaf_count") or [0] * len(values)
    return Tree(
        _integers(fields, "split_feature"),
        [float(each) for each in fields.get("threshold", "").split()],
        [bool(each & _LEFT) for each in decisions],
        [each >> _MISSING for each in decisions],
        [(_moved(left, place), _moved(right, place)) for left, right in children],
        cleared,
        _integers(fields, "internal_count"),
        [values[each] for each in order],
        [counts[each] for each in order],
    )


def _moved(child: int, place: Mapping[int, int]) -> int:
    return child if child >= 0 else -1 - place[-1 - child]


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

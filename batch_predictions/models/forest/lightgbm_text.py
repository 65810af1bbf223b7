"""Parses LightGBM's text format without LightGBM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MAX_LEAVES = 64
"""Leaves of a tree at most: scoring keeps one bit for each."""
_MISSING_TYPE_NONE, _MISSING_TYPE_ZERO = 0, 1
"""LightGBM's `missing_type` of a split: a missing value counts as 0; zeros count as missing."""
_CATEGORICAL_BIT, _LEFT_BIT, _MISSING_TYPE_SHIFT = 1, 2, 2
"""Parts of LightGBM's `decision_type`; the missing type is in the bits above the second."""


class UnsupportedModelError(ValueError):
    """A model that only LightGBM itself can score; the message says why."""


@dataclass(frozen=True)
class Tree:
    """A tree of a LightGBM model. Leaves are numbered from left to right.

    Attributes:
        split_feature: column that each node compares, (nodes,).
        threshold: a row goes left up to this value, (nodes,).
        default_left: whether a missing value goes left, (nodes,); one that counts as 0 goes where
            0 goes.
        missing_type: LightGBM's missing type, (nodes,).
        children: left and right child of each node, (nodes, 2); a leaf is -1 - its number.
        left_leaves: the leaves below each node's left child, as bits, (nodes,).
        node_counts: training rows in each node, (nodes,).
        leaf_values: values of the leaves, (leaves,).
        leaf_counts: training rows in each leaf, (leaves,).
    """

    split_feature: list[int]
    threshold: list[float]
    default_left: list[bool]
    missing_type: list[int]
    children: list[tuple[int, int]]
    left_leaves: list[int]
    node_counts: list[int]
    leaf_values: list[float]
    leaf_counts: list[int]

    def share(self, node: int, side: int) -> float:
        """Share of a node's training rows that go to its left (0) or right (1) child."""
        child = self.children[node][side]
        count = self.node_counts[child] if child >= 0 else self.leaf_counts[-1 - child]
        return count / self.node_counts[node]


def parse_model(text: str) -> tuple[int, list[Tree]]:
    """The number of features and the trees of a model.

    Raises:
        UnsupportedModelError: it has too many leaves, or a kind of splits or outputs that is not
            supported.
    """
    header, *tree_blocks = text.split("end of trees")[0].split("\nTree=")
    fields = _parse_fields(header)
    if "average_output" in header.split():
        raise UnsupportedModelError("it predicts the mean of its trees, not their sum")
    if int(fields.get("num_tree_per_iteration", "1")) > 1:
        raise UnsupportedModelError("it has several outputs")
    n_features = int(fields["max_feature_idx"]) + 1
    trees = [_parse_tree(block) for block in tree_blocks]
    missing_types: dict[int, set[int]] = {}
    for tree in trees:
        for feature, missing_type in zip(tree.split_feature, tree.missing_type, strict=True):
            missing_types.setdefault(feature, set()).add(missing_type)
    if any(_MISSING_TYPE_ZERO in types for types in missing_types.values()):
        raise UnsupportedModelError("zeros count as missing values")
    if any(len(types) > 1 for types in missing_types.values()):
        raise UnsupportedModelError("splits of one feature treat missing values differently")
    return n_features, trees


def _parse_tree(block: str) -> Tree:
    fields = _parse_fields(block)
    values = _parse_floats(fields, "leaf_value")
    if len(values) > MAX_LEAVES:
        raise UnsupportedModelError(f"a tree has more than {MAX_LEAVES} leaves")
    if fields.get("is_linear", "0") != "0":
        raise UnsupportedModelError("its leaves are linear models")
    decisions = _parse_ints(fields, "decision_type")
    missing_types = [decision >> _MISSING_TYPE_SHIFT for decision in decisions]
    thresholds = _parse_floats(fields, "threshold")
    if any(decision & _CATEGORICAL_BIT for decision in decisions):
        raise UnsupportedModelError("it has categorical splits")
    left_children, right_children = (
        _parse_ints(fields, name) for name in ("left_child", "right_child")
    )
    children = list(zip(left_children, right_children, strict=True))
    order, left_leaves = _order_leaves(children)
    new_number = {leaf: number for number, leaf in enumerate(order)}
    counts = _parse_ints(fields, "leaf_count") or [0] * len(values)
    return Tree(
        split_feature=_parse_ints(fields, "split_feature"),
        threshold=thresholds,
        default_left=[
            threshold >= 0 if missing_type == _MISSING_TYPE_NONE else bool(decision & _LEFT_BIT)
            for threshold, missing_type, decision in zip(
                thresholds, missing_types, decisions, strict=True
            )
        ],
        missing_type=missing_types,
        children=[
            (_renumber(left, new_number), _renumber(right, new_number)) for left, right in children
        ],
        left_leaves=left_leaves,
        node_counts=_parse_ints(fields, "internal_count"),
        leaf_values=[values[leaf] for leaf in order],
        leaf_counts=[counts[leaf] for leaf in order],
    )


def _renumber(child: int, new_number: Mapping[int, int]) -> int:
    """A child with the new number of a leaf."""
    return child if child >= 0 else -1 - new_number[-1 - child]


def _order_leaves(children: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """LightGBM's numbers of the leaves from left to right, and the left leaves of each node.

    Args:
        children: left and right child of each node; a leaf is -1 - LightGBM's number.

    Returns:
        order: the leaves, (leaves,).
        left_leaves: bits of the positions in `order` that are below each node's left child,
            (nodes,).
    """
    if not children:
        return [0], []
    order: list[int] = []
    left_leaves = [0] * len(children)

    def visit(child: int) -> Iterator[int]:
        """Yields the children to visit next, left before right."""
        if child < 0:
            order.append(-1 - child)
            return
        first = len(order)
        yield children[child][0]
        left_leaves[child] = (1 << len(order)) - (1 << first)
        yield children[child][1]

    # An explicit stack: trees may be deeper than Python's limit of recursion.
    stack = [visit(0)]
    while stack:
        child = next(stack[-1], None)
        if child is None:
            stack.pop()
        else:
            stack.append(visit(child))
    return order, left_leaves


def _parse_fields(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _parse_ints(fields: Mapping[str, str], name: str) -> list[int]:
    return [int(value) for value in fields.get(name, "").split()]


def _parse_floats(fields: Mapping[str, str], name: str) -> list[float]:
    return [float(value) for value in fields.get(name, "").split()]

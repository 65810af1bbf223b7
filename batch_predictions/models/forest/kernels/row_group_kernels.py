"""Groups of rows, of which each has a lane of a vector.

Imports numba, so this module is imported only inside functions.
"""

from __future__ import annotations

from batch_predictions.models.common.vector_ir import Builder, Value, broadcast

GROUP_ROWS = 64
"""Rows of a group: four registers of AVX-512, or eight of AVX2, and the bits of an integer."""


def goes_right(builder: Builder, x: Value, threshold: Value, *, missing_left: bool) -> Value:
    """Emits the mask of the lanes whose value goes to a node's right child.

    Args:
        builder: of the code.
        x: a vector of values.
        threshold: a row goes left up to this value.
        missing_left: whether a missing value goes left.
    """
    thresholds = broadcast(builder, threshold, GROUP_ROWS)
    # A missing value fails the first comparison and passes the second.
    compare = builder.fcmp_ordered if missing_left else builder.fcmp_unordered
    return compare(">", x, thresholds)

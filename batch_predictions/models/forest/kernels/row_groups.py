"""Groups of rows, of which each has a lane of a vector.

Imports numba, so this module is imported only inside functions.
"""

from __future__ import annotations

from typing import Any

from batch_predictions.models.common.vector_ir import broadcast

GROUP_ROWS = 32
"""Rows of a group: the compiler makes of them two registers of AVX-512, or four of AVX2."""


def goes_right(builder: Any, x: Any, threshold: Any, default_left: Any) -> Any:
    """Whether each lane's value goes right at a node; a missing value goes its default way.

    Args:
        builder: of the code.
        x: a vector of values.
        threshold: a row goes left up to this value.
        default_left: 1 where a missing value goes left.
    """
    thresholds = broadcast(builder, threshold, GROUP_ROWS)
    # A missing value fails the first comparison and passes the second.
    return builder.select(
        builder.icmp_unsigned("!=", default_left, default_left.type(0)),
        builder.fcmp_ordered(">", x, thresholds),
        builder.fcmp_unordered(">", x, thresholds),
    )

"""Sums of shown items and reactions over users, for shares whose units are not independent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batch_predictions.models.common.proportions import ClusterSums

REACTIONS = ("clicks", "purchases")
REACTION_SUMS = ", ".join(
    [
        "count(*)::BIGINT as clusters, sum(n)::BIGINT as n, sum(n * n)::DOUBLE as n_squared",
        *(
            f"sum({name})::BIGINT as {name}, sum({name} * {name})::DOUBLE as {name}_squared, "
            f"sum({name} * n)::DOUBLE as {name}_by_n"
            for name in REACTIONS
        ),
    ]
)
"""SQL of the sums over rows with `n`, `clicks` and `purchases` of one user each."""


def cluster_sums(row: Mapping[str, Any], reaction: str) -> ClusterSums:
    """The sums of one of `REACTIONS` in a row with `REACTION_SUMS`; users are the clusters."""
    return ClusterSums(
        row["clusters"],
        row["n"],
        row[reaction],
        row["n_squared"],
        row[f"{reaction}_squared"],
        row[f"{reaction}_by_n"],
    )

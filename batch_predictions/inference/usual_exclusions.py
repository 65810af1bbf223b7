"""Checks whether a prediction leaves out more keys than usual."""

from __future__ import annotations

import datetime as dt

from batch_predictions.settings.operations_settings import ChecksSettings
from batch_predictions.tables import EXCLUSIONS, Table
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.partition_profiles import read_profile
from batch_predictions.warehouse.usual_days import MIN_ROWS, MIN_WEEKS

MAX_FACTOR = 2.0
"""More than the largest number of the weeks before, times this, is unusual."""


def unusual_exclusions(
    warehouse: Warehouse, table: Table, day: dt.date, eligible: int, limits: ChecksSettings
) -> str:
    """Explains why a day has unusually many keys without a prediction; empty if it has not.

    Args:
        warehouse: with `predictions.exclusions` of the day and of earlier ones.
        table: of the prediction.
        day: of the partition.
        eligible: keys that could have had a prediction.
        limits: `weeks` that are compared, and `null_share`, the share of the keys that is usual
            whatever the weeks before.
    """
    part = {"table_name": table.name}
    counts = []
    for week in range(limits.weeks + 1):
        earlier = day - dt.timedelta(days=7 * week)
        profile = read_profile(warehouse.path(EXCLUSIONS, earlier.isoformat(), part), EXCLUSIONS)
        counts.append(profile.rows if profile else None)
    excluded, before = counts[0], [count for count in counts[1:] if count is not None]
    if excluded is None or len(before) < MIN_WEEKS or eligible < MIN_ROWS:
        return ""
    usual = max(limits.null_share * eligible, MAX_FACTOR * max(before))
    if excluded <= usual:
        return ""
    return (
        f"{excluded:,} of {eligible:,} keys have no prediction; up to {usual:,.0f} are usual: see "
        "predictions.exclusions"
    )

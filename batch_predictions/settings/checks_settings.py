"""Settings of the check that warns when a day of a table is unusual."""

from __future__ import annotations

from pydantic import Field

from batch_predictions.settings.section import Section, Share


class ChecksSettings(Section):
    """When the check `is_usual` warns of a day, or week, of a table.

    It is compared with the same weekday of the weeks before it. Limits widen by themselves where
    these differ more.
    """

    weeks: int = Field(8, ge=4, description="Weeks that are compared; at least four must be there.")
    rows_factor: float = Field(
        1.8,
        gt=1,
        description="Factor below and above the median number of rows that is usual; below 2, so "
        "that a day with half of its rows is told.",
    )
    range_factor: float = Field(
        10.0,
        gt=1,
        description="Factor beyond the largest number of a column that is usual; a column of which "
        "all numbers are this factor below is unusual too.",
    )
    null_share: Share = Field(
        0.05,
        description="Empty values of a column, as a share of the rows, beyond the largest share "
        "that are usual; and keys without a prediction, as a share of all keys, that are usual "
        "whatever the weeks before.",
    )

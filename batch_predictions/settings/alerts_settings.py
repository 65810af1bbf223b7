"""Settings of alerts, and of the conditions in which a home needs attention."""

from __future__ import annotations

from pydantic import Field

from batch_predictions.settings.section import Section


class AlertsSettings(Section):
    """When a home needs attention: `batch-predictions status` and `watch`.

    Addresses that alerts go to come from the variable BATCH_PREDICTIONS_ALERT_URLS only; see
    docs/operations.md.
    """

    max_age_days: int = Field(
        2,
        ge=1,
        description="Days that the release, and the source's newest day, may be old.",
    )
    max_psi: float | None = Field(
        None,
        gt=0,
        description="Population stability index above which drift of a column of predictions, "
        "against the newest training, is a problem; .25 is usual. Empty: drift is not told.",
    )
    min_free_gb: float = Field(
        1.0, ge=0, description="Free space, GiB, that the home's disk should have."
    )

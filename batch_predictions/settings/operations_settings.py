"""Settings of operations: alerts, checks of unusual days, prices, the cadence of trainings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from batch_predictions.settings.section import Section, Share


class AlertsSettings(Section):
    """When a home needs attention: `batch-predictions status` and `watch`.

    Addresses that alerts go to come from the variable BATCH_PREDICTIONS_ALERT_URLS only; see
    docs/how_to/status_and_alerts.md.
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
        "against the newest training, is a problem; .25 is usual. Empty: drift is not reported.",
    )
    min_free_gb: float = Field(
        1.0, ge=0, description="Free space, GiB, that the home's disk should have."
    )


class ChecksSettings(Section):
    """When the check `is_usual` warns of a day, or week, of a table; how many files are verified.

    A day is compared with the same weekday of the weeks before it. Limits widen by themselves where
    these differ more.
    """

    weeks: int = Field(8, ge=4, description="Weeks that are compared; at least four must be there.")
    rows_factor: float = Field(
        1.8,
        gt=1,
        description="Factor below and above the median number of rows that is usual; below 2, so "
        "that a day with half of its rows is reported.",
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
    verify_mb: float | None = Field(
        1024,
        ge=0,
        description="MiB of partition files that are compared with the digests of what was "
        "written, at the end of every run and night, in turn: a flipped bit is found, and what it "
        "is in is made again. Empty: all files; 0: none. Of a home in a bucket, what is downloaded "
        "is compared.",
    )


class CostsSettings(Section):
    """Prices in a currency of your own, for `evaluation.costs` and `batch-predictions costs`."""

    core_hour: float = Field(0.0, ge=0, description="Price of a core for an hour.")
    gpu_hour: float = Field(
        0.0, ge=0, description="Price of a GPU for an hour; charged while a step scores on one."
    )
    gib_month: float = Field(0.0, ge=0, description="Price of a written GiB for a month.")
    million_writes: float = Field(
        0.0, ge=0, description="Price of a million requests to a bucket that write or list objects."
    )
    million_reads: float = Field(
        0.0, ge=0, description="Price of a million requests to a bucket that read objects."
    )
    gib_received: float = Field(
        0.0, ge=0, description="Price of a GiB that leaves a bucket for this machine."
    )


class ReportSettings(Section):
    """Assumptions of `batch-predictions report`, and whether it is sent."""

    send: Literal["never", "weekly", "daily"] = Field(
        "never",
        description="Whether `run` and `watch` send the report of each ended week, or of each day, "
        "once its release is there: as an attachment to the addresses of the variable "
        "BATCH_PREDICTIONS_REPORT_URLS, which are written as those of alerts.",
    )
    stock_cost: Share = Field(
        0.25,
        description="Cost of holding stock for a year, as a share of its value: capital, space, "
        "spoilage. Its value is the price less `audiences.margin`.",
    )


class TrainingSettings(Section):
    """How often models are trained by schedules and by `run`; in the UI any week can be."""

    every_weeks: int = Field(
        1,
        ge=1,
        le=52,
        description="Weeks from one training of a model to the next. A correction of the rows that "
        "a training has read is trained again whatever this says.",
    )
    cache: bool = Field(
        True,
        description="Keep what next week's training of the recommender needs again, in "
        "HOME/training_cache: generators, labelled candidates and the ranker, some hundred MB. "
        "They are used only if rows, parameters and code are equal, so that models are the same "
        "with and without them. false: every training computes everything.",
    )
    max_psi: float | None = Field(
        0.25,
        gt=0,
        description="Where every_weeks is more than 1: a model is trained at the end of a week in "
        "which a column of its predictions had a higher population stability index than this, "
        "against the rows of its last training (evaluation.drift); above .25 much has changed. "
        "Empty: drift asks for no training.",
    )

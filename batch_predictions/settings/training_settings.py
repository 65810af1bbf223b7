"""Settings of how often models are trained."""

from __future__ import annotations

from pydantic import Field

from batch_predictions.settings.section import Section


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

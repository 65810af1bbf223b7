"""The weekly training of the demographic fallback."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from batch_predictions.features.sql.queries import parameters as feature_parameters
from batch_predictions.features.sql.queries import sql
from batch_predictions.models.recommender.recommender_inputs import read_interactions
from batch_predictions.models.training import Trained, Training
from batch_predictions.settings import Settings
from batch_predictions.tables import ITEMS, PROMOTION_CALENDAR, USERS
from batch_predictions.warehouse import Warehouse

NO_SEGMENT = 2**62
"""Users that no segment has: there is a list of everyone only."""


def train_demographic(
    warehouse: Warehouse, settings: Settings, through: dt.date, progress: Callable[[str], None]
) -> Trained:
    """Chooses half-life, uplift and adjustment of the fallback by cross-validation.

    Users are hidden fold by fold, and known by their demographics only.

    Args:
        warehouse: interactions, demographics and promotions up to `through`.
        settings: of this home; those under `fallback` and `recommender` configure the training.
        through: last day that is known.
        progress: receives lines for the log.
    """
    from batch_predictions.models.demographic.demographic_evaluation import DemographicConfig
    from batch_predictions.models.demographic.demographic_model import CountAdjustment
    from batch_predictions.models.demographic.demographic_selection import select_demographic
    from batch_predictions.models.demographic.ridge import RidgeAdjustment

    segments = warehouse.query(
        f"select user_id, age_bracket, gender, location from ({sql('user_segments')})",
        {**feature_parameters(settings), "date": through},
    )
    days = settings.recommender.history_days
    rows = read_interactions(warehouse, settings, through, days)
    selection = select_demographic(
        rows.table,
        segments,
        through,
        DemographicConfig(
            seed=settings.recommender.seed,
            holdout_days=settings.recommender.holdout_days,
            window_days=settings.fallback.window_days,
            min_users=settings.fallback.min_users,
        ),
        changes=lambda day: warehouse.query(sql("promotion_changes"), {"date": day}),
        weeks=lambda day: warehouse.query(sql("promotion_weeks"), {"date": day}),
        progress=progress,
    )
    model = selection.model
    adjustment = model.adjustment
    kappa = adjustment.kappa if isinstance(adjustment, CountAdjustment) else None
    return Trained(
        write=model.save,
        candidate=selection.candidate,
        beats_baseline=model.has_segment_lists or model.uplift is not None,
        parameters={
            "half_life_days": model.half_life_days,
            # The day's query counts by segment where there is a kappa.
            "kappa": kappa if model.has_segment_lists else None,
            "penalty": adjustment.penalty if isinstance(adjustment, RidgeAdjustment) else None,
            # The day's query reads these: which segments have lists.
            # Lists that are the same for everybody are those of everyone, and are called so.
            "min_users": adjustment.required_users(settings.fallback.min_users)
            if model.has_segment_lists
            else NO_SEGMENT,
            "uses_location": adjustment.uses_location,
        },
        why=selection.why + rows.note,
        metrics=[dict(row) for row in selection.metrics],
    )


demographic = Training(
    "demographic",
    "Half-life of popularity, uplift of promotions and adjustment to segments of the demographic "
    "fallback, chosen on hidden users.",
    train_demographic,
    extra_tables=(ITEMS, USERS, PROMOTION_CALENDAR),
)

"""The weekly training of the demographic fallback."""

import datetime as dt
from collections.abc import Callable

from batch_predictions.features.queries import parameters as feature_parameters
from batch_predictions.features.queries import sql
from batch_predictions.models.recommender.warehouse_inputs import interactions
from batch_predictions.models.training import Trained, Training
from batch_predictions.settings import Settings
from batch_predictions.tables import ITEMS, PROMOTION_CALENDAR, USERS
from batch_predictions.warehouse import Warehouse


def train_demographic(
    warehouse: Warehouse, settings: Settings, through: dt.date, progress: Callable[[str], None]
) -> Trained:
    """Half-life and tilt of the fallback, by cross-validation over held-out users."""
    from batch_predictions.models.demographic.model import CountAdjustment
    from batch_predictions.models.demographic.ridge import RidgeAdjustment
    from batch_predictions.models.demographic.selection import select_demographic

    segments = warehouse.query(
        f"select user_id, age_bracket, gender, location from ({sql('user_segments')})",
        {**feature_parameters(settings), "date": through},
    )
    selection = select_demographic(
        interactions(warehouse, settings, through),
        segments,
        through,
        holdout_days=settings.recommender.holdout_days,
        window_days=settings.fallback.window_days,
        seed=settings.recommender.seed,
        min_users=settings.fallback.min_users,
        changes=lambda day: warehouse.query(sql("promotion_changes"), {"date": day}),
        weeks=lambda day: warehouse.query(sql("promotion_weeks"), {"date": day}),
        progress=progress,
    )
    tilt = selection.model.tilt
    counts = tilt if isinstance(tilt, CountAdjustment) else None
    ridge = tilt if isinstance(tilt, RidgeAdjustment) else None
    return Trained(
        write=selection.model.save,
        candidate=selection.candidate,
        beats_baseline=selection.model.tilted or selection.model.calendar is not None,
        parameters={
            "half_life_days": selection.model.half_life_days,
            "kappa": counts.kappa if counts and selection.model.tilted else None,
            "penalty": ridge.penalty if ridge else None,
            # Which segments have lists: see `Tilt`.
            "min_users": tilt.fewest(settings.fallback.min_users),
            "places": tilt.places,
        },
        why=selection.why,
        metrics=[dict(row) for row in selection.metrics],
    )


demographic = Training(
    "demographic",
    "Half-life, promotions and tilt of the demographic fallback, chosen on users held out whole.",
    train_demographic,
    extra_tables=(ITEMS, USERS, PROMOTION_CALENDAR),
)

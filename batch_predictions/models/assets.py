"""The models that are trained every week: what each learns from, and against which baselines."""

import datetime as dt
from collections.abc import Callable

import pyarrow as pa

from batch_predictions.features.queries import parameters as feature_parameters
from batch_predictions.features.queries import sql
from batch_predictions.models.training import Trained, training_asset
from batch_predictions.settings import Settings
from batch_predictions.sources import registry
from batch_predictions.warehouse import Warehouse

# What a training sees: interactions with goods, through the week's Sunday.
_INTERACTIONS = """
    with goods as ({item_state})
    select events.user_id, events.item_id, events.date, count(*)::DOUBLE as events
    from raw.interactions as events
    join goods on goods.item_id = events.item_id and goods.available
    where events.date <= $date and events.date > $date - $history_days::INTEGER
    group by all order by all
"""


def interactions(warehouse: Warehouse, settings: Settings, through: dt.date) -> pa.Table:
    """user_id, item_id, date, events: what a training through a day sees, goods only."""
    return warehouse.query(
        _INTERACTIONS.format(item_state=sql("item_state")),
        {
            **feature_parameters(settings),
            "date": through,
            "history_days": settings.recommender.history_days,
        },
    )


def train_recommender(
    warehouse: Warehouse, settings: Settings, through: dt.date, progress: Callable[[str], None]
) -> Trained:
    """ALS and EASE against global and recency-weighted popularity."""
    from batch_predictions.models.recommender.data import Interactions
    from batch_predictions.models.recommender.selection import select

    chosen = settings.recommender
    selection = select(
        Interactions.from_table(interactions(warehouse, settings, through)),
        through,
        candidates=chosen.candidates,
        exclude_seen=registry.excludes_seen(settings),
        holdout_days=chosen.holdout_days,
        seed=chosen.seed,
        history_half_life_days=chosen.history_half_life_days,
        params={"als": {"factors": chosen.factors}, "ease": {"max_items": chosen.ease_items}},
        progress=progress,
    )
    return Trained(
        write=selection.model.save,
        candidate=selection.chosen,
        beats_baseline=selection.beats_baseline,
        parameters=dict(selection.model.params),
        why=selection.why,
        metrics=[dict(row) for row in selection.metrics],
    )


def train_demographic(
    warehouse: Warehouse, settings: Settings, through: dt.date, progress: Callable[[str], None]
) -> Trained:
    """Half-life and tilt of the fallback, by cross-validation over held-out users."""
    from batch_predictions.models.demographic import SegmentTilt
    from batch_predictions.models.demographic_ridge import RidgeTilt
    from batch_predictions.models.demographic_selection import select_demographic

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
        progress=progress,
    )
    tilt = selection.model.tilt
    counts = tilt if isinstance(tilt, SegmentTilt) else None
    ridge = tilt if isinstance(tilt, RidgeTilt) else None
    return Trained(
        write=selection.model.save,
        candidate=selection.candidate,
        beats_baseline=selection.model.tilted,
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


recommender = training_asset(
    "recommender",
    "Item-side model of the recommender: the best of ALS and EASE where it beats popularity on "
    "the week held out, refitted through the week's Sunday.",
    train_recommender,
    kinds=frozenset({"python", "torch"}),
)
demographic = training_asset(
    "demographic",
    "Half-life and tilt of the demographic fallback, chosen on users held out whole.",
    train_demographic,
)

"""The weekly training of the recommender."""

import datetime as dt
from collections.abc import Callable

from batch_predictions.models.recommender.warehouse_inputs import course, interactions
from batch_predictions.models.training import Trained, Training
from batch_predictions.settings import Settings
from batch_predictions.tables import ITEMS, PROMOTION_CALENDAR, USERS
from batch_predictions.warehouse import Warehouse


def train_recommender(
    warehouse: Warehouse, settings: Settings, through: dt.date, progress: Callable[[str], None]
) -> Trained:
    """Two stages against popularity, own history and every generator alone."""
    from batch_predictions.models.recommender.data.interactions import Interactions
    from batch_predictions.models.recommender.selection import TWO_STAGE, select
    from batch_predictions.models.recommender.training.tuning import tuned

    chosen = settings.recommender
    rows = Interactions.from_table(interactions(warehouse, settings, through))
    taught = course(warehouse, settings, progress)
    if chosen.tuning_trials:
        taught = tuned(rows, through, taught, chosen.tuning_trials)
    selection = select(rows, through, taught, candidates=(TWO_STAGE,) if chosen.two_stage else ())
    tuning = {"tuned": {name: dict(each) for name, each in taught.params.items()}}
    return Trained(
        write=selection.model.save,
        candidate=selection.chosen,
        beats_baseline=selection.beats_baseline,
        parameters={**selection.model.params, **tuning},
        why=selection.why,
        metrics=[dict(row) for row in selection.metrics],
    )


recommender = Training(
    "recommender",
    "Candidates of several generators ranked by trees and a line, where that beats popularity, "
    "own history and every generator alone on the week held out; refitted through the week's "
    "Sunday.",
    train_recommender,
    extra_tables=(ITEMS, USERS, PROMOTION_CALENDAR),
    kinds=frozenset({"python", "lightgbm"}),
)

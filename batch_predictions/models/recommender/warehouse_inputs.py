"""What the warehouse tells the recommender: interactions, side information, settings."""

import datetime as dt
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import pyarrow as pa

from batch_predictions.features.queries import parameters as feature_parameters
from batch_predictions.features.queries import sql
from batch_predictions.settings import Settings
from batch_predictions.sources import registry
from batch_predictions.warehouse import Warehouse

if TYPE_CHECKING:
    from batch_predictions.models.recommender.training.trainer import Course

# What a training sees: interactions with goods, through the week's Sunday.
_INTERACTIONS = """
    with goods as ({item_state})
    select
        events.user_id, events.item_id, events.date, count(*)::DOUBLE as events,
        coalesce(epoch_ms(min(events.occurred_at)), 0) as moment,
        favg(events.amount::DOUBLE) filter (events.event_type = 'rating') as rating
    from raw.interactions as events
    join goods on goods.item_id = events.item_id and goods.available
    where events.date <= $date and events.date > $date - $history_days::INTEGER
    group by all order by all
"""


def interactions(warehouse: Warehouse, settings: Settings, through: dt.date) -> pa.Table:
    """user_id, item_id, date, events, moment, rating: goods only, what a training sees."""
    return warehouse.query(
        _INTERACTIONS.format(item_state=sql("item_state")),
        {
            **feature_parameters(settings),
            "date": through,
            "history_days": settings.recommender.history_days,
        },
    )


class Beside:
    """What the warehouse knows besides the interactions, as of a day; see `lessons.Beside`."""

    def __init__(self, warehouse: Warehouse, settings: Settings) -> None:
        self.warehouse, self.bound = warehouse, feature_parameters(settings)
        self.planned_weeks = settings.recommender.planned_weeks
        names = settings.recommender.item_attributes
        if names is None:
            names = list(registry.item_attributes(settings))
        self.attributes = names
        self.users = lru_cache(maxsize=None)(self._users)
        self.items = lru_cache(maxsize=None)(self._items)
        self.promoted = lru_cache(maxsize=None)(self._promoted)

    def _users(self, as_of: dt.date) -> pa.Table:
        return self.warehouse.query(
            f"select user_id, age_bracket, gender, location from ({sql('user_segments')}) "
            "order by user_id",
            {**self.bound, "date": as_of},
        )

    def _items(self) -> pa.Table:
        described = self.warehouse.query(
            """select item_id, category, subcategory, brand,
                list_transform($names::VARCHAR[], lambda name: attributes[name]) as attributes
            from raw.items order by item_id""",
            {"names": self.attributes},
        )
        values = described["attributes"].combine_chunks().flatten()
        described = described.drop_columns("attributes")
        for place, name in enumerate(self.attributes):
            every = pa.array(range(place, len(values), len(self.attributes)))
            described = described.append_column(name, values.take(every))
        return described

    def _promoted(self, as_of: dt.date) -> pa.Table:
        return self.warehouse.query(
            sql("promoted_items"), {"date": as_of, "planned_weeks": self.planned_weeks}
        )


def course(
    warehouse: Warehouse, settings: Settings, progress: Callable[[str], None] | None = None
) -> "Course":
    """How the two stages are taught in this home."""
    from batch_predictions.models.recommender.training.trainer import Course

    chosen = settings.recommender
    exclude_seen = registry.excludes_seen(settings)
    days = chosen.history_half_life_days
    half_life = {} if days is None else {"history_half_life_days": days}
    return Course(
        exclude_seen=exclude_seen,
        window_days=chosen.holdout_days,
        seed=chosen.seed,
        generators=chosen.generators,
        each=chosen.candidates_each or (100 if exclude_seen else 60),
        max_items=chosen.max_items or (50_000 if exclude_seen else 12_000),
        lesson_users=chosen.lesson_users,
        seeds=chosen.seeds or (3 if exclude_seen else 1),
        params={
            "als": {"factors": chosen.factors, "seed": chosen.seed, **half_life},
            "ease": {"max_items": chosen.ease_items, **half_life},
        },
        beside=Beside(warehouse, settings),
        say=progress,
    )

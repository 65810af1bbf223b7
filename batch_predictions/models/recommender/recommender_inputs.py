"""Reads what the recommender learns from: interactions, side information, configuration."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import pyarrow as pa

from batch_predictions.features.sql.queries import RAW_INTERACTIONS, sql, user_item_days
from batch_predictions.features.sql.queries import parameters as feature_parameters
from batch_predictions.settings import Settings
from batch_predictions.sources import source_registry
from batch_predictions.tables import PROMOTIONS
from batch_predictions.warehouse import Warehouse

if TYPE_CHECKING:
    from batch_predictions.models.recommender.training.config import TwoStageConfig


def training_days(settings: Settings) -> int:
    """Days of interactions that a training reads.

    Histories are as long as served ones, also for the oldest label window.
    """
    return settings.recommender.history_days + two_stage_config(settings).reach_days


@dataclass(frozen=True)
class TrainingRows:
    """Interactions that a training reads.

    Attributes:
        table: user_id, item_id, date, events, targets, is_seen, event_time and rating.
        users: users whose rows were read.
        all_users: users who have such rows.
        user_share: share of all possible users that the sample selects, (0, 1].
    """

    table: pa.Table
    users: int
    all_users: int
    user_share: float = 1.0

    @property
    def note(self) -> str:
        """Sentence for a decision on users who were not read; empty where all were."""
        if self.users == self.all_users:
            return ""
        return (
            f" Learnt from {self.users:,} of {self.all_users:,} users, selected by a hash "
            "(recommender.max_users)."
        )


_USERS_READ = """
    select {columns} from raw.interactions
    where date <= $date::DATE and date > $date::DATE - $history_days::INTEGER
        and list_contains($weighted_types::VARCHAR[], event_type)
        and (quantity is null or quantity >= 0)
"""
_FIRST_LEFT_OUT = f"""
    select distinct md5(user_id) as hash from ({_USERS_READ.format(columns="user_id")})
    order by hash limit 1 offset $max_users::BIGINT
"""
_SAMPLE = f"(select * from {RAW_INTERACTIONS} where md5(user_id) < $first_left_out::VARCHAR)"
_HASH_DIGITS = 12
"""Leading hexadecimal digits of a hash that are compared with a share."""
SHARE_STEP = 0.9
"""Ratio of two sizes of the sample: it stays the same until there are a ninth more users."""


def read_interactions(
    warehouse: Warehouse,
    settings: Settings,
    through: dt.date,
    days: int,
) -> TrainingRows:
    """The interactions of the days up to `through`.

    Of more than `recommender.max_users` users, those are read whose ids have the smallest hashes, a
    share that is a power of `SHARE_STEP`: the same ones week after week, so that a training finds
    what the one before has made of their rows. Items that are never recommended
    (`source.exclude_items`) are left out.

    Args:
        warehouse: with raw.interactions and raw.items.
        settings: which items are excluded, and how many users are read.
        through: the last day.
        days: how many days.
    """
    max_users = settings.recommender.max_users
    bound = {
        **feature_parameters(settings),
        "date": through,
        "history_days": days,
        "max_users": max_users,
    }
    all_users = warehouse.value(_USERS_READ.format(columns="count(distinct user_id)"), bound)
    if all_users <= max_users:
        table = warehouse.query(user_item_days(sql("item_state"), RAW_INTERACTIONS), bound)
        return TrainingRows(table, all_users, all_users)
    share = _share_below(warehouse.value(_FIRST_LEFT_OUT, bound))
    bound["first_left_out"] = f"{int(share * 16**_HASH_DIGITS):0{_HASH_DIGITS}x}"
    table = warehouse.query(user_item_days(sql("item_state"), _SAMPLE), bound)
    return TrainingRows(table, len(table["user_id"].unique()), all_users, share)


def _share_below(first_left_out: str) -> float:
    """The largest power of `SHARE_STEP` such that no hash below that share is beyond a hash."""
    share = max(int(first_left_out[:_HASH_DIGITS], 16), 1) / 16**_HASH_DIGITS
    return SHARE_STEP ** math.ceil(math.log(share) / math.log(SHARE_STEP))


class WarehouseSideInformation:
    """Users, items and promotions as the warehouse knows them; see `config.SideInformation`."""

    def __init__(self, warehouse: Warehouse, settings: Settings) -> None:
        self.warehouse, self.parameters = warehouse, feature_parameters(settings)
        self.planned_weeks = settings.recommender.planned_weeks
        names = settings.recommender.item_attributes
        if names is None:
            names = list(source_registry.item_attributes(settings))
        self.attributes = names
        self.users = lru_cache(maxsize=None)(self._users)
        self.items = lru_cache(maxsize=None)(self._items)
        self.promotions = lru_cache(maxsize=None)(self._promotions)

    def _users(self, as_of: dt.date) -> pa.Table:
        return self.warehouse.query(
            f"select user_id, age_bracket, gender, location from ({sql('user_segments')}) "
            "order by user_id",
            {**self.parameters, "date": as_of},
        )

    def _items(self) -> pa.Table:
        table = self.warehouse.query(
            """select item_id, category, subcategory, brand,
                list_transform($names::VARCHAR[], lambda name: attributes[name]) as attributes
            from raw.items order by item_id""",
            {"names": self.attributes},
        )
        values = table["attributes"].combine_chunks().flatten()
        table = table.drop_columns("attributes")
        for place, name in enumerate(self.attributes):
            rows = pa.array(range(place, len(values), len(self.attributes)))
            table = table.append_column(name, values.take(rows))
        return table

    def _promotions(self, as_of: dt.date) -> pa.Table:
        return self.warehouse.query(
            sql("promoted_items"), {"date": as_of, "planned_weeks": self.planned_weeks}
        )


SEQUENCE_MINUTES_PER_MILLION = 24.0
"""Minutes of each fit of `sequence` for a million rows, where the settings name none."""
CANDIDATES, FEW_CANDIDATES = 60, 30
"""Candidates that each generator proposes, and fewer where that is enough."""
MIN_ROWS_FOR_FEW_CANDIDATES = 200_000
"""Interactions from which fewer candidates are enough."""
AUDIENCE_DEPTH = 200
"""Candidates of a user that are kept for promotion audiences."""


def kept_scores(settings: Settings) -> int:
    """Candidates of a user that are kept with their scores, many where audiences read them."""
    lists = settings.recommendations
    if lists.kept_scores is not None:
        return lists.kept_scores
    return AUDIENCE_DEPTH if source_registry.has_table(settings, PROMOTIONS) else lists.k


def candidates_of_each(settings: Settings, rows: int) -> int:
    """Candidates that each generator proposes for a user, unless the settings say how many.

    Lists of many rows are as good with fewer (docs/figures/recommendations.md), and cost a fifth
    less; promotion audiences and rules need candidates further down.

    Args:
        settings: of the home.
        rows: interactions that the training reads.
    """
    lists = settings.recommendations
    if settings.recommender.candidates_each is not None:
        return settings.recommender.candidates_each
    reads_far = (
        rows < MIN_ROWS_FOR_FEW_CANDIDATES
        or lists.rules
        or lists.per_category
        or lists.new_share
        or kept_scores(settings) > lists.k
    )
    return max(CANDIDATES if reads_far else FEW_CANDIDATES, lists.k)


def two_stage_config(settings: Settings, rows: int = 0) -> TwoStageConfig:
    """Builds the configuration of the recommender's training from the settings.

    Some defaults depend on whether lists repeat items, and on the number of rows. A week's further
    rows seldom change it, so that a training finds what the one before has kept.

    Args:
        settings: of the home.
        rows: interactions that the training reads; generators that need more (`min_rows`) are left
            out, in all of its windows alike.
    """
    from batch_predictions.models.recommender.generators.base import generators
    from batch_predictions.models.recommender.training.config import TwoStageConfig

    recommender = settings.recommender
    exclude_seen = source_registry.excludes_seen(settings)
    half_life_days = recommender.history_half_life_days
    half_life = {} if half_life_days is None else {"history_half_life_days": half_life_days}
    declared, names = generators(), recommender.generators
    if names is None:
        names = [name for name, generator in declared.items() if generator.min_rows <= rows]
    minutes = recommender.sequence_minutes
    if minutes is None:
        minutes = min(max(round(SEQUENCE_MINUTES_PER_MILLION * rows / 1e6), 1), 6)
    params: dict[str, dict[str, object]] = {
        "als": {"factors": recommender.factors, "seed": recommender.seed, **half_life},
        "ease": {"max_items": recommender.ease_items, **half_life},
    }
    if not minutes:
        names = [name for name in names if name != "sequence"]
    elif "sequence" in names:
        params["sequence"] = {"minutes": minutes, "seed": recommender.seed}
    return TwoStageConfig(
        exclude_seen=exclude_seen,
        window_days=recommender.holdout_days,
        history_days=recommender.history_days,
        seed=recommender.seed,
        generators=tuple(names),
        # Generators that the settings name are used in any case.
        must_gain=tuple(
            name for name in names if not recommender.generators and declared[name].must_gain
        ),
        candidates_per_generator=candidates_of_each(settings, rows),
        max_items=recommender.max_items or (50_000 if exclude_seen else 12_000),
        max_labelled_users=recommender.lesson_users,
        ranker_seeds=recommender.seeds,
        generator_params=params,
    )

"""Realized metrics of recommendations: the lists of a day against what was bought on the next."""

from __future__ import annotations

import datetime as dt
import itertools

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.core.arrays import Doubles
from batch_predictions.evaluation.realized_metric import RealizedMetric, realized_row
from batch_predictions.features.sql.queries import is_purchase
from batch_predictions.features.sql.queries import parameters as feature_parameters
from batch_predictions.models.common.intervals import Row, bootstrap_interval
from batch_predictions.models.common.ranking_metrics import ndcg
from batch_predictions.settings import Settings
from batch_predictions.tables import (
    DEMOGRAPHIC_RECOMMENDATIONS,
    INTERACTIONS,
    RECOMMENDATIONS,
    SEGMENT_LEVELS,
    USER_ACTIVITY,
    USER_SEGMENTS,
)
from batch_predictions.warehouse import Warehouse

K = 10
NEW_DAYS = (28, 180)
"""Days since the first interaction at which a customer's group ends and the next one begins."""
_LISTS = f"""
    with bought as (
        select distinct user_id, item_id from raw.interactions
        where date = $date::DATE and {is_purchase("target_types")}
    ),
    buyers as (
        select user_id, count(*) as bought_items from bought group by user_id
    ),
    personal as (
        select user_id, rank, item_id from predictions.recommendations
        where date = $as_of::DATE and rank <= {K}
    ),
    segments as (
        select buyers.user_id, age_bracket, gender, location from buyers
        left join (select * from features.user_segments where date = $as_of::DATE) as known
            on known.user_id = buyers.user_id
        where buyers.user_id not in (select user_id from personal)
    ),
    -- As a lookup does: the most specific level of which all values are known and match.
    fallback as (
        select segments.user_id, lists.rank, lists.item_id
        from segments
        join predictions.demographic_recommendations as lists
            on lists.date = $as_of::DATE and lists.rank <= {K}
            and (lists.age_bracket is null
                or (lists.age_bracket = segments.age_bracket and lists.age_bracket <> 'unknown'))
            and (lists.gender is null
                or (lists.gender = segments.gender and lists.gender <> 'unknown'))
            and (lists.location is null
                or (lists.location = segments.location and lists.location <> 'unknown'))
        qualify list_position($levels::VARCHAR[], lists.segment_level)
            = min(list_position($levels::VARCHAR[], lists.segment_level))
                over (partition by segments.user_id)
    ),
    lists as (
        select *, true as is_personal from personal union all
        select *, false as is_personal from fallback
    )
    select buyers.user_id, any_value(buyers.bought_items) as bought_items,
        coalesce(bool_or(lists.is_personal), false) as is_personal,
        list(lists.rank::BIGINT order by lists.rank)
            filter (bought.item_id is not null) as hit_ranks,
        coalesce(any_value(known.age_bracket), 'unknown') as age_bracket,
        any_value($as_of::DATE - activity.first_date) as days_known
    from buyers
    left join (select * from features.user_segments where date = $as_of::DATE) as known
        on known.user_id = buyers.user_id
    left join (select * from features.user_activity where date = $as_of::DATE) as activity
        on activity.user_id = buyers.user_id
    left join lists on lists.user_id = buyers.user_id
    left join bought on bought.user_id = lists.user_id and bought.item_id = lists.item_id
    group by buyers.user_id order by buyers.user_id
"""
"""Customers who bought something on `$date`, and the ranks of their list that they bought."""


def measure_recommendations(warehouse: Warehouse, settings: Settings, day: dt.date) -> list[Row]:
    """Measures hit rate and NDCG of the lists of the day before, over everybody who bought.

    Customers without a personal list count with the list of their segment, as a lookup would have
    answered; everything that was bought is relevant. Intervals are bootstrapped over customers.
    The hit rate is also that of each age bracket (`next_day_hit_rate@10:age=25-34`), and of
    customers by the days since their first interaction (`next_day_hit_rate@10:known=0 to 27 days`).
    """
    as_of = day - dt.timedelta(days=1)
    if not warehouse.path(RECOMMENDATIONS, str(as_of)).exists():
        return []
    table = warehouse.query(
        _LISTS,
        {
            **feature_parameters(settings),
            "date": day,
            "as_of": as_of,
            "levels": list(SEGMENT_LEVELS),
        },
    )
    hits = np.zeros((table.num_rows, K), dtype=np.bool_)
    for row, ranks in enumerate(table["hit_ranks"].to_pylist()):
        for rank in ranks or ():
            hits[row, rank - 1] = True
    groups = _groups(table)
    relevant = table["bought_items"].to_numpy().astype(np.int64)
    rows: list[Row] = []
    for suffix, members in groups.items():
        if not members.any():
            continue
        values: dict[str, Doubles] = {
            f"next_day_hit_rate@{K}": np.asarray(hits[members].any(axis=1), np.float64),
        }
        if "=" not in suffix:
            values[f"next_day_ndcg@{K}"] = np.asarray(ndcg(hits[members], relevant[members]))
        rows += [
            realized_row(
                "recommender",
                f"{name}{suffix}",
                bootstrap_interval(value, settings.recommender.seed),
            )
            for name, value in values.items()
        ]
    return rows


def _groups(table: pa.Table) -> dict[str, npt.NDArray[np.bool_]]:
    """The rows of each group of customers by the end of its metrics' names; all have an empty one.

    Groups are by the kind of the list, age, and days since the first interaction.
    """
    is_personal = table["is_personal"].to_numpy().astype(np.bool_)
    groups = {
        "": np.ones(len(table), np.bool_),
        ":personal": is_personal,
        ":fallback": ~is_personal,
    }
    ages = np.asarray(table["age_bracket"].to_pylist(), dtype=object)
    if set(ages) != {"unknown"}:
        groups |= {f":age={age}": ages == age for age in sorted(set(ages))}
    days = table["days_known"].cast(pa.float64()).fill_null(-1).to_numpy()
    for first, last in itertools.pairwise((0, *NEW_DAYS, None)):
        name = f"{first} days or more" if last is None else f"{first} to {last - 1} days"
        groups[f":known={name}"] = (days >= first) & (days < (last or np.inf))
    return groups


recommendation_metrics = RealizedMetric(
    measure_recommendations,
    (INTERACTIONS, RECOMMENDATIONS, DEMOGRAPHIC_RECOMMENDATIONS, USER_ACTIVITY, USER_SEGMENTS),
)

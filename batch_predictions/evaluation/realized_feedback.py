"""Realized metrics of served lists: how many of the shown items were clicked, and how many bought.

By the list that an item is from, its position, the reason and the model's version.
"""

from __future__ import annotations

import datetime as dt

from batch_predictions.evaluation.outcomes import REACTION_SUMS, REACTIONS, cluster_sums
from batch_predictions.evaluation.realized_metric import RealizedMetric, realized_row
from batch_predictions.models.common.intervals import Row, clustered_proportion, proportion
from batch_predictions.settings import Settings
from batch_predictions.tables import DEMOGRAPHIC_RECOMMENDATIONS, FEEDBACK, RECOMMENDATIONS, Table
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.path_sql import date_list, days_condition

MODEL = "recommender"
_RELEASE_DAY = "try_cast(left(release_id, 10) as DATE)"
"""A release's id begins with its day."""
_NOT_REPORTED = "not_reported"
_SHOWN = """
    with releases(as_of, personal_day, fallback_day) as (values {releases}),
    events as (
        select * from raw.feedback
        where date >= $shown_on::DATE and date <= $date::DATE and recommendation_id is not null
    ),
    reactions as (
        select user_id, item_id, recommendation_id,
            bool_or(event_type = 'click') as clicked, bool_or(event_type = 'purchase') as bought
        from events where event_type <> 'impression' group by all
    ),
    impressions as (
        select user_id, item_id, recommendation_id, min(rank) as rank, min(source) as source,
            min(bucket) as bucket, min({release_day}) as as_of
        from events where event_type = 'impression' and date = $shown_on::DATE
        group by user_id, item_id, recommendation_id
    ),
    personal as (
        select date, user_id, item_id, min(rank) as rank, min(reason) as reason,
            min(model_version) as model_version
        from predictions.recommendations where {is_personal_day} group by all
    ),
    fallback as (
        select date, min(model_version) as model_version
        from predictions.demographic_recommendations where {is_fallback_day} group by date
    ),
    shown as (
        select
            impressions.user_id,
            impressions.recommendation_id,
            coalesce(reactions.clicked, false) as clicked,
            coalesce(reactions.bought, false) as bought,
            coalesce(impressions.source, case when personal.item_id is not null then 'personal' end,
                '{not_reported}') as source,
            coalesce(impressions.rank, personal.rank) as rank,
            case impressions.source when 'demographic' then 'popular_with_your_segment'
                when 'popular' then 'popular'
                else coalesce(split_part(personal.reason, ':', 1), '{not_reported}') end as reason,
            case when impressions.source in ('demographic', 'popular') then fallback.model_version
                else personal.model_version end as model_version,
            impressions.bucket
        from impressions
        left join reactions on reactions.user_id = impressions.user_id
            and reactions.item_id = impressions.item_id
            and reactions.recommendation_id = impressions.recommendation_id
        left join releases on releases.as_of = impressions.as_of
        left join personal on personal.date = releases.personal_day
            and personal.user_id = impressions.user_id and personal.item_id = impressions.item_id
        left join fallback on fallback.date = releases.fallback_day
    ),
    slices as (
        select user_id, clicked, bought, unnest([
            '',
            ':source=' || source,
            ':position=' || case when rank is null then '{not_reported}' when rank <= 10
                then rank::VARCHAR
                when rank <= 20 then '11-20' else '21+' end,
            ':reason=' || reason,
            ':model_version=' || coalesce(model_version, 'not_known'),
            ':bucket=' || bucket
        ]) as slice
        from shown
    ),
    lists as (
        select user_id, bool_or(clicked) as clicked, bool_or(bought) as bought,
            unnest(['', ':source=' || min(source)]) as slice
        from shown group by user_id, recommendation_id
    ),
    users as (
        select 'item' as unit, slice, user_id, count(*) as n,
            count(*) filter (clicked) as clicks, count(*) filter (bought) as purchases
        from slices where slice is not null group by all
        union all
        select 'list', slice, user_id, count(*), count(*) filter (clicked),
            count(*) filter (bought)
        from lists group by all
    )
    select unit, slice, {reaction_sums}
    from users group by unit, slice order by unit, slice
"""
"""Sums over users of the items and lists that were shown on `$shown_on`, by slice."""
_UNATTRIBUTED = """
    select count(*) as events,
        count(*) filter (recommendation_id is null or {release_day} is null) as without_list,
        count(*) filter (event_type <> 'impression' and recommendation_id is not null)
            as reactions,
        count(*) filter (event_type <> 'impression' and recommendation_id is not null
            and (user_id, item_id, recommendation_id) not in (
                select (user_id, item_id, recommendation_id) from raw.feedback
                where date >= $date::DATE - $days::INTEGER and date <= $date::DATE
                    and event_type = 'impression' and recommendation_id is not null
            )) as without_impression
    from raw.feedback where date = $date::DATE
"""


def measure_feedback(warehouse: Warehouse, settings: Settings, day: dt.date) -> list[Row]:
    """Measures click and purchase rates of items that were shown before a day.

    They were shown `recommendations.attribution_days` days before it.

    - `click_rate`, `purchase_rate`: of the shown items, each counted once per user and answer.
    - `lists_clicked`, `lists_bought_from`: of the shown answers.
    - with the suffixes `:source=…`, `:position=…`, `:reason=…`, `:model_version=…`, `:bucket=…`.
    - `feedback_without_answer`, `reactions_without_impression`: shares of the day's events that no
      rate counts.

    Intervals are Wilson's, with the effective number of impressions: those of a user are alike.
    """
    if not any(str(day) >= key for key in warehouse.partitions(FEEDBACK)):
        return []
    shown_on = day - dt.timedelta(days=settings.recommendations.attribution_days)
    bound = {"shown_on": shown_on, "date": day}
    released = warehouse.query(
        f"select distinct {_RELEASE_DAY}::VARCHAR as day from raw.feedback "
        f"where date = $shown_on::DATE and {_RELEASE_DAY} < $shown_on::DATE order by 1",
        bound,
    )["day"].to_pylist()
    personal, fallback = (
        {as_of: _newest_partition(warehouse, table, as_of) for as_of in released}
        for table in (RECOMMENDATIONS, DEMOGRAPHIC_RECOMMENDATIONS)
    )
    releases = [
        f"({', '.join(map(_date_literal, (as_of, personal[as_of], fallback[as_of])))})"
        for as_of in released
    ]
    sql = _SHOWN.format(
        release_day=_RELEASE_DAY,
        releases=", ".join(releases) or "(null::DATE, null::DATE, null::DATE)",
        # As literals, so that only the files of these days are opened.
        is_personal_day=days_condition("date", [day for day in personal.values() if day]),
        is_fallback_day=days_condition("date", [day for day in fallback.values() if day]),
        not_reported=_NOT_REPORTED,
        reaction_sums=REACTION_SUMS,
    )
    rows = []
    for sums in warehouse.query(sql, bound).to_pylist():
        names = ("click_rate", "purchase_rate")
        if sums["unit"] == "list":
            names = ("lists_clicked", "lists_bought_from")
        for name, reaction in zip(names, REACTIONS, strict=True):
            rate = clustered_proportion(cluster_sums(sums, reaction))
            rows.append(realized_row(MODEL, f"{name}{sums['slice']}", rate))
    return rows + _unattributed(warehouse, settings, day)


def _newest_partition(warehouse: Warehouse, table: Table, as_of: str) -> str | None:
    """The day of a table's rows in the release of a day: an earlier one if that was not made."""
    return max((key for key in warehouse.partitions(table) if key <= as_of), default=None)


def _date_literal(day: str | None) -> str:
    return "null::DATE" if day is None else date_list([day])


def _unattributed(warehouse: Warehouse, settings: Settings, day: dt.date) -> list[Row]:
    """Shares of a day's events that name no answer of a release, or no impression of theirs."""
    [counts] = warehouse.query(
        _UNATTRIBUTED.format(release_day=_RELEASE_DAY),
        {"date": day, "days": settings.recommendations.attribution_days},
    ).to_pylist()
    rows = []
    if counts["events"]:
        share = proportion(counts["without_list"], counts["events"])
        rows.append(realized_row(MODEL, "feedback_without_answer", share))
    if counts["reactions"]:
        share = proportion(counts["without_impression"], counts["reactions"])
        rows.append(realized_row(MODEL, "reactions_without_impression", share))
    return rows


feedback_metrics = RealizedMetric(
    measure_feedback, (FEEDBACK, RECOMMENDATIONS, DEMOGRAPHIC_RECOMMENDATIONS)
)

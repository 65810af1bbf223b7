"""Realized metrics of experiments: rates of a bucket against the rest, and the power so far."""

from __future__ import annotations

import datetime as dt

from batch_predictions.evaluation.outcomes import REACTION_SUMS, REACTIONS, cluster_sums
from batch_predictions.evaluation.realized_metric import RealizedMetric, realized_row
from batch_predictions.models.common.intervals import (
    Interval,
    Row,
    clustered_proportion,
    effective_units,
    interval_difference,
    power_of_difference,
)
from batch_predictions.settings import ExperimentSettings, Settings
from batch_predictions.tables import FEEDBACK
from batch_predictions.warehouse import Warehouse

MODEL = "experiment"
MAX_DAYS = 90
"""Days of impressions that are counted at most, the newest ones."""
_BUCKETS = f"""
    with impressions as (
        select user_id, item_id, recommendation_id, min(date) as shown_on,
            -- A user who changed sides, as when the share was changed, counts on neither.
            case when min(bucket) = $bucket then 1 else 0 end as is_in
        from raw.feedback
        where event_type = 'impression' and recommendation_id is not null
            and date >= $first::DATE and date <= $last_shown::DATE
            and (bucket is null or bucket = $bucket)
        group by user_id, item_id, recommendation_id
    ),
    reactions as (
        select user_id, item_id, recommendation_id, date, event_type
        from raw.feedback
        where event_type <> 'impression' and recommendation_id is not null
            and date >= $first::DATE and date <= $date::DATE
    ),
    shown as (
        select impressions.user_id, impressions.is_in,
            coalesce(bool_or(reactions.event_type = 'click'), false) as clicked,
            coalesce(bool_or(reactions.event_type = 'purchase'), false) as bought
        from impressions
        left join reactions on reactions.user_id = impressions.user_id
            and reactions.item_id = impressions.item_id
            and reactions.recommendation_id = impressions.recommendation_id
            and reactions.date >= impressions.shown_on
            and reactions.date <= impressions.shown_on + $days::INTEGER
        group by impressions.user_id, impressions.item_id, impressions.recommendation_id,
            impressions.is_in
    ),
    users as (
        select user_id, any_value(is_in) as is_in, count(*) as n,
            count(*) filter (clicked) as clicks, count(*) filter (bought) as purchases
        from shown group by user_id having count(distinct is_in) = 1
    )
    select is_in = 1 as is_in, {REACTION_SUMS}
    from users group by is_in
"""
_FIRST_DAY = """
    select min(date) from raw.feedback
    where bucket = $bucket and event_type = 'impression'
        and date > $last_shown::DATE - $max_days::INTEGER and date <= $last_shown::DATE
"""


def measure_experiments(warehouse: Warehouse, settings: Settings, day: dt.date) -> list[Row]:
    """Measures the uplift of every experiment's bucket against the users in none.

    It counts from the experiment's first impression.

    For clicks and for purchases of shown items, until `recommendations.attribution_days` after:

    - `click_rate:NAME` of the bucket, `click_rate:NAME:rest` of the rest;
    - `click_uplift:NAME`: their difference, with Newcombe's interval of the clustered shares;
    - `click_power:NAME`: the probability that so many users show a relative difference of
      `min_uplift` as significant. A difference that is not significant says little before it is .8.
    """
    days = settings.recommendations.attribution_days
    last_shown = day - dt.timedelta(days=days)
    rows: list[Row] = []
    for name, experiment in settings.serving.experiments.items():
        bound = {"bucket": name, "last_shown": last_shown, "max_days": MAX_DAYS}
        first = warehouse.value(_FIRST_DAY, bound)
        if first is None:
            continue
        sums = warehouse.query(
            _BUCKETS,
            {"bucket": name, "first": first, "last_shown": last_shown, "date": day, "days": days},
        ).to_pylist()
        groups = {bool(group.pop("is_in")): group for group in sums}
        if len(groups) == 2:
            rows += _experiment_rows(name, experiment, groups[True], groups[False])
    return rows


def _experiment_rows(
    name: str, experiment: ExperimentSettings, bucket: dict[str, object], rest: dict[str, object]
) -> list[Row]:
    rows = []
    for reaction, label in zip(REACTIONS, ("click", "purchase"), strict=True):
        inside, outside = cluster_sums(bucket, reaction), cluster_sums(rest, reaction)
        rates = clustered_proportion(inside), clustered_proportion(outside)
        power = power_of_difference(
            rates[1].mean,
            experiment.min_uplift,
            effective_units(inside),
            effective_units(outside),
        )
        rows += [
            realized_row(MODEL, f"{label}_rate:{name}", rates[0]),
            realized_row(MODEL, f"{label}_rate:{name}:rest", rates[1]),
            realized_row(MODEL, f"{label}_uplift:{name}", interval_difference(*rates)),
            realized_row(
                MODEL,
                f"{label}_power:{name}",
                Interval(power, float("nan"), float("nan"), inside.clusters + outside.clusters),
            ),
        ]
    return rows


experiment_metrics = RealizedMetric(measure_experiments, (FEEDBACK,))

"""Realized metrics of the retention audience: who returned, contacted against held out."""

from __future__ import annotations

import datetime as dt

from batch_predictions.evaluation.holdout_comparison import AudienceGroup, compare_with_holdout
from batch_predictions.evaluation.outcomes import PURCHASE_DAYS, purchase_parameters
from batch_predictions.evaluation.realized_metric import RealizedMetric
from batch_predictions.models.common.intervals import Row
from batch_predictions.settings import Settings
from batch_predictions.tables import INTERACTIONS, RETENTION_AUDIENCE
from batch_predictions.tables.audience_tables import RETENTION_LIST
from batch_predictions.warehouse import Warehouse

_GROUPS = f"""
    with audience as (
        select user_id, min(date) as date, bool_or(held_out) as held_out
        from predictions.retention_audience
        where date <= $last and date > $last - $days::INTEGER
        group by user_id
    ),
    exported as (
        select distinct user_id, date from raw.campaign_events
        where event_type = 'listed' and campaign_id = '{RETENTION_LIST}' and date <= $last
            and date > $last - $days::INTEGER
    )
    select audience.held_out, count(distinct audience.user_id) as customers,
        count(distinct purchases.user_id) as responded,
        count(distinct exported.user_id) as exported
    from audience
    left join ({PURCHASE_DAYS}) as purchases on purchases.user_id = audience.user_id
        and purchases.date > audience.date
        and purchases.date <= audience.date + $horizon::INTEGER
    left join exported on exported.user_id = audience.user_id
    group by 1
"""
"""Customers of the audiences of `$days` days up to `$last`, each once, by `held_out`."""


def measure_retention(warehouse: Warehouse, settings: Settings, day: dt.date) -> list[Row]:
    """Measures who of the retention audiences bought within the horizon, contacted or held out.

    The audiences are those of `audiences.measured_days` days that ended one horizon ago.
    """
    horizon, days = settings.churn.horizon_days, settings.audiences.measured_days
    last = day - dt.timedelta(days=horizon)
    rows = warehouse.query(
        _GROUPS,
        {
            **purchase_parameters(settings, last - dt.timedelta(days=days), day),
            "last": last,
            "days": days,
            "horizon": horizon,
        },
    ).to_pylist()
    groups = {bool(row.pop("held_out")): AudienceGroup(**row) for row in rows}
    contacted, held_out = (groups.get(key, AudienceGroup()) for key in (False, True))
    return compare_with_holdout("retention", "returned", contacted, held_out)


retention_metrics = RealizedMetric(measure_retention, (INTERACTIONS, RETENTION_AUDIENCE))

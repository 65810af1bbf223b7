"""Realized metrics of promotion audiences: who redeemed, by rank and against the held out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from batch_predictions.evaluation.holdout_comparison import AudienceGroup, compare_with_holdout
from batch_predictions.evaluation.realized_metric import RealizedMetric, realized_row
from batch_predictions.models.common.intervals import Row, proportion
from batch_predictions.settings import Settings
from batch_predictions.tables import CAMPAIGN_EVENTS, PROMOTION_AUDIENCE
from batch_predictions.warehouse import Warehouse

TOP_SHARES = (0.1, 0.2)
"""Parts of an audience, the best ranks, whose share of the redeemers is measured."""
_CUSTOMERS = """
    with first_audiences as (
        select campaign_id, min(date) as date from predictions.promotion_audience
        where date < $date and ends_on >= $date::DATE - 7 group by campaign_id
    ),
    audience as (
        select audience.*, count(*) over (partition by audience.campaign_id) as size
        from predictions.promotion_audience as audience join first_audiences
        on first_audiences.campaign_id = audience.campaign_id
            and first_audiences.date = audience.date
    ),
    redeemed as (
        select distinct events.campaign_id, events.user_id
        from raw.campaign_events as events join first_audiences
        on first_audiences.campaign_id = events.campaign_id
            and events.date > first_audiences.date
        where events.event_type = 'redeemed' and events.date <= $date
    ),
    exported as (
        select distinct campaign_id, user_id from raw.campaign_events
        where event_type = 'listed' and date <= $date
    )
    select coalesce(audience.campaign_id, redeemed.campaign_id) as campaign_id,
        audience.rank, audience.size, audience.held_out,
        redeemed.user_id is not null as redeemed, exported.user_id is not null as exported
    from audience full join redeemed on redeemed.campaign_id = audience.campaign_id
        and redeemed.user_id = audience.user_id
    left join exported on exported.campaign_id = audience.campaign_id
        and exported.user_id = audience.user_id
    order by 1, 2
"""
"""Customers of each campaign's audience, and its redeemers outside of it (without a rank)."""


def measure_promotions(warehouse: Warehouse, settings: Settings, day: dt.date) -> list[Row]:
    """Measures every campaign with redemptions, from its first audience until a week after it."""
    customers = warehouse.query(_CUSTOMERS, {"date": day}).to_pylist()
    rows: list[Row] = []
    for campaign in dict.fromkeys(customer["campaign_id"] for customer in customers):
        of_campaign = [c for c in customers if c["campaign_id"] == campaign]
        rows += _campaign_rows(campaign, of_campaign)
    return rows


def _campaign_rows(campaign: str, customers: Sequence[dict[str, Any]]) -> list[Row]:
    """Metrics of one campaign; none without a redemption."""
    redeemers = [customer for customer in customers if customer["redeemed"]]
    if not redeemers:
        return []
    ranked = [redeemer for redeemer in redeemers if redeemer["rank"] is not None]
    counts = {"audience": len(ranked)}
    for share in TOP_SHARES:
        counts[f"top_{share:.0%}"] = sum(
            redeemer["rank"] <= max(1, round(share * redeemer["size"])) for redeemer in ranked
        )
    rows = [
        realized_row(
            "promotion", f"redeemers_in_{name}:{campaign}", proportion(count, len(redeemers))
        )
        for name, count in counts.items()
    ]
    contacted, held_out = (
        _count([customer for customer in customers if customer["held_out"] is is_held_out])
        for is_held_out in (False, True)
    )
    return rows + compare_with_holdout(
        "promotion", "redeemed", contacted, held_out, suffix=f":{campaign}"
    )


def _count(customers: Sequence[dict[str, Any]]) -> AudienceGroup:
    return AudienceGroup(
        customers=len(customers),
        responded=sum(customer["redeemed"] for customer in customers),
        exported=sum(customer["exported"] for customer in customers),
    )


promotion_metrics = RealizedMetric(measure_promotions, (CAMPAIGN_EVENTS, PROMOTION_AUDIENCE))

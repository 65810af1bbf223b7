"""Realized metrics of churn scores and of audiences, contacted against held out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from batch_predictions.evaluation.outcomes import PURCHASE_DAYS, purchase_parameters
from batch_predictions.evaluation.realized_metric import RealizedMetric, realized_row
from batch_predictions.models.common.intervals import Row, proportion, proportion_difference
from batch_predictions.models.common.probability_metrics import PairedComparison
from batch_predictions.settings import Settings
from batch_predictions.tables import (
    CAMPAIGN_EVENTS,
    CHURN_SCORES,
    INTERACTIONS,
    PROMOTION_AUDIENCE,
    RETENTION_AUDIENCE,
)
from batch_predictions.tables.audience_tables import RETENTION_LIST
from batch_predictions.warehouse import Warehouse

SEED = 7


@dataclass(frozen=True)
class AudienceGroup:
    """Counts of one part of an audience: those to contact, or those held out.

    Attributes:
        customers: number of customers.
        responded: how many of them did what the audience was made for.
        exported: how many of them were on an exported list.
    """

    customers: int = 0
    responded: int = 0
    exported: int = 0


def compare_with_holdout(
    model: str, response: str, contacted: AudienceGroup, held_out: AudienceGroup, suffix: str = ""
) -> list[Row]:
    """Shares of customers who responded in both groups, and their difference.

    The difference is named `uplift`. If no list was exported, no customer was contacted: the
    difference is then named `placebo`, and shows the size of differences that are due to chance.

    Args:
        model: of the rows, such as retention.
        response: begins the names of the shares, such as returned.
        contacted: the customers to contact.
        held_out: the customers who must not be contacted.
        suffix: ends the names of all metrics, such as `:<campaign>`.
    """
    was_exported = contacted.exported > 0
    shares = {"contacted" if was_exported else "listed": contacted, "held_out": held_out}
    rows = [
        realized_row(
            model, f"{response}_{name}{suffix}", proportion(group.responded, group.customers)
        )
        for name, group in shares.items()
        if group.customers
    ]
    if contacted.customers and held_out.customers:
        difference = proportion_difference(
            contacted.responded, contacted.customers, held_out.responded, held_out.customers
        )
        name = "uplift" if was_exported else "placebo"
        rows.append(realized_row(model, f"{name}{suffix}", difference))
    return rows


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


def measure_churn(warehouse: Warehouse, settings: Settings, day: dt.date) -> list[Row]:
    """Evaluates the churn scores of one horizon ago, and the share of customers who churned.

    Empty where there are no scores, or where all or none of the customers churned.
    """
    scored_on = day - dt.timedelta(days=settings.churn.horizon_days)
    rows = warehouse.query(
        f"""select scores.churn_probability, (buyers.user_id is null)::DOUBLE as churned
        from predictions.churn_scores as scores
        left join (select distinct user_id from ({PURCHASE_DAYS})) as buyers
        on buyers.user_id = scores.user_id
        where scores.date = $from order by scores.user_id""",
        purchase_parameters(settings, scored_on, day),
    )
    churned = rows["churned"].to_numpy()
    if not len(churned) or churned.min() == churned.max():
        return []
    comparison = PairedComparison(churned, np.arange(len(churned)), SEED)
    metrics = comparison.evaluate("served", rows["churn_probability"].to_numpy())
    share = proportion(int(churned.sum()), len(churned))
    return [
        *(realized_row("churn", name, interval) for name, interval in metrics.items()),
        realized_row("churn", "churned", share),
    ]


churn_metrics = RealizedMetric(measure_churn, (INTERACTIONS, CHURN_SCORES))

"""How interested customers are in campaigns: one query over every pair, and what weighs how much.

`own_visits` and `redemptions` weigh what a logistic regression of who redeemed a coupon among the
targeted found, with an intercept for each campaign, on the Complete Journey's campaigns that began
before September 2017 (`benchmarks/audiences.py --fit`). It found nothing for activity and for the
category's share, and no recommender of that time was there: these three are set by hand, small, and
decide among customers without purchases or redemptions of their own.
"""

from __future__ import annotations

WEIGHTS = {
    "own_visits": 0.7,
    "category_share": 0.2,
    "redemptions": 1.5,
    "visits_84d": 0.02,
    "recommended": 0.3,
}
"""Of log(1 + x) but for category_share, a share; recommended is a sum of 1 / log2(1 + rank)."""

CAMPAIGNS = """
    select campaign_id, max(kind) as kind, min(starts_on) as starts_on,
        max(ends_on) as ends_on
    from raw.promotions
    where ends_on > $date::DATE and starts_on <= $date::DATE + $starts_within_days::INTEGER
    group by campaign_id
"""
"""Campaigns that are live on the next day or start soon after; assumed to be planned by then."""

ON_OFFER = f"""
    select promotions.campaign_id, promotions.item_id, state.category
    from raw.promotions as promotions
    semi join ({CAMPAIGNS}) as campaigns using (campaign_id)
    join features.item_state as state
        on state.item_id = promotions.item_id and state.date = $date and state.available
"""
"""Their items that may be offered, with the category as known on the day."""

_BOUGHT = """
    select events.user_id, events.item_id, count(distinct events.date) as visits
    from raw.interactions as events
    semi join (select item_id from on_offer) as offered on offered.item_id = events.item_id
    where events.date <= $date::DATE and events.date > $date::DATE - $history_days::INTEGER
    group by events.user_id, events.item_id
"""
_CANDIDATES = """
    select user_id, item_id, 1 / log2(1 + place) as fit from (
        select user_id, item_id,
            row_number() over (partition by user_id order by score desc, item_id) as place
        from features.item_scores where date = $date
    ) semi join (select item_id from on_offer) as offered using (item_id)
"""
_SHARES = """
    select events.user_id, state.category, count(*) as events
    from raw.interactions as events
    join features.item_state as state on state.item_id = events.item_id and state.date = $date
    where events.date <= $date::DATE and events.date > $date::DATE - 84
    group by all
"""


def _logged(column: str) -> str:
    return f"ln(1 + coalesce({column}, 0))"


SCORE = " + ".join(
    [
        f"{WEIGHTS['own_visits']} * {_logged('own.visits')}",
        f"{WEIGHTS['category_share']} * coalesce(shares.share, 0)",
        f"{WEIGHTS['redemptions']} * {_logged('redeemed.redemptions')}",
        f"{WEIGHTS['visits_84d']} * {_logged('active.visits_84d')}",
        f"{WEIGHTS['recommended']} * {_logged('candidates.fit')}",
    ]
)
PAIRS = f"""
    on_offer as materialized ({ON_OFFER}),
    bought as materialized ({_BOUGHT}),
    candidates_ as materialized ({_CANDIDATES}),
    own as (
        select campaign_id, user_id, sum(visits)::BIGINT as visits, count(*) as items
        from bought join on_offer using (item_id) group by all
    ),
    candidates as (
        select campaign_id, user_id, fsum(fit) as fit
        from candidates_ join on_offer using (item_id) group by all
    ),
    shares_ as (
        select user_id, category, events / sum(events) over (partition by user_id) as share
        from ({_SHARES})
    ),
    shares as (
        select campaign_id, user_id, least(1, fsum(share)) as share,
            arg_max(category, struct_pack(share, category)) as category
        from shares_ join (select distinct campaign_id, category from on_offer) using (category)
        group by all
    ),
    redeemed as (
        select user_id, count(*) as redemptions from raw.campaign_events
        where event_type = 'redeemed' and date <= $date
            and date > $date::DATE - $history_days::INTEGER
        group by user_id
    ),
    pairs_ as (
        select campaign_id, user_id from own union select campaign_id, user_id from candidates
        union select campaign_id, user_id from shares
    ),
    -- Who has not bought for long belongs to retention.
    pairs as (
        select pairs_.campaign_id, pairs_.user_id, coalesce(own.items, 0) as own_items,
            coalesce(own.visits, 0) as own_visits, coalesce(shares.share, 0) as category_share,
            coalesce(redeemed.redemptions, 0) as redemptions, active.visits_84d,
            coalesce(candidates.fit, 0) as recommended, shares.category,
            {SCORE} as score
        from pairs_
        join features.churn_features as active
            on active.user_id = pairs_.user_id and active.date = $date
        left join own on own.campaign_id = pairs_.campaign_id and own.user_id = pairs_.user_id
        left join candidates on candidates.campaign_id = pairs_.campaign_id
            and candidates.user_id = pairs_.user_id
        left join shares on shares.campaign_id = pairs_.campaign_id
            and shares.user_id = pairs_.user_id
        left join redeemed on redeemed.user_id = pairs_.user_id
    )
"""
"""Every pair of an active customer and a campaign that has something for them, with its score."""

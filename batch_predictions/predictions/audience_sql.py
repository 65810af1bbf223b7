"""SQL that the audiences share: the affinity of customers to campaigns, and who is held out.

The weights of `own_visits` and `redemptions` come from a logistic regression of who redeemed a
coupon among the targeted customers, with an intercept for each campaign, on the Complete Journey's
campaigns that began before September 2017 (`benchmarks/audiences.py --fit`). The regression found
no effect of activity and of the category's share, and had no recommendations. So the weights of
these three are set by hand, and small: they rank customers without purchases of the campaign's
items and without redemptions.

A hash of salt, list and customer decides, so that a customer is in or out of a list's holdout on
every day and every machine. Each list (`retention`, or a campaign) has a different holdout.
"""

from __future__ import annotations

from batch_predictions.features.item_rules import RECOMMENDABLE_ITEMS
from batch_predictions.features.sql.queries import PURCHASES

WEIGHTS = {
    "own_visits": 0.7,
    "category_share": 0.2,
    "redemptions": 1.5,
    "visits_84d": 0.02,
    "recommended": 0.3,
}
"""Weights of log(1 + x), but of category_share itself.

own_visits: visits with purchases of the campaign's items; category_share: share of the customer's
purchases in the campaign's categories; redemptions: coupons redeemed; visits_84d: visits in 84
days; recommended: sum of 1 / log2(1 + rank) over the campaign's items among the recommender's
candidates.
"""

CAMPAIGNS = """
    select campaign_id, max(kind) as kind, min(starts_on) as starts_on,
        max(ends_on) as ends_on
    from raw.promotions
    where ends_on > $date::DATE and starts_on <= $date::DATE + $starts_within_days::INTEGER
    group by campaign_id
"""
"""SQL: campaigns that are live on the next day, or start within `$starts_within_days`.

A campaign is assumed to be planned, with its items, by then.
"""

CAMPAIGN_ITEMS = f"""
    select promotions.campaign_id, promotions.item_id, state.category
    from raw.promotions as promotions
    semi join ({CAMPAIGNS}) as campaigns using (campaign_id)
    join {RECOMMENDABLE_ITEMS} as state on state.item_id = promotions.item_id
"""
"""SQL: their items that may be recommended, with the category as known on the day."""

_ITEM_VISITS = f"""
    select events.user_id, events.item_id, count(distinct events.date) as visits
    from {PURCHASES} as events
    semi join (select item_id from campaign_items) as items on items.item_id = events.item_id
    where events.date <= $date::DATE and events.date > $date::DATE - $history_days::INTEGER
    group by events.user_id, events.item_id
"""
_RECOMMENDED_ITEMS = """
    select user_id, item_id, 1 / log2(1 + position) as relevance from (
        select user_id, item_id,
            row_number() over (partition by user_id order by score desc, item_id) as position
        from features.item_scores where date = $date
    ) semi join (select item_id from campaign_items) as items using (item_id)
"""
_CATEGORY_EVENTS = f"""
    select events.user_id, state.category, count(*) as events
    from {PURCHASES} as events
    join features.item_state as state on state.item_id = events.item_id and state.date = $date
    where events.date <= $date::DATE and events.date > $date::DATE - 84
    group by all
"""


def _log(column: str) -> str:
    return f"ln(1 + coalesce({column}, 0))"


_SCORE = " + ".join(
    [
        f"{WEIGHTS['own_visits']} * {_log('own_purchases.visits')}",
        f"{WEIGHTS['category_share']} * coalesce(category_shares.share, 0)",
        f"{WEIGHTS['redemptions']} * {_log('redemption_counts.redemptions')}",
        f"{WEIGHTS['visits_84d']} * {_log('active.visits_84d')}",
        f"{WEIGHTS['recommended']} * {_log('recommendations.relevance')}",
    ]
)
AFFINITY_CTES = f"""
    campaign_items as materialized ({CAMPAIGN_ITEMS}),
    item_visits as materialized ({_ITEM_VISITS}),
    recommended_items as materialized ({_RECOMMENDED_ITEMS}),
    own_purchases as (
        select campaign_id, user_id, sum(visits)::BIGINT as visits, count(*) as items
        from item_visits join campaign_items using (item_id) group by all
    ),
    recommendations as (
        select campaign_id, user_id, fsum(relevance) as relevance
        from recommended_items join campaign_items using (item_id) group by all
    ),
    user_category_shares as (
        select user_id, category, events / sum(events) over (partition by user_id) as share
        from ({_CATEGORY_EVENTS})
    ),
    category_shares as (
        select campaign_id, user_id, least(1, fsum(share)) as share,
            arg_max(category, struct_pack(share, category)) as category
        from user_category_shares
        join (select distinct campaign_id, category from campaign_items) using (category)
        group by all
    ),
    redemption_counts as (
        select user_id, count(*) as redemptions from raw.campaign_events
        where event_type = 'redeemed' and date <= $date
            and date > $date::DATE - $history_days::INTEGER
        group by user_id
    ),
    candidate_pairs as (
        select campaign_id, user_id from own_purchases
        union select campaign_id, user_id from recommendations
        union select campaign_id, user_id from category_shares
    ),
    -- Customers without a purchase in churn.active_days have no churn_history and no affinities.
    affinities as (
        select pairs.campaign_id, pairs.user_id, coalesce(own_purchases.items, 0) as own_items,
            coalesce(own_purchases.visits, 0) as own_visits,
            coalesce(category_shares.share, 0) as category_share,
            coalesce(redemption_counts.redemptions, 0) as redemptions, active.visits_84d,
            coalesce(recommendations.relevance, 0) as recommended, category_shares.category,
            {_SCORE} as score
        from candidate_pairs as pairs
        join (
            select date, user_id, churn_active_days_84d as visits_84d from features.churn_history
        ) as active on active.user_id = pairs.user_id and active.date = $date
        left join own_purchases on own_purchases.campaign_id = pairs.campaign_id
            and own_purchases.user_id = pairs.user_id
        left join recommendations on recommendations.campaign_id = pairs.campaign_id
            and recommendations.user_id = pairs.user_id
        left join category_shares on category_shares.campaign_id = pairs.campaign_id
            and category_shares.user_id = pairs.user_id
        left join redemption_counts on redemption_counts.user_id = pairs.user_id
    )
"""
"""CTEs of the query that follows: `affinities`, a row with the score of each active customer and
campaign that have an item or a category in common, and `campaign_items`, `item_visits` and
`recommended_items`."""


def hash_fraction_sql(audience: str, user_id: str) -> str:
    """Builds SQL of a number in [0, 1), uniform over customers.

    The holdout is the customers whose number is below its share.

    Args:
        audience: SQL of the list's name.
        user_id: SQL of the customer. The parameter `$holdout_salt` must be bound.
    """
    text = f"$holdout_salt::VARCHAR || '|' || {audience} || '|' || {user_id}"
    return f"(('0x' || substr(md5({text}), 1, 8))::UBIGINT / 4294967296.0)"

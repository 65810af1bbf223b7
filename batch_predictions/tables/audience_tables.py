"""Tables of churn and audiences: features and scores of customers, and audiences to contact."""

from __future__ import annotations

from batch_predictions.tables.base import Table, columns, declare

RETENTION_LIST = "retention"
"""`campaign_id` in raw.campaign_events of customers who were on an exported retention list."""
CHURN_FEATURES = declare(
    Table(
        "features",
        "churn_features",
        "One row per active customer and day: recency, frequency, intervals, spend, variety.",
        columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: every customer with a purchase in churn.active_days
        days_inactive BIGINT: days since the newest visit (a day with a purchase)
        tenure_days BIGINT: days since the first visit in churn.history_days
        visits BIGINT: visits in churn.history_days
        visits_7d BIGINT: visits in the last 7 days
        visits_28d BIGINT: visits in the last 28 days
        visits_56d BIGINT: visits in the last 56 days
        visits_84d BIGINT: visits in the last 84 days
        weeks_84d BIGINT: of the last 12 weeks, those with a visit
        gap_median DOUBLE: days between visits, the median; null with a single visit
        gap_mean DOUBLE: days between visits, the mean
        gap_sd DOUBLE: days between visits, the standard deviation; null with fewer than two gaps
        gap_max BIGINT: days between visits, the maximum
        gap_recent DOUBLE: the mean of the last three gaps
        overdue DOUBLE: days_inactive / gap_mean; above 1: later than usual
        longer_gap_share DOUBLE: share of the customer's gaps longer than days_inactive, smoothed
        spend_28d DOUBLE: amount in the last 28 days
        spend_56d DOUBLE: amount in the last 56 days
        spend_84d DOUBLE: amount in the last 84 days
        spend_trend DOUBLE: log of spend_28d over a third of spend_84d
        visit_trend DOUBLE: log of visits_28d over a third of visits_84d
        events_28d BIGINT: purchases in the last 28 days
        events_84d BIGINT: purchases in the last 84 days
        items_84d BIGINT: different items in the last 84 days
        categories_84d BIGINT: different categories in the last 84 days
        discount_share DOUBLE: share of purchases at 10 % or more below the item's usual price
        redemptions BIGINT: coupons redeemed in churn.history_days
        age_bracket VARCHAR: age bracket, or unknown
        gender VARCHAR: gender, or unknown
    """),
        key=("user_id",),
    )
)
CHURN_SCORES = declare(
    Table(
        "predictions",
        "churn_scores",
        "The probability that an active customer buys nothing in the coming days.",
        columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: every customer with a purchase in churn.active_days
        churn_probability DOUBLE: of no purchase in the next churn.horizon_days, calibrated
        days_inactive BIGINT: days since the newest purchase
        model_version VARCHAR: model that scored it
    """),
        key=("user_id",),
    )
)
RETENTION_AUDIENCE = declare(
    Table(
        "predictions",
        "retention_audience",
        "Inactive customers to win back, highest expected value first, with offers.",
        columns("""
        date DATE: as of the end of this day
        rank BIGINT: 1 has the highest expected value
        user_id VARCHAR: customer to contact, unless held_out
        churn_probability DOUBLE: from predictions.churn_scores
        expected_value DOUBLE: churn_probability times margin_at_risk, in the source's currency
        offer_item_ids VARCHAR[]: items to offer, from the customer's recommendations
        reason VARCHAR: why the customer is in the audience, as text
        held_out BOOLEAN: true: do not contact, so that the effect can be measured
        model_version VARCHAR: version of the rule
        days_inactive BIGINT: days since the newest purchase
        margin_at_risk DOUBLE: margin of audiences.value_days of spend, as in the last 84 days
    """),
        key=("rank",),
        order=("user_id", "rank"),
    )
)
PROMOTION_AUDIENCE = declare(
    Table(
        "predictions",
        "promotion_audience",
        "Customers of each campaign that is live or about to start, highest score first.",
        columns("""
        date DATE: as of the end of this day
        campaign_id VARCHAR: campaign of raw.promotions
        rank BIGINT: 1 has the highest score of the campaign
        user_id VARCHAR: customer to contact, unless held_out
        score DOUBLE: log-odds to redeem; comparable within a day
        item_ids VARCHAR[]: items of the campaign for the customer, most relevant first
        held_out BOOLEAN: true: do not contact, so that the effect can be measured
        model_version VARCHAR: version of the rule
        kind VARCHAR: kind of the campaign
        starts_on DATE: its first day
        ends_on DATE: its last day
        own_items BIGINT: items of the campaign that the customer has bought before
    """),
        key=("campaign_id", "rank"),
        order=("user_id", "campaign_id", "rank"),
    )
)

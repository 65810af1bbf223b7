"""Tables of churn and audiences: features and scores of customers, and audiences to contact."""

from __future__ import annotations

from batch_predictions.tables.base import Table, columns, declare

RETENTION_LIST = "retention"
"""`campaign_id` in raw.campaign_events of customers who were on an exported retention list."""
CHURN_HISTORY = declare(
    Table(
        "features",
        "churn_history",
        "One row per active customer and day: purchases, their rhythm, spend, campaigns.",
        columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: every customer with a purchase in churn.active_days
        churn_7d DOUBLE: purchases in 7 days
        churn_28d DOUBLE: purchases in 28 days
        churn_56d DOUBLE: purchases in 56 days
        churn_84d DOUBLE: purchases in 84 days
        churn_182d DOUBLE: purchases in 182 days
        churn_364d DOUBLE: purchases in 364 days
        churn_decayed_14d DOUBLE: purchases, recent days weighing most
        churn_decayed_56d DOUBLE: purchases, recent days weighing most
        churn_days_since DOUBLE: days since the newest of its purchases
        churn_days_since_first DOUBLE: days since the first of its purchases
        churn_active_days_7d DOUBLE: days with purchases in 7 days
        churn_active_days_28d DOUBLE: days with purchases in 28 days
        churn_active_days_56d DOUBLE: days with purchases in 56 days
        churn_active_days_84d DOUBLE: days with purchases in 84 days
        churn_active_days_182d DOUBLE: days with purchases in 182 days
        churn_active_days_364d DOUBLE: days with purchases in 364 days
        churn_trend DOUBLE: days with purchases in a month, relative to a quarter
        churn_missed_28d DOUBLE: days with purchases that were due since
        churn_missed_91d DOUBLE: days with purchases that were due since
        churn_mean_gap DOUBLE: mean days between its purchases
        churn_overdue DOUBLE: days since its purchases / mean days between them
        spend_7d DOUBLE: amount spent in 7 days
        spend_28d DOUBLE: amount spent in 28 days
        spend_56d DOUBLE: amount spent in 56 days
        spend_84d DOUBLE: amount spent in 84 days
        spend_182d DOUBLE: amount spent in 182 days
        spend_364d DOUBLE: amount spent in 364 days
        redeemed_events_7d DOUBLE: redemptions in 7 days
        redeemed_events_28d DOUBLE: redemptions in 28 days
        redeemed_events_91d DOUBLE: redemptions in 91 days
        redeemed_events_364d DOUBLE: redemptions in 364 days
        targeted_events_7d DOUBLE: campaigns in 7 days
        targeted_events_28d DOUBLE: campaigns in 28 days
        targeted_events_91d DOUBLE: campaigns in 91 days
        targeted_events_364d DOUBLE: campaigns in 364 days
        age_bracket VARCHAR: age bracket
        gender VARCHAR: gender
        user_location VARCHAR: home location
        user_attributes MAP(VARCHAR, VARCHAR): further columns of the source
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

"""Predictions: valid from the day after their date."""

from __future__ import annotations

from batch_predictions.tables.declaration import Table, columns, declare

RECOMMENDATIONS = declare(
    Table(
        "predictions",
        "recommendations",
        "The best items of every user, ranked.",
        columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: for whom
        rank BIGINT: 1 is best
        item_id VARCHAR: what to offer
        score DOUBLE: the model's score; comparable within a user
        reason VARCHAR: bought_before, because_you_liked:<item>, popular_with_your_segment, …
        model_version VARCHAR: model that scored it
    """),
        key=("user_id", "rank"),
    )
)
DEMOGRAPHIC_RECOMMENDATIONS = declare(
    Table(
        "predictions",
        "demographic_recommendations",
        "The best items of every demographic segment: the fallback for users without their own.",
        columns("""
        date DATE: as of the end of this day
        segment_level VARCHAR: age_gender_location, age_location, …, everyone
        age_bracket VARCHAR: age bracket; null outside the level
        gender VARCHAR: gender; null outside the level
        location VARCHAR: location; null outside the level
        rank BIGINT: 1 is best
        item_id VARCHAR: what to offer
        score DOUBLE: share of the segment's interactions, shrunk towards its parent's
        support BIGINT: users in the segment
        model_version VARCHAR: model that scored it
    """),
        key=("segment_level", "age_bracket", "gender", "location", "rank"),
    )
)
REVIEW_SENTIMENTS = declare(
    Table(
        "predictions",
        "review_sentiments",
        "The sentiment of every review of a week.",
        columns("""
        week DATE: Monday of the week in which it was written
        review_id VARCHAR: review
        item_id VARCHAR: item that it is about
        sentiment VARCHAR: negative, neutral or positive: the likeliest of the three
        p_negative DOUBLE: probability of negative, adjusted for rare classes (maximises macro-F1)
        p_neutral DOUBLE: probability of neutral, adjusted in the same way
        p_positive DOUBLE: probability of positive, adjusted in the same way
        simulated BOOLEAN: whether the review was simulated for the demo
        model_version VARCHAR: version of the model that scored it
    """),
        key=("review_id",),
        partition="week",
    )
)
ITEM_SENTIMENTS = declare(
    Table(
        "predictions",
        "item_sentiments",
        "The mean sentiment of every item reviewed in a week, and whether it has changed.",
        columns("""
        week DATE: Monday of the week
        item_id VARCHAR: item
        reviews BIGINT: reviews of the week that were scored
        share_negative DOUBLE: mean probability of negative, without the adjustment for rare classes
        share_neutral DOUBLE: mean probability of neutral, without the adjustment
        share_positive DOUBLE: mean probability of positive, without the adjustment
        net_sentiment DOUBLE: share_positive - share_negative, -1 to 1
        net_lower DOUBLE: lower end of the 95 % interval (Wilson), for the sampling of reviews
        net_upper DOUBLE: upper end of the interval
        change DOUBLE: net_sentiment less that of the weeks before, by the same model; null: none
        example_review_ids VARCHAR[]: the most certain review of each sentiment, negative first
        simulated BOOLEAN: whether any of its reviews was simulated for the demo
        model_version VARCHAR: version of the model that scored them
        reviews_before BIGINT: scored reviews of the weeks before (sentiment.baseline_weeks)
        change_p DOUBLE: p-value of the change, Bonferroni-corrected over items; null: not tested
        changed BOOLEAN: change_p <= sentiment.change_share and abs(change) >= sentiment.min_change
        corrected_negative DOUBLE: share of negative, corrected for the model's confusions
        corrected_neutral DOUBLE: share of neutral, corrected in the same way
        corrected_positive DOUBLE: share of positive, corrected in the same way
    """),
        key=("item_id",),
        partition="week",
    )
)
ASPECTS = declare(
    Table(
        "predictions",
        "aspects",
        "Terms that distinguish the positive from the negative reviews of an item in a week.",
        columns("""
        week DATE: Monday of the week
        item_id VARCHAR: item
        term VARCHAR: a word, or two neighbouring words
        direction VARCHAR: up: a term of positive reviews; down: of negative reviews
        log_odds DOUBLE: log-odds of the term in positive against negative reviews, with a prior
        reviews BIGINT: the item's reviews of the week that contain it
        model_version VARCHAR: version of the scorer
        z DOUBLE: log_odds in standard errors
        simulated BOOLEAN: whether any of the item's reviews was simulated for the demo
    """),
        key=("item_id", "term"),
        partition="week",
    )
)
TRAITS = ("age_bracket", "gender", "location")
"""What is known of a user besides what it did."""
SEGMENT_LEVELS: dict[str, tuple[str, ...]] = {
    "age_gender_location": TRAITS,
    "age_location": ("age_bracket", "location"),
    "age_gender": ("age_bracket", "gender"),
    "gender_location": ("gender", "location"),
    "age": ("age_bracket",),
    "location": ("location",),
    "gender": ("gender",),
    "everyone": (),
}
"""The columns that each level of a demographic segment fixes, in the order of a lookup's search."""
DEMAND_FORECASTS = declare(
    Table(
        "predictions",
        "demand_forecasts",
        "Units that will be wanted of every series on each of the next days, with quantiles.",
        columns("""
        date DATE: as of the end of this day
        item_id VARCHAR: item, or category:<name> for the total of a category
        location VARCHAR: shop, or all
        target_date DATE: day that is forecast
        mean DOUBLE: expected units
        q05 DOUBLE: units that are not exceeded in 5 of 100 cases
        q10 DOUBLE: in 10 of 100
        q25 DOUBLE: in 25 of 100
        q50 DOUBLE: in half of the cases
        q75 DOUBLE: in 75 of 100
        q90 DOUBLE: in 90 of 100
        q95 DOUBLE: in 95 of 100
        model_version VARCHAR: model that forecast it
        method VARCHAR: method behind the series, such as lightgbm or mean28_weekday
    """),
        key=("item_id", "location", "target_date"),
    )
)
LEAD_TIME_DEMAND = declare(
    Table(
        "predictions",
        "lead_time_demand",
        "Units that will be wanted in all over the next days, of the lengths that orders need.",
        columns("""
        date DATE: as of the end of this day
        item_id VARCHAR: item, or category:<name>
        location VARCHAR: shop, or all
        days BIGINT: so many days from the day after date
        mean DOUBLE: expected units in all
        q50 DOUBLE: units that are not exceeded in half of the cases
        q90 DOUBLE: in 90 of 100
        q95 DOUBLE: in 95 of 100
        q99 DOUBLE: in 99 of 100
        model_version VARCHAR: model that forecast it
        level DOUBLE: service level of the item: its own, that of its costs, or the setting
        q_level DOUBLE: units that are not exceeded with the chance `level`
    """),
        key=("item_id", "location", "days"),
    )
)
REPLENISHMENT_ORDERS = declare(
    Table(
        "predictions",
        "replenishment_orders",
        "What to order of every item now: levels of stock, and the quantity that reaches them.",
        columns("""
        date DATE: as of the end of this day
        item_id VARCHAR: which item
        location VARCHAR: shop, or all
        on_hand DOUBLE: units in stock at the end of the day; null: not known
        reorder_point DOUBLE: at or below it, stock may run out before an order arrives
        order_up_to DOUBLE: stock and orders under way after ordering
        safety_stock DOUBLE: order_up_to less the units expected until the next order arrives
        order_quantity DOUBLE: units to order now; null where on_hand is not known
        service_level DOUBLE: chance that a cycle passes without stock running out
        model_version VARCHAR: version of the rule
        on_order DOUBLE: units ordered before and not yet received
        lead_time_days BIGINT: days from order to receipt
        review_days BIGINT: days between orders
        forecast_version VARCHAR: model behind the quantiles
    """),
        key=("item_id", "location"),
    )
)
EXCLUSIONS = declare(
    Table(
        "predictions",
        "exclusions",
        "One row per key that was eligible for a prediction and got none, with the reason.",
        columns("""
        date DATE: day, or Monday of the week, of the prediction
        table_name VARCHAR: prediction table
        key VARCHAR: who or what got no row
        reason VARCHAR: why
    """),
        parts=("table_name",),
    )
)

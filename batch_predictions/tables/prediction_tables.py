"""Predictions: valid from the day after their date."""

from __future__ import annotations

from batch_predictions.tables.base import Table, columns, declare

RECOMMENDATIONS = declare(
    Table(
        "predictions",
        "recommendations",
        "The best items of every user, ranked.",
        columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: user
        rank BIGINT: 1 is best
        item_id VARCHAR: recommended item
        score DOUBLE: score of the model, comparable within a user
        reason VARCHAR: bought_before, because_you_liked:<item>, popular_with_your_segment, …
        model_version VARCHAR: version of the model that scored it
    """),
        key=("user_id", "rank"),
    )
)
DEMOGRAPHIC_RECOMMENDATIONS = declare(
    Table(
        "predictions",
        "demographic_recommendations",
        "The best items of every demographic segment, for users without recommendations.",
        columns("""
        date DATE: as of the end of this day
        segment_level VARCHAR: age_gender_location, age_location, …, everyone
        age_bracket VARCHAR: age bracket; null outside the level
        gender VARCHAR: gender; null outside the level
        location VARCHAR: location; null outside the level
        rank BIGINT: 1 is best
        item_id VARCHAR: recommended item
        score DOUBLE: expected share of the segment's interactions
        support BIGINT: users in the segment
        model_version VARCHAR: version of the model that scored it
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
        language VARCHAR: language of the text, ISO 639-1; null: not known
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
        reviews_not_scored BIGINT: reviews of the week that were not scored
        not_scored VARCHAR: why, such as 82 in en, 3 without words; null: all were scored
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
"""Demographic traits of a user."""
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
        "Forecast units of every demand series for each of the coming days, with quantiles.",
        columns("""
        date DATE: as of the end of this day
        item_id VARCHAR: item, or category:<name> for the total of a category
        location VARCHAR: shop, or all
        target_date DATE: day of the forecast units
        mean DOUBLE: expected units
        q05 DOUBLE: 5 % quantile of the units
        q10 DOUBLE: 10 % quantile
        q25 DOUBLE: 25 % quantile
        q50 DOUBLE: median
        q75 DOUBLE: 75 % quantile
        q90 DOUBLE: 90 % quantile
        q95 DOUBLE: 95 % quantile
        model_version VARCHAR: version of the model
        method VARCHAR: forecaster of the series, such as lightgbm or mean28_weekday
    """),
        key=("item_id", "location", "target_date"),
    )
)
LEAD_TIME_DEMAND = declare(
    Table(
        "predictions",
        "lead_time_demand",
        "Forecast total units of the periods that orders need, with quantiles.",
        columns("""
        date DATE: as of the end of this day
        item_id VARCHAR: item, or category:<name>
        location VARCHAR: shop, or all
        days BIGINT: length of the period, which begins on the day after date
        mean DOUBLE: expected total units
        q50 DOUBLE: median of the total units
        q90 DOUBLE: 90 % quantile
        q95 DOUBLE: 95 % quantile
        q99 DOUBLE: 99 % quantile
        model_version VARCHAR: version of the model
        level DOUBLE: service level: by the item's costs or attribute, else by the setting
        q_level DOUBLE: quantile of the total units at `level`
    """),
        key=("item_id", "location", "days"),
    )
)
REPLENISHMENT_ORDERS = declare(
    Table(
        "predictions",
        "replenishment_orders",
        "Stock levels of every item, and the quantity to order now.",
        columns("""
        date DATE: as of the end of this day
        item_id VARCHAR: item
        location VARCHAR: shop, or all
        on_hand DOUBLE: units in stock at the end of the day; null: not known
        reorder_point DOUBLE: stock at which it may run out before an order arrives
        order_up_to DOUBLE: stock on hand and on order after ordering
        safety_stock DOUBLE: order_up_to minus the expected demand of lead time and review period
        order_quantity DOUBLE: units to order now; null where on_hand is not known
        service_level DOUBLE: probability that stock lasts for lead time and review period
        model_version VARCHAR: version of the order policy
        on_order DOUBLE: units ordered and not yet received
        lead_time_days BIGINT: days from order to receipt
        review_days BIGINT: days between orders
        forecast_version VARCHAR: version of the demand model
        simulated BOOLEAN: whether the stock was simulated for the demo
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
        key VARCHAR: key that got no row; several columns separated by |, escaped by a backslash
        reason VARCHAR: reason
    """),
        parts=("table_name",),
    )
)

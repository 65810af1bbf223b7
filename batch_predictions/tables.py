"""Every table, declared once: columns, types, descriptions, key and partition column.

The warehouse enforces a declaration on every write, builds the analysts' views from it, and the
UI shows it as the asset's column schema. Columns may be added; none is renamed or removed.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

PartitionColumn = Literal["date", "week"]


def week_of(day: dt.date) -> dt.date:
    """The Monday of a day's week."""
    return day - dt.timedelta(days=day.weekday())


@dataclass(frozen=True)
class Column:
    """A column: its name, DuckDB type and meaning."""

    name: str
    type: str
    description: str


@dataclass(frozen=True)
class Table:
    """A declared table.

    `key` is unique within a partition. `order` is the order of a partition's rows, the key unless
    told otherwise: sort by what is looked up. `parts` are further folder levels of tables that
    several writers fill (quarantine, exclusions, logs): each writer has files of its own, and the
    columns of that name are stored in the folder's name. `ahead`: a partition is known before it
    begins, so a day may read those of the days after it.
    """

    schema: str
    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    partition: PartitionColumn | None = "date"
    parts: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    ahead: bool = False

    @property
    def qualified(self) -> str:
        """`schema.name`, as SQL names it."""
        return f"{self.schema}.{self.name}"

    @property
    def folders(self) -> tuple[str, ...]:
        """Columns that stand in folder names: the partition's, then the parts'."""
        return ((self.partition,) if self.partition else ()) + self.parts

    def partition_of(self, day: dt.date) -> dt.date:
        """The partition that a day lies in: the day itself, or its week's Monday."""
        return week_of(day) if self.partition == "week" else day

    def type_of(self, column: str) -> str:
        """The declared type of a column; KeyError where there is none."""
        return {each.name: each.type for each in self.columns}[column]


def columns(text: str) -> tuple[Column, ...]:
    """Reads `name TYPE: description` lines, so that a declaration reads as a table."""
    declared = []
    for line in text.strip().splitlines():
        head, description = line.strip().split(": ", 1)
        name, type_ = head.split(" ", 1)
        declared.append(Column(name, type_, description))
    return tuple(declared)


# --- raw: a day of the source, as it was --------------------------------------------------------

INTERACTIONS = Table(
    "raw",
    "interactions",
    "One row per event of a user with an item: purchase, view, rating.",
    columns("""
        date DATE: business day in the source's time zone
        event_id VARCHAR: id of the event, from the source or a hash of its content
        user_id VARCHAR: who
        item_id VARCHAR: with what
        event_type VARCHAR: purchase, view, rating, …
        quantity DOUBLE: units
        amount DOUBLE: money in the source's currency, or the rating
        location VARCHAR: shop, site or region
        occurred_at TIMESTAMP: moment, UTC; null where the source gives none
    """),
    key=("event_id",),
    order=("user_id", "item_id", "event_id"),
)
USERS = Table(
    "raw",
    "users",
    "One row per user: the newest snapshot.",
    columns("""
        user_id VARCHAR: who
        signed_up_on DATE: day of sign-up
        age_bracket VARCHAR: under 19, 19-24, 25-34, 35-44, 45-54, 55-64 or 65+
        gender VARCHAR: as the source gives it
        location VARCHAR: region, city or home shop
        attributes MAP(VARCHAR, VARCHAR): everything else that the source knows
    """),
    key=("user_id",),
    partition=None,
)
ITEMS = Table(
    "raw",
    "items",
    "One row per item: the newest snapshot.",
    columns("""
        item_id VARCHAR: which
        title VARCHAR: name for people
        category VARCHAR: coarse group
        subcategory VARCHAR: finer group
        brand VARCHAR: maker
        price DOUBLE: list price
        available BOOLEAN: false: not to be offered; null means available
        attributes MAP(VARCHAR, VARCHAR): everything else that the source knows
    """),
    key=("item_id",),
    partition=None,
)
REVIEWS = Table(
    "raw",
    "reviews",
    "One row per written review.",
    columns("""
        date DATE: business day
        review_id VARCHAR: id, from the source or a hash of its content
        user_id VARCHAR: who wrote it
        item_id VARCHAR: about what
        rating DOUBLE: stars, 1 to 5
        text VARCHAR: the review
        written_at TIMESTAMP: moment, UTC
        label VARCHAR: negative, neutral or positive, where a person said so
        language VARCHAR: language of the text, ISO 639-1
        simulated BOOLEAN: true: made up for the demo
    """),
    key=("review_id",),
)
PROMOTIONS = Table(
    "raw",
    "promotions",
    "One row per campaign and item: the newest snapshot.",
    columns("""
        campaign_id VARCHAR: which campaign
        kind VARCHAR: type of campaign
        item_id VARCHAR: item on offer
        starts_on DATE: first day
        ends_on DATE: last day
    """),
    key=("campaign_id", "item_id"),
    partition=None,
)
CAMPAIGN_EVENTS = Table(
    "raw",
    "campaign_events",
    "One row per event of a user in a campaign: targeted, redeemed or listed.",
    columns("""
        date DATE: business day
        campaign_id VARCHAR: which campaign
        user_id VARCHAR: who
        item_id VARCHAR: item, where one is known
        event_type VARCHAR: targeted, redeemed or listed
    """),
)
PROMOTION_CALENDAR = Table(
    "raw",
    "promotion_calendar",
    "One row per week, item and location with a promotion in that week; known ahead.",
    columns("""
        week DATE: Monday of a week in which the promotion is in force
        item_id VARCHAR: item that is promoted
        location VARCHAR: shop, or all where the source does not tell shops apart
        starts_on DATE: first day of the promotion, which may lie in an earlier week
        ends_on DATE: last day, which may lie in a later week
        display VARCHAR: kind of display in the shop, as the source gives it; null: none
        mailer VARCHAR: kind of place in the mailer, as the source gives it; null: none
    """),
    key=("item_id", "location"),
    partition="week",
    ahead=True,
)
QUARANTINE = Table(
    "raw",
    "quarantine",
    "One row per refused row of a source, with the reason.",
    columns("""
        date DATE: business day or week of the row, or the day of the ingest where it has none
        table_name VARCHAR: raw table that refused it
        source VARCHAR: file or relation it came from
        row_number BIGINT: its row there, 1 being the first of data
        reason VARCHAR: what is wrong and what to do
        row JSON: the row as it was read
    """),
    parts=("table_name",),
)

# --- features: what was known at the end of a day -----------------------------------------------

USER_ACTIVITY = Table(
    "features",
    "user_activity",
    "One row per user and day: recency, frequency and spend over 7, 28 and 84 days.",
    columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: every user with an interaction so far
        first_date DATE: day of the first interaction
        last_date DATE: day of the newest interaction
        days_inactive BIGINT: days since the newest interaction
        events BIGINT: interactions so far
        items BIGINT: different items so far
        active_days_7d BIGINT: days with an interaction in the last 7
        active_days_28d BIGINT: days with an interaction in the last 28
        active_days_84d BIGINT: days with an interaction in the last 84
        events_7d BIGINT: interactions in the last 7 days
        events_28d BIGINT: interactions in the last 28 days
        events_84d BIGINT: interactions in the last 84 days
        spend_7d DOUBLE: amount in the last 7 days
        spend_28d DOUBLE: amount in the last 28 days
        spend_84d DOUBLE: amount in the last 84 days
    """),
    key=("user_id",),
)
ITEM_ACTIVITY = Table(
    "features",
    "item_activity",
    "One row per item and day, for items with an interaction in the last 84 days.",
    columns("""
        date DATE: as of the end of this day
        item_id VARCHAR: which
        last_date DATE: day of the newest interaction
        users_7d BIGINT: different users in the last 7 days
        users_28d BIGINT: different users in the last 28 days
        users_84d BIGINT: different users in the last 84 days
        events_7d BIGINT: interactions in the last 7 days
        events_28d BIGINT: interactions in the last 28 days
        events_84d BIGINT: interactions in the last 84 days
        quantity_28d DOUBLE: units in the last 28 days
        amount_28d DOUBLE: amount in the last 28 days
    """),
    key=("item_id",),
)
USER_SEGMENTS = Table(
    "features",
    "user_segments",
    "One row per user and day: the demographic segment as known on the day.",
    columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: every user who had signed up or interacted by then
        age_bracket VARCHAR: age bracket, or unknown
        gender VARCHAR: gender, or unknown
        location VARCHAR: location given, else where the user interacted most so far, or unknown
    """),
    key=("user_id",),
)
ITEM_STATE = Table(
    "features",
    "item_state",
    "One row per item and day: price and availability as known on the day.",
    columns("""
        date DATE: as of the end of this day
        item_id VARCHAR: every item listed or interacted with so far
        title VARCHAR: name for people, the id where there is none
        category VARCHAR: coarse group, or unknown
        price DOUBLE: list price, else the median amount per unit in the last 28 days
        available BOOLEAN: whether it may be offered
    """),
    key=("item_id",),
)
ITEM_SCORES = Table(
    "features",
    "item_scores",
    "Each user's best candidates before rules, for audiences.",
    columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: who
        item_id VARCHAR: candidate
        score DOUBLE: the model's score; comparable within a user
    """),
    key=("user_id", "item_id"),
)

# --- predictions: valid from the day after their date -------------------------------------------

RECOMMENDATIONS = Table(
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
DEMOGRAPHIC_RECOMMENDATIONS = Table(
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
REVIEW_SENTIMENTS = Table(
    "predictions",
    "review_sentiments",
    "The sentiment of every review of a week.",
    columns("""
        week DATE: Monday of the week in which it was written
        review_id VARCHAR: which review
        item_id VARCHAR: about what
        sentiment VARCHAR: negative, neutral or positive: the likeliest
        p_negative DOUBLE: probability, rare classes raised so that the likeliest is the best guess
        p_neutral DOUBLE: probability, likewise
        p_positive DOUBLE: probability, likewise
        simulated BOOLEAN: true: the review was made up for the demo
        model_version VARCHAR: model that scored it
    """),
    key=("review_id",),
    partition="week",
)
ITEM_SENTIMENTS = Table(
    "predictions",
    "item_sentiments",
    "What the customers of every reviewed item felt in a week, and whether that has changed.",
    columns("""
        week DATE: Monday of the week
        item_id VARCHAR: which
        reviews BIGINT: reviews of the week that were scored
        share_negative DOUBLE: mean probability, as classes occur
        share_neutral DOUBLE: mean probability, as classes occur
        share_positive DOUBLE: mean probability, as classes occur
        net_sentiment DOUBLE: share_positive - share_negative, -1 to 1
        net_lower DOUBLE: lower end of the 95 % interval (Wilson), of the sampling of reviews
        net_upper DOUBLE: upper end
        change DOUBLE: net_sentiment less that of the weeks before, by the same model; null: none
        example_review_ids VARCHAR[]: the most certain of each sentiment, negative first
        simulated BOOLEAN: true: some of its reviews were made up for the demo
        model_version VARCHAR: model that scored them
        reviews_before BIGINT: reviews of the weeks before (sentiment.baseline_weeks)
        change_p DOUBLE: chance of such a change by luck in any product tested; null: not tested
        changed BOOLEAN: change_p is at most sentiment.change_share, and the change not small
        corrected_negative DOUBLE: share after correction for the model's confusions
        corrected_neutral DOUBLE: likewise
        corrected_positive DOUBLE: likewise
    """),
    key=("item_id",),
    partition="week",
)
ASPECTS = Table(
    "predictions",
    "aspects",
    "Words and pairs of words that push an item's sentiment up or down in a week.",
    columns("""
        week DATE: Monday of the week
        item_id VARCHAR: which
        term VARCHAR: a word, or two neighbouring ones
        direction VARCHAR: up: said by the pleased; down: by the displeased
        log_odds DOUBLE: log-odds of pleased against displeased reviews, with a prior
        reviews BIGINT: the item's reviews of the week that say it
        model_version VARCHAR: version of the rule
        z DOUBLE: log_odds in standard deviations
        simulated BOOLEAN: true: some of its reviews were made up for the demo
    """),
    key=("item_id", "term"),
    partition="week",
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
EXCLUSIONS = Table(
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

# --- evaluation ---------------------------------------------------------------------------------

MODEL_METRICS = Table(
    "evaluation",
    "model_metrics",
    "One row per training, candidate and metric, baselines included.",
    columns("""
        model VARCHAR: recommender, demographic, …
        trained_through DATE: last day of the training week
        candidate VARCHAR: what was measured; baselines are candidates too
        metric VARCHAR: ndcg@10, recall@20, …
        value DOUBLE: on the hold-out
        lower DOUBLE: lower end of the 95 % interval, where there is one
        upper DOUBLE: upper end
        n BIGINT: users, series or reviews that it is measured on
    """),
    key=("model", "trained_through", "candidate", "metric"),
    partition=None,
    parts=("model", "trained_through"),
)
PROMOTIONS_LOG = Table(
    "evaluation",
    "promotions_log",
    "One row per decision about a champion: promoted, refused, rolled back.",
    columns("""
        decided_at TIMESTAMP: UTC; of a training: the end of its week
        model VARCHAR: recommender, demographic, …
        model_version VARCHAR: version that serves after the decision
        trained_through DATE: last day of the training week, or the roll-back's day
        decision VARCHAR: promoted, baseline, kept or rolled_back
        why VARCHAR: in words, with the figures
    """),
    partition=None,
    parts=("model", "trained_through", "decision"),
)

TABLES: dict[str, Table] = {}
"""Every declared table by its qualified name."""


def declare(table: Table) -> Table:
    """Adds a table to the platform: it gets a folder and a view, and SQL may name it.

    Raises:
        ValueError: another table has its name.
    """
    if TABLES.setdefault(table.qualified, table) != table:
        raise ValueError(f"table {table.qualified} is declared twice, differently")
    return table


for _table in (
    INTERACTIONS,
    USERS,
    ITEMS,
    REVIEWS,
    PROMOTIONS,
    CAMPAIGN_EVENTS,
    PROMOTION_CALENDAR,
    QUARANTINE,
    USER_ACTIVITY,
    ITEM_ACTIVITY,
    USER_SEGMENTS,
    ITEM_STATE,
    ITEM_SCORES,
    RECOMMENDATIONS,
    DEMOGRAPHIC_RECOMMENDATIONS,
    REVIEW_SENTIMENTS,
    ITEM_SENTIMENTS,
    ASPECTS,
    EXCLUSIONS,
    MODEL_METRICS,
    PROMOTIONS_LOG,
):
    declare(_table)

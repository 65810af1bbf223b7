"""Settings of recommendations: training, daily lists, the fallback."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from batch_predictions.settings.section import Section, Share


class RecommenderSettings(Section):
    """Weekly training of the recommender."""

    two_stage: bool = Field(
        True,
        description="Rank the candidates of all generators by a trained ranker, or by a blend of "
        "their scores, where that beats the best single recommender. false: the best single one "
        "serves.",
    )
    generators: list[str] | None = Field(
        None,
        description="Candidate generators, each a baseline too: als, ease, graph_filter, "
        "item_neighbours, current_neighbours, sequence_neighbours, next_neighbours, "
        "sequence_ease, sequence, recent, own_history, segment_taste, promoted, predicted_rating, "
        "rating_lift, liked_ease, and those of plugins. Empty: all that apply to the source.",
    )
    candidates_each: int | None = Field(
        None,
        ge=10,
        description="Candidates that each generator proposes for a user. Empty: 60; 30 from "
        "200,000 rows on, unless promotion audiences or rules read further down the lists; "
        "recommendations.k at least.",
    )
    holdout_days: int = Field(
        7, ge=1, description="Newest days, on which recommenders are evaluated."
    )
    lesson_users: int | None = Field(
        None,
        ge=1,
        description="Users of past weeks that the ranker learns from: weeks are added until there "
        "are as many. Empty: 2,500, or 10,000 where the data has no times.",
    )
    max_users: int = Field(
        100_000,
        ge=100,
        description="Users whose interactions a training reads at most, that of the fallback "
        "included. Of more users, a hash of their ids selects 90 to 100 % of that number, the same "
        "users every week. All users are scored.",
    )
    max_items: int | None = Field(
        None,
        ge=1,
        description="Most frequent items that generators know. Empty: 12,000 where lists may "
        "repeat items, elsewhere 50,000.",
    )
    seeds: int | None = Field(
        None,
        ge=1,
        description="Seeds of the ranker's trees, whose margins are added. Empty: 1 where lists "
        "may repeat items or the ranker learns from 6,000 users or more, elsewhere 3, since single "
        "seeds vary more there.",
    )
    item_attributes: list[str] | None = Field(
        None,
        description="Attributes of raw.items that the ranker may read: numbers, or texts with "
        "several values separated by |. Empty: those that the adapter names.",
    )
    planned_weeks: int = Field(
        1,
        ge=1,
        le=4,
        description="Weeks after a day whose promotions raw.promotion_calendar has by that day. "
        "Each is a feature of the ranker: set it to holdout_days / 7 where planning is that far "
        "ahead, never to more weeks than are planned.",
    )
    tuning_minutes: float | None = Field(
        None,
        ge=0,
        description="Minutes that a training may spend to compare parameters on the days before "
        "the hold-out, as estimated for one core from the number of rows, so that every machine "
        "compares the same ones; 0: the declared parameters. Empty: 12 per million rows, 1 to 15. "
        "Spent where lists hold only new items and at least 1,000 users can be evaluated.",
    )
    sequence_minutes: float | None = Field(
        None,
        ge=0,
        description="Minutes that each fit of the recurrent network `sequence` may take on two "
        "cores, as estimated from the rows, so that every machine does as many steps; a training "
        "fits it two or three times, and once for each further week that the ranker learns from. "
        "Empty: 24 per million rows, 1 to 6; 0: never. Used where lists hold only new items, there "
        "are 50,000 rows or more with times, and lists gain by it before the hold-out; with "
        "tuning_minutes 0, or where recommender.generators names it, that is not asked.",
    )
    history_days: int = Field(
        365, ge=1, description="Days of interactions in a history, in training and in scoring."
    )
    history_half_life_days: float | None = Field(
        None,
        gt=0,
        description="als, ease: half-life of an interaction's weight, days. Empty: 90 where lists "
        "may repeat items, elsewhere none.",
    )
    factors: int = Field(64, ge=1, description="ALS: dimensions of users and items.")
    ease_items: int = Field(3000, ge=1, description="EASE: most frequent items that it models.")
    max_age_days: int = Field(
        35, ge=7, description="Predictions fail when the newest training is older than this."
    )
    seed: int = Field(7, description="Seed of the random numbers of training.")


Expression = Annotated[str, Field(min_length=1)]
"""SQL over the columns of an item."""


class RuleSettings(Section):
    """A rule of lists: one of `exclude`, `boost`, `at_most` and `distinct`, in SQL over items."""

    exclude: Expression | None = Field(
        None, description="Condition: items for which it is true are not recommended."
    )
    boost: Expression | None = Field(
        None, description="Condition: items for which it is true move by `by` places."
    )
    by: int | None = Field(
        None, ge=-1000, le=1000, description="Places that items move up; negative: down."
    )
    at_most: int | None = Field(None, ge=1, description="Items of a list with an equal `per`.")
    per: Expression | None = Field(
        None, description="Expression, such as brand; null is not limited."
    )
    distinct: Expression | None = Field(
        None, description="Expression, such as title: one item of a list with an equal value."
    )

    @model_validator(mode="after")
    def _is_one_rule(self) -> Self:
        kinds = [self.exclude, self.boost, self.distinct, self.at_most]
        is_whole = (self.boost is None) == (self.by is None) and (self.at_most is None) == (
            self.per is None
        )
        is_whole &= self.by != 0
        if sum(kind is not None for kind in kinds) != 1 or not is_whole:
            raise ValueError(
                'a rule is one of {exclude: "price < 5"}, {boost: "brand = \'Own\'", by: 3}, '
                "{at_most: 3, per: brand} and {distinct: title}"
            )
        return self


class RecommendationsSettings(Section):
    """The daily list of every user."""

    k: int = Field(20, ge=1, le=1000, description="Items per user.")
    exclude_seen: bool | list[str] | None = Field(
        None,
        description="Leave out items that the user already had: true, false, or the types of "
        "source.events that bar an item, such as [purchase]. true: the target types, so that an "
        "item that was only viewed may be recommended. Empty: as the adapter says (off for "
        "groceries, on for films and files).",
    )
    per_category: int = Field(
        0, ge=0, description="Items of one category in a list, at most; 0: no cap."
    )
    new_share: Share = Field(0.0, description="Smallest share of a list that is new to the user.")
    blocked_items: list[str] = Field(
        default_factory=list, description="Items that are never recommended."
    )
    boosted_campaigns: list[str] = Field(
        default_factory=list,
        description="Campaigns of raw.promotions whose items move up while they run.",
    )
    boost_places: int = Field(5, ge=0, description="Places that a boosted item moves up.")
    rules: list[RuleSettings] = Field(
        default_factory=list,
        description="Rules by condition, for the lists of users and of the fallback: SQL over "
        "item_id, title, category, subcategory, brand, price and attributes of items, such as "
        '[{exclude: "price < 5 or margin < 0"}, {boost: "brand = \'Own\'", by: 3}, '
        "{at_most: 3, per: brand}, {distinct: title}].",
    )
    attribution_days: int = Field(
        1,
        ge=0,
        le=90,
        description="Clicks and purchases of a shown item count up to this many days after the day "
        "on which it was shown; its rates are in evaluation.realized_metrics of the last of them.",
    )
    kept_scores: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Candidates per user kept in features.item_scores, which promotion audiences "
        "read. Empty: 200, or recommendations.k if the source has no promotions.",
    )


class FallbackSettings(Section):
    """Lists for users without recommendations, by demographic segment."""

    k: int = Field(20, ge=1, le=1000, description="Items per segment.")
    min_users: int = Field(
        10,
        ge=1,
        description="Smaller segments have no list from counts: that of the coarser segment "
        "serves.",
    )
    window_days: int = Field(
        182, ge=1, description="Days of interactions of which popularity is counted."
    )
    location_from_interactions: bool = Field(
        True,
        description="A user without a location gets the one of most of their interactions.",
    )

"""Recommendations: training, daily lists, the fallback."""

from __future__ import annotations

from pydantic import Field

from batch_predictions.settings.section import Section, Share


class RecommenderSettings(Section):
    """Weekly training of the recommender."""

    two_stage: bool = Field(
        True,
        description="Rank the candidates of all generators by trees, where that beats the best "
        "simpler recommender. false: the best simpler one serves.",
    )
    generators: list[str] | None = Field(
        None,
        description="Sources of candidates, each a baseline too: als, ease, graph_filter, "
        "item_neighbours, current_neighbours, sequence_neighbours, next_neighbours, "
        "sequence_ease, recent, own_history, segment_taste, promoted. Empty: all that suit "
        "the source.",
    )
    candidates_each: int | None = Field(
        None,
        ge=10,
        description="Candidates that each generator proposes for a user. Empty: 60 where people "
        "take the same again, elsewhere 100.",
    )
    holdout_days: int = Field(7, ge=1, description="Last days held out to judge recommenders.")
    lesson_users: int = Field(
        2500,
        ge=1,
        description="Users of past weeks that the ranker learns from, at least, while there are "
        "weeks.",
    )
    max_items: int | None = Field(
        None,
        ge=1,
        description="Items with most interactions that are known at all. Empty: 12,000 where "
        "people take the same again, elsewhere 50,000, since taste for what is new lies deeper.",
    )
    seeds: int | None = Field(
        None,
        ge=1,
        description="Ranking trees of each kind, of a seed each, whose margins are added. Empty: 1 "
        "where people take the same again, elsewhere 3, where one training differs from the next.",
    )
    item_attributes: list[str] | None = Field(
        None,
        description="Attributes of raw.items that the ranker may read: numbers, or texts with "
        "several values separated by |. Empty: the adapter's own.",
    )
    planned_weeks: int = Field(
        1,
        ge=1,
        le=4,
        description="Weeks after a day whose promotions raw.promotion_calendar knows by that day. "
        "The ranker is told each of them: set it to holdout_days / 7 where planning is that far "
        "ahead, never to more than is planned.",
    )
    tuning_trials: int = Field(
        0, ge=0, description="Optuna trials before a training, on the days before the hold-out."
    )
    history_days: int = Field(
        365, ge=1, description="Days of interactions that training and scoring look back on."
    )
    history_half_life_days: float | None = Field(
        None,
        gt=0,
        description="als, ease: an interaction counts half as much after so many days. Empty: 90 "
        "where people take the same again, elsewhere all alike.",
    )
    factors: int = Field(64, ge=1, description="ALS: dimensions of users and items.")
    ease_items: int = Field(3000, ge=1, description="EASE: most bought items that it models.")
    max_age_days: int = Field(
        35, ge=7, description="Predictions fail when the newest training is older than this."
    )
    seed: int = Field(7, description="Seed of everything random in training.")


class RecommendationsSettings(Section):
    """The daily list of every user."""

    k: int = Field(20, ge=1, le=1000, description="Items per user.")
    exclude_seen: bool | None = Field(
        None,
        description="Leave out what the user already had. Empty: the adapter's own (off for "
        "groceries, on for films and files).",
    )
    per_category: int = Field(
        0, ge=0, description="Items of one category in a list, at most; 0: no cap."
    )
    new_share: Share = Field(
        0.0, description="Share of a list that the user has not had yet, at least."
    )
    blocked_items: list[str] = Field(
        default_factory=list, description="Items that nobody is offered."
    )
    boosted_campaigns: list[str] = Field(
        default_factory=list,
        description="Campaigns of raw.promotions whose items move up while they run.",
    )
    boost_places: int = Field(5, ge=0, description="Places that a boosted item moves up.")
    kept_scores: int = Field(
        200, ge=1, le=1000, description="Candidates per user kept in features.item_scores."
    )


class FallbackSettings(Section):
    """What users without predictions of their own are offered."""

    k: int = Field(20, ge=1, le=1000, description="Items per segment.")
    min_users: int = Field(
        10, ge=1, description="Smaller segments get no list of their own: the coarser one serves."
    )
    window_days: int = Field(
        182, ge=1, description="Days of interactions that popularity is counted over."
    )
    location_from_interactions: bool = Field(
        True,
        description="A user whose location is not given is placed where they bought most so far.",
    )

"""The best items of every user, every day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from batch_predictions.features.item_rules import RECOMMENDABLE_ITEMS, RULES_OF_ITEMS
from batch_predictions.features.sql.queries import sql, user_item_history
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.validation import Check
from batch_predictions.models.recommender.data.item_features import ITEM_STATS_SQL
from batch_predictions.models.recommender.recommender_inputs import kept_scores
from batch_predictions.predictions.recommendation_scorer import RecommendationScorer
from batch_predictions.settings import Settings
from batch_predictions.sources import source_registry
from batch_predictions.sources.recommendation_rules import ItemRules
from batch_predictions.tables import ITEM_SCORES, RECOMMENDATIONS, SEQUENCE_STATES
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.plot_style import log_scale, new_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def parameters(settings: Settings) -> Mapping[str, object]:
    """Returns k, the rules, and how far back a history goes."""
    config = settings.recommendations
    event_types = source_registry.event_types(settings)
    return {
        **event_types.parameters(),
        "k": config.k,
        "exclude_seen": bool(event_types.seen),
        "limits": [limit for _, limit in ItemRules.of(settings).limits],
        "new_share": config.new_share,
        "kept_scores": kept_scores(settings),
        "history_days": settings.recommender.history_days,
        "planned_weeks": settings.recommender.planned_weeks,
    }


def plot(warehouse: Warehouse, day: str) -> Figure | None:
    """Draws the number of users to whom each item is recommended.

    A steep curve offers only the most popular items.
    """
    counts = warehouse.query(
        """select count(*) as users from predictions.recommendations where date = $date
        group by item_id order by users desc""",
        {"date": as_date(day)},
    )["users"].to_pylist()
    if not counts:
        return None
    title = f"Users per recommended item, {len(counts):,} items, {day}"
    figure, ax = new_axes(title, "items, most recommended first", "users")
    ax.plot(range(1, len(counts) + 1), counts)
    log_scale(ax, "x", "y")
    return figure


_HISTORY = "(" + user_item_history("select * from features.item_state where date = $date") + ")"

recommendations = BatchPrediction(
    table=RECOMMENDATIONS,
    key=("user_id",),
    rows=f"""
        with sorted_histories as (
            -- By item, newest day first. One list to sort instead of one for each column.
            select
                user_id,
                list_sort(list({{
                    item_id: item_id, age: ($date::DATE - date)::INTEGER, events: events,
                    targets: targets, is_seen: is_seen, event_time: event_time, rating: rating
                }})) as entries,
                bool_and(targets is not distinct from events) as has_only_targets,
                bool_and(is_seen is true) as is_all_seen,
                bool_and(event_time is null) as has_no_times,
                bool_and(rating is null) as has_no_ratings
            from {_HISTORY} group by user_id
        ),
        histories as (
            select
                user_id,
                list_transform(entries, lambda entry: entry.item_id) as item_ids,
                list_transform(entries, lambda entry: entry.age) as ages,
                list_transform(entries, lambda entry: entry.events) as events,
                -- Null where they say nothing: lists are what making, reading and writing a shard
                -- costs.
                case when not has_only_targets
                    then list_transform(entries, lambda entry: entry.targets) end as targets,
                case when not is_all_seen
                    then list_transform(entries, lambda entry: entry.is_seen) end as is_seen,
                case when not has_no_times
                    then list_transform(entries, lambda entry: entry.event_time) end
                    as timestamps,
                case when not has_no_ratings
                    then list_transform(entries, lambda entry: entry.rating) end as ratings
            from sorted_histories
        )
        select
            users.user_id, histories.item_ids, histories.ages, histories.events,
            histories.targets, histories.is_seen, histories.timestamps, histories.ratings,
            users.age_bracket, users.gender, users.location, states.state_digest, states.state
        from features.user_segments as users
        left join histories on histories.user_id = users.user_id
        -- Of the day before: without them, or where they do not hold, they are made anew.
        left join tiles.sequence_states as states on states.user_id = users.user_id
            and states.date = $date::DATE - 1
        where users.date = $date
    """,
    lookup_tables={
        "unavailable": f"""select item_id from features.item_state where date = $date
            except select item_id from {RECOMMENDABLE_ITEMS} order by item_id""",
        "rules": RULES_OF_ITEMS,
        # Enough to fill any list: twice k and the longest history are fewer.
        "trending": f"""select activity.item_id from features.item_activity as activity
            join {RECOMMENDABLE_ITEMS} as state on state.item_id = activity.item_id
            where activity.date = $date
            order by activity.buyers_28d desc, activity.buyers_84d desc, activity.users_28d desc,
                activity.item_id
            limit 1000""",
        "item_stats": ITEM_STATS_SQL.format(interactions=_HISTORY),
        "promoted": sql("promoted_items"),
    },
    scorer=RecommendationScorer,
    model="recommender",
    child_tables={"item_scores": ITEM_SCORES, "sequence_states": SEQUENCE_STATES},
    parameters=parameters,
    looks_ahead=lambda settings: settings.recommender.planned_weeks,
    checks=(
        Check(
            "only_available_items",
            "No recommended item is unavailable on the day, or blocked.",
            f"""select count(*) from new_rows where item_id in
                (select item_id from features.item_state where date = $date
                except select item_id from {RECOMMENDABLE_ITEMS})""",
        ),
        Check(
            "ranks_are_complete",
            "The ranks of every user are 1 to n, with n at most k.",
            """select count(*) from (select user_id from new_rows group by user_id
                having min(rank) <> 1 or max(rank) <> count(*) or count(*) > $k)""",
        ),
    ),
    plot=plot,
)

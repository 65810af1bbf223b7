"""The fallback: daily lists by demographic segment, for users without recommendations.

Eligible are the segments with enough users. A smaller one has no list and no reason: its users get
the list of a coarser segment, at last that of everyone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Self

import pyarrow as pa

from batch_predictions.features.item_rules import RECOMMENDABLE_ITEMS, RULES_OF_ITEMS
from batch_predictions.features.sql.queries import sql
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext
from batch_predictions.inference.validation import Check
from batch_predictions.models.demographic.demographic_model import DemographicModel
from batch_predictions.models.recommender.business_rules import Rules
from batch_predictions.settings import Settings
from batch_predictions.sources.recommendation_rules import ItemRules
from batch_predictions.sources.source_registry import event_types
from batch_predictions.tables import DEMOGRAPHIC_RECOMMENDATIONS
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.plot_style import new_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEY = ("segment_level", "age_bracket", "gender", "location")
NO_POPULAR_ITEM = "no user interacted with an available item in the last fallback.window_days"


class DemographicScorer:
    """Ranks items for demographic segments.

    Recency-weighted popularity of the day, times the uplift of the coming week's promotions and the
    segment's adjustment, as the week's training chose them.

    Args:
        model: the trained model.
        context: with lookup tables `weights`, `users`, `promotion_changes` and `rules`, and the
            parameters k and limits.
    """

    version: ClassVar[str] = "6"
    uses_gpu: ClassVar[bool] = False

    def __init__(self, model: DemographicModel, context: ScorerContext) -> None:
        self.k = int(context.parameters["k"])
        self.ranker = model.ranker(
            context.lookup_table("weights"),
            context.lookup_table("users"),
            context.lookup_table("promotion_changes") if model.uplift else None,
        )
        items, limits = self.ranker.counts.items, context.parameters["limits"]
        rules = Rules.from_table(context.lookup_table("rules"), items, limits)
        self.rules = rules if rules.have_effect else None

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        """Loads the model and the day's counts by segment."""
        assert context.model is not None
        return cls(DemographicModel.load(context.model), context)

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Lists of at most k items for segments (segment_level, age_bracket, gender, location)."""
        segments = pa.Table.from_batches([rows]).select(KEY)
        lists = self.ranker.top_k(segments, self.k, self.rules)
        lists = lists.append_column(EXCLUDED, pa.nulls(lists.num_rows, pa.string()))
        with_list = set(zip(*(lists[name].to_pylist() for name in KEY), strict=True))
        excluded = [
            {**row, EXCLUDED: NO_POPULAR_ITEM}
            for row in segments.to_pylist()
            if tuple(row.values()) not in with_list
        ]
        if excluded:
            lists = pa.concat_tables(
                [lists, pa.Table.from_pylist(excluded)], promote_options="permissive"
            )
        return lists.combine_chunks().to_batches()[0]


def parameters(settings: Settings) -> Mapping[str, object]:
    """Returns k, the rules, the users that a segment needs, and the days that are counted."""
    return {
        **event_types(settings).parameters(),
        "k": settings.fallback.k,
        "limits": [limit for _, limit in ItemRules.of(settings).limits],
        "min_users": settings.fallback.min_users,
        "window_days": settings.fallback.window_days,
    }


def plot(warehouse: Warehouse, day: str) -> Figure | None:
    """Draws how many items of each age bracket's list are not on the list of all users."""
    rows = warehouse.query(
        """with lists as (
            select segment_level, age_bracket, item_id
            from predictions.demographic_recommendations
            where date = $date and segment_level in ('age', 'everyone')
        )
        select age_bracket, count(*) filter (item_id not in
            (select item_id from lists where segment_level = 'everyone')) as items
        from lists where segment_level = 'age' group by 1
        order by age_bracket = 'unknown', age_bracket <> 'under 19', age_bracket""",
        {"date": as_date(day)},
    )
    if not rows.num_rows:
        return None
    figure, ax = new_axes(
        f"Items of each age bracket's list that all users' list lacks, {day}",
        "age bracket",
        "items",
    )
    ax.bar(rows["age_bracket"].to_pylist(), rows["items"].to_pylist())
    return figure


demographic_recommendations = BatchPrediction(
    table=DEMOGRAPHIC_RECOMMENDATIONS,
    key=KEY,
    rows="""
        with traits as (
            -- Levels of a trait that is unknown for all users would repeat the coarser levels.
            select
                count(*) filter (age_bracket <> 'unknown') > 0 as has_age,
                count(*) filter (gender <> 'unknown') > 0 as has_gender,
                count(*) filter (location <> 'unknown') > 0 as has_location
            from features.user_segments where date = $date
        )
        select
            case grouping(age_bracket, gender, location)
                when 0 then 'age_gender_location'
                when 2 then 'age_location'
                when 1 then 'age_gender'
                when 4 then 'gender_location'
                when 3 then 'age'
                when 6 then 'location'
                when 5 then 'gender'
                else 'everyone'
            end as segment_level,
            age_bracket, gender, location
        from features.user_segments, traits
        where date = $date
        group by grouping sets (
            (age_bracket, gender, location), (age_bracket, location), (age_bracket, gender),
            (gender, location), (age_bracket), (location), (gender), ()
        )
        having grouping(age_bracket, gender, location) = 7 or (
            -- The model says how many users a segment needs, and whether lists differ by location.
            count(*) >= $model_min_users::BIGINT
            and (any_value(has_age) or grouping(age_bracket) = 1)
            and (any_value(has_gender) or grouping(gender) = 1)
            and (
                (any_value(has_location) and $model_uses_location::BOOLEAN)
                or grouping(location) = 1
            )
        )
    """,
    lookup_tables={
        "users": """select age_bracket, gender, location, count(*) as users
            from features.user_segments where date = $date group by all order by all""",
        "promotion_changes": sql("promotion_changes"),
        "rules": RULES_OF_ITEMS,
        # The half-life is that of the model that serves. Only shares that are shrunk by kappa need
        # weights by segment. Sums are of whole numbers of 2^-80: the same in any order.
        "weights": f"""with segments as (
                select * from features.user_segments
                where date = $date and $model_kappa::DOUBLE is not null
            )
            select coalesce(segments.age_bracket, 'unknown') as age_bracket,
                coalesce(segments.gender, 'unknown') as gender,
                coalesce(segments.location, 'unknown') as location,
                events.item_id,
                sum(greatest(1, (types.weight * pow(2, 80
                    - ($date - events.date) / $model_half_life_days::DOUBLE))::HUGEINT))
                    / pow(2, 80) as weight
            from raw.interactions as events
            join (
                select unnest($weighted_types::VARCHAR[]) as event_type,
                    unnest($type_weights::DOUBLE[]) as weight
            ) as types on types.event_type = events.event_type
            left join segments on segments.user_id = events.user_id
            join {RECOMMENDABLE_ITEMS} as state on state.item_id = events.item_id
            where events.date <= $date and events.date > $date - $window_days::INTEGER
            and coalesce(events.quantity, 0) >= 0
            group by all order by all""",
    },
    scorer=DemographicScorer,
    model="demographic",
    parameters=parameters,
    checks=(
        Check(
            "everyone_is_served",
            "There is a list for all users, unless no user has interacted with anything.",
            """select count(*) from (select 1) where
                not exists (select 1 from new_rows where segment_level = 'everyone')
                and exists (select 1 from new_rows)""",
        ),
    ),
    plot=plot,
    kinds=frozenset({"duckdb"}),
)

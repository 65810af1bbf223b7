"""What users of a similar demographic want, for users without predictions of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pyarrow as pa

from batch_predictions.features.queries import sql
from batch_predictions.inference.declaration import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext
from batch_predictions.inference.validation import Check
from batch_predictions.models.demographic.model import DemographicModel
from batch_predictions.reporting import new_axes
from batch_predictions.settings import Settings
from batch_predictions.tables import DEMOGRAPHIC_RECOMMENDATIONS
from batch_predictions.warehouse import Warehouse, as_date

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEY = ("segment_level", "age_bracket", "gender", "location")
NOTHING_WANTED = "nobody has interacted with an available item in fallback.window_days"


class DemographicScorer:
    """Recency-weighted popularity of the day, moved by the coming week's promotions and tilted to
    the segment as the week's training found best: by the segment's own counts drawn to its
    parent's, by a regression on demographics, or not at all."""

    version: ClassVar[str] = "3"
    uses_gpu: ClassVar[bool] = False

    def __init__(self, model: DemographicModel, opening: ScorerContext) -> None:
        self.k = int(opening.parameters["k"])
        self.ranker = model.ranker(
            opening.lookup_table("wanted"),
            opening.lookup_table("users"),
            opening.lookup_table("changes") if model.calendar else None,
        )

    @classmethod
    def open(cls, opening: ScorerContext) -> Self:
        """Opens the model's parameters and counts the segments' wants."""
        assert opening.model is not None
        return cls(DemographicModel.load(opening.model), opening)

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Lists of at most k items for segments (segment_level, age_bracket, gender, location)."""
        wanted = pa.Table.from_batches([rows]).select(KEY)
        lists = self.ranker.top_k(wanted, self.k)
        lists = lists.append_column(EXCLUDED, pa.nulls(lists.num_rows, pa.string()))
        served = set(zip(*(lists[name].to_pylist() for name in KEY), strict=True))
        lost = [row for row in wanted.to_pylist() if tuple(row.values()) not in served]
        empty = pa.Table.from_pylist([{**row, EXCLUDED: NOTHING_WANTED} for row in lost])
        if lost:
            lists = pa.concat_tables([lists, empty], promote_options="permissive")
        return lists.combine_chunks().to_batches()[0]


def parameters(settings: Settings) -> Mapping[str, Any]:
    """k, the smallest segment with a list of its own, and the days that are counted."""
    return {
        "k": settings.fallback.k,
        "min_users": settings.fallback.min_users,
        "window_days": settings.fallback.window_days,
    }


def plot(warehouse: Warehouse, day: str) -> Figure | None:
    """How far each age bracket's list differs from everyone's."""
    rows = warehouse.query(
        """with lists as (
            select segment_level, age_bracket, item_id
            from predictions.demographic_recommendations
            where date = $date and segment_level in ('age', 'everyone')
        )
        select age_bracket, count(*) filter (item_id not in
            (select item_id from lists where segment_level = 'everyone')) as own
        from lists where segment_level = 'age' group by 1
        order by age_bracket = 'unknown', age_bracket <> 'under 19', age_bracket""",
        {"date": as_date(day)},
    )
    if not rows.num_rows:
        return None
    figure, ax = new_axes(f"Items of each age bracket's list that are not on everyone's, {day}")
    ax.bar(rows["age_bracket"].to_pylist(), rows["own"].to_pylist(), color="#f58518")
    ax.set_ylabel("items", fontsize=9)
    return figure


demographic_recommendations = BatchPrediction(
    table=DEMOGRAPHIC_RECOMMENDATIONS,
    key=KEY,
    rows="""
        with known as (
            -- A trait that nobody has tells nobody apart: its levels would repeat the coarser ones.
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
        from features.user_segments, known
        where date = $date
        group by grouping sets (
            (age_bracket, gender, location), (age_bracket, location), (age_bracket, gender),
            (gender, location), (age_bracket), (location), (gender), ()
        )
        having grouping(age_bracket, gender, location) = 7 or (
            -- The model's tilt says how many users a list needs, and whether places matter.
            count(*) >= $model_min_users::BIGINT
            and (any_value(has_age) or grouping(age_bracket) = 1)
            and (any_value(has_gender) or grouping(gender) = 1)
            and (
                (any_value(has_location) and $model_places::BOOLEAN)
                or grouping(location) = 1
            )
        )
    """,
    lookup_tables={
        "users": """select age_bracket, gender, location, count(*) as users
            from features.user_segments where date = $date group by all order by all""",
        "changes": sql("promotion_changes"),
        # The half-life is the model's: what a champion learned is what serves.
        "wanted": """select segments.age_bracket, segments.gender, segments.location,
                events.item_id,
                fsum(pow(0.5, ($date - events.date) / $model_half_life_days::DOUBLE)) as weight
            from raw.interactions as events
            join features.user_segments as segments
            on segments.user_id = events.user_id and segments.date = $date
            join features.item_state as state
            on state.item_id = events.item_id and state.date = $date and state.available
            where events.date <= $date and events.date > $date - $window_days::INTEGER
            group by all order by all""",
    },
    scorer=DemographicScorer,
    model="demographic",
    parameters=parameters,
    checks=(
        Check(
            "everyone_is_served",
            "There is a list for everyone, unless nobody has wanted anything.",
            """select count(*) from (select 1) where
                not exists (select 1 from new_rows where segment_level = 'everyone')
                and exists (select 1 from new_rows)""",
        ),
    ),
    plot=plot,
    kinds=frozenset({"duckdb"}),
)

"""Inactive customers worth winning back, every day: whom to contact, with what, and why.

All of it is relational, so that one query ranks everyone: who is inactive, likely to go and not
contacted lately, the most valuable first, until the budget is spent. The scorer adds words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pyarrow as pa

from batch_predictions.inference.declaration import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext
from batch_predictions.inference.validation import Check
from batch_predictions.predictions.holdout import place_sql
from batch_predictions.reporting import new_axes
from batch_predictions.settings import Settings
from batch_predictions.tables import RETENTION_AUDIENCE
from batch_predictions.warehouse import Warehouse, as_date

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIST = "retention"
"""Name of the list in `raw.campaign_events` and in the holdout's hash."""


class RetentionScorer:
    """Probability of churn times the margin at risk; offers are the customer's best
    recommendations of the day, those already liked first."""

    version: ClassVar[str] = "1"
    uses_gpu: ClassVar[bool] = False

    def __init__(self, opening: ScorerContext) -> None:
        chosen = opening.parameters
        self.probability = float(chosen["min_churn_probability"])
        self.quiet = int(chosen["quiet_days"])
        self.budget = int(chosen["budget"])

    @classmethod
    def open(cls, opening: ScorerContext) -> Self:
        """Reads the bounds, which reasons name."""
        return cls(opening)

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Rows of the list from staged customers (see the query), or why not."""
        out = []
        for row in rows.to_pylist():
            why_not = self._why_not(row)
            if why_not:
                out.append({"user_id": row["user_id"], EXCLUDED: why_not})
                continue
            out.append(
                {
                    "user_id": row["user_id"],
                    "rank": row["rank"],
                    "churn_probability": row["churn_probability"],
                    "expected_value": row["expected_value"],
                    "offer_item_ids": row["offers"] or [],
                    "reason": self._reason(row),
                    "held_out": row["held_out"],
                    "days_inactive": row["days_inactive"],
                    "margin_at_risk": row["margin_at_risk"],
                }
            )
        return pa.RecordBatch.from_pylist(out, schema=_SCHEMA)

    def _why_not(self, row: Mapping[str, Any]) -> str | None:
        if row["listed_on"] is not None:
            return f"listed on {row['listed_on']}, less than {self.quiet} days ago"
        if row["churn_probability"] < self.probability:
            return f"probability of churn below {self.probability:g}"
        if row["rank"] is None:
            return f"beyond the budget of {self.budget}"
        return None

    @staticmethod
    def _reason(row: Mapping[str, Any]) -> str:
        text = f"no purchase for {row['days_inactive']} days"
        if row["gap_mean"]:
            text += f", usually one every {row['gap_mean']:.0f}"
        text += f"; likely to stay away: {row['churn_probability']:.0%}"
        return f"{text}; margin at risk {row['margin_at_risk']:.2f}"


_SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "rank": pa.int64(),
        "churn_probability": pa.float64(),
        "expected_value": pa.float64(),
        "offer_item_ids": pa.list_(pa.string()),
        "reason": pa.string(),
        "held_out": pa.bool_(),
        "days_inactive": pa.int64(),
        "margin_at_risk": pa.float64(),
        EXCLUDED: pa.string(),
    }
)


def parameters(settings: Settings) -> Mapping[str, Any]:
    """Budget, bounds, margin and holdout."""
    chosen = settings.audiences
    return {
        "min_inactive_days": chosen.min_inactive_days,
        "min_churn_probability": chosen.min_churn_probability,
        "budget": chosen.budget,
        "quiet_days": chosen.quiet_days,
        "margin": chosen.margin,
        "value_days": chosen.value_days,
        "offers": chosen.offers,
        "holdout_share": chosen.holdout_share,
        "holdout_salt": chosen.holdout_salt,
    }


def plot(warehouse: Warehouse, day: str) -> Figure | None:
    """Who is on the list, by days inactive and by age bracket, and the value expected of each."""
    rows = warehouse.query(
        """select audience.days_inactive, audience.held_out, audience.expected_value,
            segments.age_bracket
        from predictions.retention_audience as audience
        join features.user_segments as segments
        on segments.user_id = audience.user_id and segments.date = $date
        where audience.date = $date order by audience.rank""",
        {"date": as_date(day)},
    ).to_pylist()
    if not rows:
        return None
    figure, ax = new_axes(f"Retention audience of {day}, {len(rows):,} customers", width=9)
    ax.set_position((0.08, 0.2, 0.4, 0.67))
    by_week = {(row["days_inactive"] // 14) for row in rows}
    weeks = {n: f"{14 * n}-{14 * n + 13}" for n in sorted(by_week)}
    _stacked(ax, [(weeks[row["days_inactive"] // 14], row) for row in rows], list(weeks.values()))
    ax.set_xlabel("days inactive", fontsize=9)
    ax.set_ylabel("customers (above: value expected)", fontsize=9)
    ax.legend(fontsize=8, frameon=False)
    right = figure.add_axes((0.56, 0.2, 0.4, 0.67))
    ages = sorted(
        {row["age_bracket"] for row in rows},
        key=lambda age: (age == "unknown", age != "under 19", age),
    )
    _stacked(right, [(row["age_bracket"], row) for row in rows], ages)
    right.set_xlabel("age bracket", fontsize=9)
    right.tick_params(labelsize=8)
    right.spines[["top", "right"]].set_visible(False)
    return figure


def _stacked(ax: Any, rows: list[tuple[str, dict[str, Any]]], names: list[str]) -> None:
    """Bars of those to contact and held out, with the sum of expected values above."""
    for place, name in enumerate(names):
        mine = [row for label, row in rows if label == name]
        held = sum(row["held_out"] for row in mine)
        first = place == 0
        ax.bar(name, len(mine) - held, color="#4c78a8", label="to contact" if first else None)
        ax.bar(
            name,
            held,
            bottom=len(mine) - held,
            color="#bab0ac",
            label="held out" if first else None,
        )
        value = sum(row["expected_value"] for row in mine)
        ax.text(place, len(mine), f"{value:,.0f}", ha="center", va="bottom", fontsize=8)
    ax.margins(y=0.12)


retention_audience = BatchPrediction(
    table=RETENTION_AUDIENCE,
    key=("user_id",),
    rows=f"""
        with inactive as (
            select
                scores.user_id, scores.churn_probability, scores.days_inactive,
                features.gap_mean,
                $margin::DOUBLE * greatest(0, features.spend_84d) / 84 * $value_days::INTEGER
                    as margin_at_risk,
                {place_sql(f"'{LIST}'", "scores.user_id")} < $holdout_share::DOUBLE as held_out
            from predictions.churn_scores as scores
            join features.churn_features as features
            on features.user_id = scores.user_id and features.date = $date
            where scores.date = $date and scores.days_inactive >= $min_inactive_days::INTEGER
        ),
        -- Before the day: what the day's own list was exported to changes it no more.
        listed as (
            select user_id, max(date) as listed_on from raw.campaign_events
            where event_type = 'listed' and campaign_id = '{LIST}'
                and date < $date and date >= $date::DATE - $quiet_days::INTEGER
            group by user_id
        ),
        valued as (
            select inactive.*, churn_probability * margin_at_risk as expected_value,
                listed.listed_on
            from inactive left join listed on listed.user_id = inactive.user_id
        ),
        ranked as (
            select
                user_id,
                row_number() over best as rank,
                -- Those held out cost nothing: the budget counts who is contacted.
                count(*) filter (not held_out) over best as contacted,
                held_out
            from valued
            where listed_on is null and churn_probability >= $min_churn_probability::DOUBLE
            window best as (
                order by expected_value desc, churn_probability desc, user_id
                rows unbounded preceding
            )
        ),
        within as (
            select user_id, rank from ranked
            where contacted <= $budget::BIGINT - held_out::INTEGER
        ),
        offers as (
            select user_id, list(item_id order by rank) as offers
            from predictions.recommendations
            where date = $date and rank <= $offers::INTEGER
            group by user_id
        )
        select valued.*, within.rank, offers.offers
        from valued
        left join within on within.user_id = valued.user_id
        left join offers on offers.user_id = valued.user_id and within.rank is not null
    """,
    scorer=RetentionScorer,
    parameters=parameters,
    checks=(
        Check(
            "within_budget",
            "At most audiences.budget customers are contacted, and ranks are 1 to n.",
            """select greatest(0, count(*) filter (not held_out) - $budget::BIGINT)
                + (count(*) > 0 and (min(rank) <> 1 or max(rank) <> count(*)))::INTEGER
                from new_rows""",
        ),
        Check(
            "nobody_twice",
            "Nobody is listed who was listed in the last audiences.quiet_days.",
            f"""select count(*) from new_rows where user_id in (select user_id
                from raw.campaign_events where event_type = 'listed' and campaign_id = '{LIST}'
                and date < $date and date >= $date::DATE - $quiet_days::INTEGER)""",
        ),
    ),
    plot=plot,
    kinds=frozenset({"duckdb"}),
)

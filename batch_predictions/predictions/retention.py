"""The retention audience, every day: inactive customers to win back, with offers and a reason.

One query ranks the customers: inactive, likely to churn, not listed recently, by falling expected
value until the budget is used up. The scorer adds the texts. Eligible are the inactive customers
with a churn score: active ones are no candidates, and `churn_scores` says why others have no score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import pyarrow as pa

from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext, result_schema
from batch_predictions.inference.validation import Check
from batch_predictions.predictions.audience_plots import plot_retention_audience
from batch_predictions.predictions.audience_sql import hash_fraction_sql
from batch_predictions.settings import Settings
from batch_predictions.tables import RETENTION_AUDIENCE
from batch_predictions.tables.audience_tables import RETENTION_LIST


class RetentionScorer:
    """Churn probability times the margin at risk; offers are the customer's recommendations."""

    version: ClassVar[str] = "2"
    uses_gpu: ClassVar[bool] = False

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self.min_churn_probability = float(parameters["min_churn_probability"])
        self.quiet_days = int(parameters["quiet_days"])
        self.budget = int(parameters["budget"])

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        """Takes the limits that reasons of exclusions name from the parameters."""
        return cls(context.parameters)

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Rows of the audience from staged customers (see the query), or the reason for none."""
        return pa.RecordBatch.from_pylist(
            [self._audience_row(row) for row in rows.to_pylist()], schema=_SCHEMA
        )

    def _audience_row(self, row: Mapping[str, object]) -> dict[str, object]:
        exclusion_reason = self._exclusion_reason(row)
        if exclusion_reason:
            return {"user_id": row["user_id"], EXCLUDED: exclusion_reason}
        columns = {name: row[name] for name in _SCHEMA.names if name in row}
        return {**columns, "offer_item_ids": row["offers"] or [], "reason": _reason(row)}

    def _exclusion_reason(self, row: Mapping[str, Any]) -> str | None:
        """Explains why a customer is not in the audience; None for one who is."""
        if row["listed_on"] is not None:
            return f"listed on {row['listed_on']}, less than {self.quiet_days} days ago"
        if row["churn_probability"] < self.min_churn_probability:
            return f"churn probability below {self.min_churn_probability:g}"
        if row["rank"] is None:
            return f"ranked below the budget of {self.budget} customers"
        return None


def _reason(row: Mapping[str, Any]) -> str:
    """Explains why a customer is in the audience."""
    parts = [f"no purchase for {_days(row['days_inactive'])}"]
    if row["gap_mean"]:
        parts.append(f"buys every {_days(round(row['gap_mean']))} on average")
    parts.append(f"churn probability {row['churn_probability']:.0%}")
    parts.append(f"margin at risk {row['margin_at_risk']:.2f}")
    return "; ".join(parts)


def _days(number: int) -> str:
    return f"{number} day" if number == 1 else f"{number} days"


_SCHEMA = result_schema(RETENTION_AUDIENCE)


def parameters(settings: Settings) -> Mapping[str, Any]:
    """Settings that query, scorer and checks use."""
    audiences = settings.audiences
    return {
        "min_inactive_days": audiences.min_inactive_days,
        "min_churn_probability": audiences.min_churn_probability,
        "budget": audiences.budget,
        "quiet_days": audiences.quiet_days,
        "margin": audiences.margin,
        "value_days": audiences.value_days,
        "offers": audiences.offers,
        "holdout_share": audiences.holdout_share,
        "holdout_salt": audiences.holdout_salt,
    }


retention_audience = BatchPrediction(
    table=RETENTION_AUDIENCE,
    key=("user_id",),
    rows=f"""
        with inactive as (
            select
                scores.user_id, scores.churn_probability, scores.days_inactive,
                features.churn_mean_gap as gap_mean,
                $margin::DOUBLE * greatest(0, features.spend_84d) / 84 * $value_days::INTEGER
                    as margin_at_risk,
                {hash_fraction_sql(f"'{RETENTION_LIST}'", "scores.user_id")}
                    < $holdout_share::DOUBLE as held_out
            from predictions.churn_scores as scores
            join features.churn_history as features
            on features.user_id = scores.user_id and features.date = $date
            where scores.date = $date and scores.days_inactive >= $min_inactive_days::INTEGER
        ),
        -- Before the day, so that exporting the day's own list does not change that list.
        listed as (
            select user_id, max(date) as listed_on from raw.campaign_events
            where event_type = 'listed' and campaign_id = '{RETENTION_LIST}'
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
                row_number() over by_value as rank,
                -- The budget counts customers who are contacted, not those held out.
                count(*) filter (not held_out) over by_value as contacted,
                held_out
            from valued
            where listed_on is null and churn_probability >= $min_churn_probability::DOUBLE
            window by_value as (
                order by expected_value desc, churn_probability desc, user_id
                rows unbounded preceding
            )
        ),
        within_budget as (
            select user_id, rank from ranked
            where contacted <= $budget::BIGINT - held_out::INTEGER
        ),
        offers as (
            select user_id, list(item_id order by rank) as offers
            from predictions.recommendations
            where date = $date and rank <= $offers::INTEGER
            group by user_id
        )
        select valued.*, within_budget.rank, offers.offers
        from valued
        left join within_budget on within_budget.user_id = valued.user_id
        left join offers
            on offers.user_id = valued.user_id and within_budget.rank is not null
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
            "No customer was on a list that was exported in the last audiences.quiet_days.",
            f"""select count(*) from new_rows where user_id in (select user_id
                from raw.campaign_events where event_type = 'listed'
                and campaign_id = '{RETENTION_LIST}'
                and date < $date and date >= $date::DATE - $quiet_days::INTEGER)""",
        ),
    ),
    plot=plot_retention_audience,
    kinds=frozenset({"duckdb"}),
)

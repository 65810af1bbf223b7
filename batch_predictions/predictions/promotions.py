"""The promotion audience, every day: the customers of each campaign, with items for each.

One query scores pairs of customers and campaigns, assigns customers to the campaigns with their
highest scores, and keeps the best customers of each campaign. The scorer fills the lists of items.
All campaigns are in one table. Eligible are the campaigns: one without an audience has its reason.
Pairs of a campaign and a customer who is not on its list would be as many as campaigns times
customers, and have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import pyarrow as pa

from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext, result_schema
from batch_predictions.inference.validation import Check
from batch_predictions.predictions.audience_plots import plot_promotion_audience
from batch_predictions.predictions.audience_sql import (
    AFFINITY_CTES,
    CAMPAIGN_ITEMS,
    CAMPAIGNS,
    hash_fraction_sql,
)
from batch_predictions.settings import Settings
from batch_predictions.sources.source_registry import event_types
from batch_predictions.tables import PROMOTION_AUDIENCE

NO_AUDIENCE = (
    "no active customer has an affinity to its available items, or all who have one are assigned "
    "to other campaigns"
)
MAX_STAGED_ITEMS = 20
"""Items of a customer, and popular items of a campaign or category, that the queries return."""


class PromotionScorer:
    """Fills the list of items of each customer of a campaign.

    First come items that the customer bought or that the recommender proposes, by their relevance;
    then the most popular items of the campaign in the customer's category; then those of the whole
    campaign.

    Args:
        promotion_items: items of a list at most.
        popular: rows of the lookup table: campaign_id, category (None: the whole campaign), items.
    """

    version: ClassVar[str] = "1"
    uses_gpu: ClassVar[bool] = False

    def __init__(self, promotion_items: int, popular: Sequence[Mapping[str, Any]]) -> None:
        self.promotion_items = promotion_items
        self.popular_items = {
            (row["campaign_id"], row["category"]): row["items"] for row in popular
        }

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        """Reads the popular items of every campaign."""
        popular = context.lookup_table("popular").to_pylist()
        return cls(int(context.parameters["promotion_items"]), popular)

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Rows of the audience from staged pairs (see the query), or the reason for none."""
        audience: list[dict[str, Any]] = []
        for row in rows.to_pylist():
            if row["user_id"] is None:
                audience.append({"campaign_id": row["campaign_id"], EXCLUDED: NO_AUDIENCE})
                continue
            columns = {name: row[name] for name in _SCHEMA.names if name in row}
            audience.append({**columns, "item_ids": self._select_items(row)})
        return pa.RecordBatch.from_pylist(audience, schema=_SCHEMA)

    def _select_items(self, row: Mapping[str, Any]) -> list[str]:
        items = list(dict.fromkeys(row["best_item_ids"] or ()))
        for category in (row["category"], None):
            for item in self.popular_items.get((row["campaign_id"], category), ()):
                if len(items) < self.promotion_items and item not in items:
                    items.append(item)
        return items[: self.promotion_items]


_SCHEMA = result_schema(PROMOTION_AUDIENCE)


def parameters(settings: Settings) -> Mapping[str, Any]:
    """Settings that query, scorer and checks use."""
    audiences = settings.audiences
    return {
        **event_types(settings).parameters(),
        "starts_within_days": audiences.starts_within_days,
        "users_per_campaign": audiences.users_per_campaign,
        "campaigns_per_user": audiences.campaigns_per_user,
        "promotion_items": audiences.promotion_items,
        "holdout_share": audiences.holdout_share,
        "holdout_salt": audiences.holdout_salt,
        "history_days": settings.churn.history_days,
    }


promotion_audience = BatchPrediction(
    table=PROMOTION_AUDIENCE,
    key=("campaign_id", "user_id"),
    rows=f"""
        with {AFFINITY_CTES},
        -- A customer is assigned to the campaigns with their highest scores.
        assigned as (
            select *,
                {hash_fraction_sql("campaign_id", "user_id")} < $holdout_share::DOUBLE as held_out
            from affinities
            qualify row_number() over (partition by user_id order by score desc, campaign_id)
                <= $campaigns_per_user::INTEGER
        ),
        ranked as (
            select *, row_number() over by_score as rank,
                count(*) filter (not held_out) over by_score as contacted
            from assigned
            window by_score as (
                partition by campaign_id order by score desc, user_id rows unbounded preceding
            )
        ),
        audience as (
            select * from ranked
            -- The limit counts customers who are contacted, not those held out.
            where contacted <= $users_per_campaign::BIGINT - held_out::INTEGER
        ),
        -- Materialized: otherwise all items of a campaign are joined with all of its customers.
        item_relevance as materialized (
            select campaign_items.campaign_id, user_items.user_id, user_items.item_id,
                fsum(user_items.relevance) as relevance
            from (
                select user_id, item_id, ln(1 + visits) as relevance from item_visits
                union all select user_id, item_id, relevance from recommended_items
            ) as user_items
            join campaign_items on campaign_items.item_id = user_items.item_id
            group by all
        ),
        audience_items as (
            select item_relevance.* from item_relevance
            semi join audience on audience.campaign_id = item_relevance.campaign_id
                and audience.user_id = item_relevance.user_id
        ),
        best_items as (
            select campaign_id, user_id,
                max(struct_pack(relevance, item_id), {MAX_STAGED_ITEMS}) as items
            from audience_items group by campaign_id, user_id
        )
        select
            campaigns.campaign_id, audience.user_id, audience.rank, audience.score,
            audience.held_out, audience.own_items, audience.category, campaigns.kind,
            campaigns.starts_on, campaigns.ends_on,
            list_transform(best_items.items, lambda item: item.item_id)
                [:$promotion_items::INTEGER] as best_item_ids
        from ({CAMPAIGNS}) as campaigns
        left join audience on audience.campaign_id = campaigns.campaign_id
        left join best_items on best_items.campaign_id = audience.campaign_id
            and best_items.user_id = audience.user_id
    """,
    lookup_tables={
        # The most popular items of each campaign and category; null: of the whole campaign.
        "popular": f"""
            select campaign_id, category, list(item_id order by position) as items from (
                select campaign_items.campaign_id, campaign_items.category,
                    campaign_items.item_id,
                    row_number() over (
                        partition by campaign_items.campaign_id, campaign_items.category
                        order by coalesce(activity.buyers_84d, 0) desc, campaign_items.item_id
                    ) as position
                from (
                    select campaign_id, category, item_id from ({CAMPAIGN_ITEMS})
                    union all
                    select distinct campaign_id, null, item_id from ({CAMPAIGN_ITEMS})
                ) as campaign_items
                left join features.item_activity as activity
                    on activity.item_id = campaign_items.item_id and activity.date = $date
            ) where position <= {MAX_STAGED_ITEMS} group by all order by all""",
    },
    scorer=PromotionScorer,
    parameters=parameters,
    checks=(
        Check(
            "within_caps",
            "No campaign contacts more than audiences.users_per_campaign customers, and no "
            "customer is listed for more than audiences.campaigns_per_user campaigns.",
            """select coalesce(sum(excess), 0)::BIGINT from (
                select greatest(0, count(*) - $campaigns_per_user::BIGINT) as excess
                from new_rows group by user_id
                union all
                select greatest(0, count(*) filter (not held_out) - $users_per_campaign::BIGINT)
                from new_rows group by campaign_id)""",
        ),
        Check(
            "items_of_the_campaign",
            "Every item of a list belongs to its campaign.",
            """select count(*) from
                (select campaign_id, unnest(item_ids) as item_id from new_rows) as listed
                anti join raw.promotions as promotions
                on promotions.campaign_id = listed.campaign_id
                and promotions.item_id = listed.item_id""",
        ),
    ),
    plot=plot_promotion_audience,
    kinds=frozenset({"duckdb"}),
)

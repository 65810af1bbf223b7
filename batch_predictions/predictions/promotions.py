"""Whom each campaign interests, every day: customers of all live campaigns in one table.

Campaigns are rows, whatever their number. One query scores the pairs of customers and campaigns,
gives every customer to the campaigns where they are worth most, and every campaign its best; the
scorer fills the lists of items.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pyarrow as pa

from batch_predictions.inference.declaration import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext
from batch_predictions.inference.validation import Check
from batch_predictions.predictions.affinity import CAMPAIGNS, ON_OFFER, PAIRS
from batch_predictions.predictions.holdout import place_sql
from batch_predictions.reporting import legend_outside, new_axes
from batch_predictions.settings import Settings
from batch_predictions.tables import PROMOTION_AUDIENCE
from batch_predictions.warehouse import Warehouse, as_date

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOBODY = "no active customer fits its available items, or all who do are worth more elsewhere"


class PromotionScorer:
    """Log-odds to redeem from own purchases of the campaign's items, past redemptions, the
    recommender's candidates and categories. A customer's items are those bought most and
    recommended first, then what is wanted most of their category, then of the campaign."""

    version: ClassVar[str] = "1"
    uses_gpu: ClassVar[bool] = False

    def __init__(self, opening: ScorerContext) -> None:
        self.most = int(opening.parameters["promotion_items"])
        popular = opening.lookup_table("popular").to_pylist()
        self.of_category = {(each["campaign_id"], each["category"]): each for each in popular}

    @classmethod
    def open(cls, opening: ScorerContext) -> Self:
        """Reads what is wanted most of every campaign."""
        return cls(opening)

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Rows of the list from staged pairs (see the query)."""
        out = []
        for row in rows.to_pylist():
            if row["user_id"] is None:
                out.append({"campaign_id": row["campaign_id"], EXCLUDED: NOBODY})
                continue
            items = self._items(row)
            kept = {name: row[name] for name in _SCHEMA.names if name in row}
            out.append({**kept, "item_ids": items})
        return pa.RecordBatch.from_pylist(out, schema=_SCHEMA)

    def _items(self, row: Mapping[str, Any]) -> list[str]:
        items = list(dict.fromkeys(row["own"] or ()))
        for category in (row["category"], None):
            more = self.of_category.get((row["campaign_id"], category))
            for item in more["items"] if more else ():
                if len(items) < self.most and item not in items:
                    items.append(item)
        return items[: self.most]


_SCHEMA = pa.schema(
    {
        "campaign_id": pa.string(),
        "rank": pa.int64(),
        "user_id": pa.string(),
        "score": pa.float64(),
        "item_ids": pa.list_(pa.string()),
        "held_out": pa.bool_(),
        "kind": pa.string(),
        "starts_on": pa.date32(),
        "ends_on": pa.date32(),
        "own_items": pa.int64(),
        EXCLUDED: pa.string(),
    }
)


def parameters(settings: Settings) -> Mapping[str, Any]:
    """Caps, items and holdout."""
    chosen = settings.audiences
    return {
        "starts_within_days": chosen.starts_within_days,
        "users_per_campaign": chosen.users_per_campaign,
        "campaigns_per_user": chosen.campaigns_per_user,
        "promotion_items": chosen.promotion_items,
        "holdout_share": chosen.holdout_share,
        "holdout_salt": chosen.holdout_salt,
        "history_days": settings.churn.history_days,
    }


def plot(warehouse: Warehouse, day: str) -> Figure | None:
    """How many customers each campaign has, and how many of them bought its items before."""
    rows = warehouse.query(
        """select campaign_id, count(*) filter (not held_out) as contacted,
            count(*) filter (held_out) as held_out, count(*) filter (own_items > 0) as own
        from predictions.promotion_audience where date = $date group by 1
        order by count(*) desc, campaign_id limit 20""",
        {"date": as_date(day)},
    ).to_pydict()
    if not rows["campaign_id"]:
        return None
    figure, ax = new_axes(f"Promotion audiences by campaign, {day}")
    names = [str(each) for each in rows["campaign_id"]]
    ax.bar(names, rows["contacted"], color="#4c78a8", label="to contact")
    ax.bar(names, rows["held_out"], bottom=rows["contacted"], color="#bab0ac", label="held out")
    ax.plot(names, rows["own"], "o", color="#f58518", label="bought its items before")
    ax.set_xlabel("campaign", fontsize=9)
    ax.set_ylabel("customers", fontsize=9)
    legend_outside(ax)
    return figure


promotion_audience = BatchPrediction(
    table=PROMOTION_AUDIENCE,
    key=("campaign_id", "user_id"),
    rows=f"""
        with {PAIRS},
        -- A customer goes to the campaigns where they are worth most.
        wanted as (
            select *, {place_sql("campaign_id", "user_id")} < $holdout_share::DOUBLE as held_out
            from pairs
            qualify row_number() over (partition by user_id order by score desc, campaign_id)
                <= $campaigns_per_user::INTEGER
        ),
        ranked as (
            select *, row_number() over best as rank,
                count(*) filter (not held_out) over best as contacted
            from wanted
            window best as (
                partition by campaign_id order by score desc, user_id rows unbounded preceding
            )
        ),
        listed as (
            select * from ranked
            -- Those held out cost nothing: the cap counts who is contacted.
            where contacted <= $users_per_campaign::BIGINT - held_out::INTEGER
        ),
        -- Materialised: else all of a campaign's items are tried with all of its customers.
        fits as materialized (
            select on_offer.campaign_id, own.user_id, own.item_id, fsum(own.fit) as fit
            from (
                select user_id, item_id, ln(1 + visits) as fit from bought
                union all select user_id, item_id, fit from candidates_
            ) as own
            join on_offer on on_offer.item_id = own.item_id
            group by all
        ),
        liked as (
            select fits.* from fits
            semi join listed on listed.campaign_id = fits.campaign_id
                and listed.user_id = fits.user_id
        ),
        liked_most as (
            select campaign_id, user_id, max(struct_pack(fit, item_id), 20) as items
            from liked group by campaign_id, user_id
        )
        select
            campaigns.campaign_id, listed.user_id, listed.rank, listed.score, listed.held_out,
            listed.own_items, listed.category, campaigns.kind, campaigns.starts_on,
            campaigns.ends_on,
            list_transform(liked_most.items, lambda each: each.item_id)
                [:$promotion_items::INTEGER] as own
        from ({CAMPAIGNS}) as campaigns
        left join listed on listed.campaign_id = campaigns.campaign_id
        left join liked_most on liked_most.campaign_id = listed.campaign_id
            and liked_most.user_id = listed.user_id
    """,
    lookup_tables={
        # Of every campaign and its categories (null: all of it), the items wanted most.
        "popular": f"""
            select campaign_id, category, list(item_id order by place) as items from (
                select on_offer.campaign_id, on_offer.category, on_offer.item_id,
                    row_number() over (
                        partition by on_offer.campaign_id, on_offer.category
                        order by coalesce(activity.users_84d, 0) desc, on_offer.item_id
                    ) as place
                from (
                    select campaign_id, category, item_id from ({ON_OFFER})
                    union all
                    select distinct campaign_id, null, item_id from ({ON_OFFER})
                ) as on_offer
                left join features.item_activity as activity
                    on activity.item_id = on_offer.item_id and activity.date = $date
            ) where place <= 20 group by all order by all""",
    },
    scorer=PromotionScorer,
    parameters=parameters,
    checks=(
        Check(
            "within_caps",
            "No campaign contacts more than its cap, nobody is listed for too many campaigns.",
            """select coalesce(sum(too_many), 0)::BIGINT from (
                select greatest(0, count(*) - $campaigns_per_user::BIGINT) as too_many
                from new_rows group by user_id
                union all
                select greatest(0, count(*) filter (not held_out) - $users_per_campaign::BIGINT)
                from new_rows group by campaign_id)""",
        ),
        Check(
            "items_of_the_campaign",
            "Every item on a list belongs to its campaign.",
            """select count(*) from
                (select campaign_id, unnest(item_ids) as item_id from new_rows) as shown
                anti join raw.promotions as offered
                on offered.campaign_id = shown.campaign_id and offered.item_id = shown.item_id""",
        ),
    ),
    plot=plot,
    kinds=frozenset({"duckdb"}),
)

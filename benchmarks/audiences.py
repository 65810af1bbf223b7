"""Share of coupon redeemers at the top of promotion audiences, on the Complete Journey.

    python benchmarks/audiences.py [--plot gain.png] [--fit] [--home FOLDER]

Customers are ranked for every campaign that began in the last third of the year, as of the day
before it began. The benchmark computes which share of the customers who redeemed one of its coupons
afterwards is in the first 10 % and 20 %. Only targeted households can redeem, so customers are
ranked among the targeted, and among all active customers too. `--fit` prints instead the weights of
a logistic regression on the campaigns before, which are in `predictions/audience_sql.py`. There are
no recommendations on these days: their part of the score is 0.
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from common import log, machine, print_json

LAST_THIRD = dt.date(2017, 9, 1)
TOP_SHARES = (0.1, 0.2)
LOG_COLUMNS = ("own_visits", "redemptions", "visits_84d")
RANKINGS = ("audience", "most_active", "random")
INTERCEPT_SCALE = 3
"""Value of the intercepts' indicators: the larger it is, the less the penalty shrinks them."""
SEED = 7

Campaign: TypeAlias = dict[str, Any]
"""campaign_id, kind, starts, and columns of customers as arrays: user_id, own_visits,
category_share, redemptions, visits_84d, score, active, targeted, redeemed."""
_CUSTOMERS = """
    with {affinity_ctes},
    scores as (select * from affinities where campaign_id = $campaign),
    events as (
        select user_id, bool_or(event_type = 'targeted') as targeted,
            bool_or(event_type = 'redeemed') as redeemed
        from raw.campaign_events where campaign_id = $campaign group by 1
    ),
    active as (select user_id, visits_84d from features.churn_history where date = $date)
    select coalesce(active.user_id, events.user_id) as user_id,
        coalesce(scores.own_visits, 0) as own_visits,
        coalesce(scores.category_share, 0) as category_share,
        coalesce(scores.redemptions, 0) as redemptions,
        coalesce(active.visits_84d, 0) as visits_84d,
        coalesce(scores.score, -1) as score,
        active.user_id is not null as active,
        coalesce(events.targeted, false) as targeted,
        coalesce(events.redeemed, false) as redeemed
    from active full join events on events.user_id = active.user_id
    left join scores on scores.user_id = coalesce(active.user_id, events.user_id)
    order by 1
"""
"""Active customers, and customers with events of a campaign, with their scores."""


def main() -> None:
    """Reads the year, ranks customers for every campaign and prints one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plot", type=Path, help="write the gain curve as PNG")
    parser.add_argument("--fit", action="store_true", help="print the weights instead")
    parser.add_argument("--home", type=Path, help="a home to keep; default: a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        campaigns = read_campaigns(args.home or Path(folder))
        print_json(fit_weights(campaigns) if args.fit else measure(campaigns, args.plot))


def read_campaigns(home: Path) -> list[Campaign]:
    """Every campaign with its customers as of the day before it began."""
    from complete_journey_home import open_home

    settings, warehouse = open_home(home)

    from batch_predictions.features.sql.queries import parameters, sql
    from batch_predictions.predictions.audience_sql import AFFINITY_CTES
    from batch_predictions.tables import CHURN_HISTORY, ITEM_STATE

    campaigns: list[Campaign] = warehouse.query(
        """select campaign_id, any_value(kind) as kind, min(starts_on) as starts from raw.promotions
        group by 1 having starts >= DATE '2017-02-01' order by starts, campaign_id"""
    ).to_pylist()
    for campaign in campaigns:
        day = campaign["starts"] - dt.timedelta(days=1)
        sql_parameters = {
            **parameters(settings),
            "date": day,
            "starts_within_days": 1,
            "history_days": settings.churn.history_days,
            "campaign": campaign["campaign_id"],
        }
        for table in (CHURN_HISTORY, ITEM_STATE):
            if not warehouse.path(table, str(day)).exists():
                warehouse.replace_partition(table, str(day), sql(table.name), sql_parameters)
        rows = warehouse.query(_CUSTOMERS.format(affinity_ctes=AFFINITY_CTES), sql_parameters)
        for name in rows.column_names:
            campaign[name] = rows[name].to_numpy(zero_copy_only=False)
        log(campaign["campaign_id"], day, int(campaign["redeemed"].sum()), "redeemers")
    return campaigns


def fit_weights(campaigns: Sequence[Campaign]) -> dict[str, Any]:
    """Weights over targeted customers of the campaigns before the last third of the year.

    Each campaign has its own intercept.
    """
    from sklearn.linear_model import LogisticRegression

    names = (*LOG_COLUMNS, "category_share")
    earlier = [campaign for campaign in campaigns if campaign["starts"] < LAST_THIRD]
    features, outcomes = [], []
    for number, campaign in enumerate(earlier):
        targeted = campaign["targeted"]
        columns = [np.log1p(campaign[name][targeted].astype(float)) for name in LOG_COLUMNS]
        columns.append(campaign["category_share"][targeted].astype(float))
        intercepts = np.zeros((int(targeted.sum()), len(earlier)))
        intercepts[:, number] = INTERCEPT_SCALE
        features.append(np.column_stack([*columns, intercepts]))
        outcomes.append(campaign["redeemed"][targeted])
    model = LogisticRegression(max_iter=5000).fit(np.vstack(features), np.concatenate(outcomes))
    weights = {name: round(float(w), 3) for name, w in zip(names, model.coef_[0], strict=False)}
    return {"campaigns": len(earlier), "redeemers": int(sum(map(np.sum, outcomes))), **weights}


def measure(campaigns: Sequence[Campaign], plot: Path | None) -> dict[str, Any]:
    """Shares of redeemers in the first 10 % and 20 %, over all campaigns of the last third."""
    last_campaigns = [campaign for campaign in campaigns if campaign["starts"] >= LAST_THIRD]
    result: dict[str, Any] = {"campaigns": len(last_campaigns), "machine": machine()}
    for group in ("targeted", "active"):
        depths = {ranking: rank_depths(last_campaigns, group, ranking) for ranking in RANKINGS}
        users = np.concatenate(
            [campaign["user_id"][_redeemers(campaign, group)] for campaign in last_campaigns]
        )
        _, codes = np.unique(users.astype(str), return_inverse=True)
        difference = {
            _top(share): _mean_with_interval(
                _is_in_top(depths["audience"], share) - _is_in_top(depths["most_active"], share),
                codes,
            )
            for share in TOP_SHARES
        }
        result[group] = {
            "redeemers": len(users),
            **{
                ranking: {
                    _top(share): _mean_with_interval(_is_in_top(depths[ranking], share), codes)
                    for share in TOP_SHARES
                }
                for ranking in RANKINGS
            },
            "audience - most_active": difference,
        }
        if plot and group == "targeted":
            draw_gain_curves(plot, depths)
    result["by_campaign"] = [_campaign_result(campaign) for campaign in last_campaigns]
    return result


def _campaign_result(campaign: Campaign) -> dict[str, Any]:
    depths = rank_depths([campaign], "targeted", "audience")
    return {
        "campaign": campaign["campaign_id"],
        "kind": campaign["kind"],
        "targeted": int(campaign["targeted"].sum()),
        "redeemers": int(_redeemers(campaign, "targeted").sum()),
        **{_top(share): round(float((depths <= share).mean()), 3) for share in TOP_SHARES},
    }


def _top(share: float) -> str:
    return f"top_{share:.0%}"


def _redeemers(campaign: Campaign, group: str) -> np.ndarray:
    """Which customers are redeemers of the group (targeted or active)."""
    return campaign["redeemed"] & campaign[group]


def rank_depths(campaigns: Sequence[Campaign], group: str, ranking: str) -> np.ndarray:
    """Rank of every redeemer divided by the size of the group, in (0, 1].

    Args:
        campaigns: campaigns, one after the other.
        group: column of the customers to rank: targeted or active.
        ranking: one of RANKINGS.
    """
    depths = []
    random = np.random.default_rng(SEED)
    for campaign in campaigns:
        in_group = campaign[group]
        scores = {
            "audience": campaign["score"],
            "most_active": campaign["visits_84d"],
            "random": random.random(len(in_group)),
        }[ranking][in_group].astype(float)
        # Ties are in random order, the same for all rankings.
        tie_order = np.random.default_rng(1).random(len(scores))
        ranks = np.empty(len(scores))
        ranks[np.lexsort((tie_order, -scores))] = np.arange(1, len(scores) + 1)
        depths.append(ranks[campaign["redeemed"][in_group]] / len(scores))
    return np.concatenate(depths)


def _is_in_top(depths: np.ndarray, share: float) -> np.ndarray:
    return (depths <= share).astype(float)


def _mean_with_interval(values: np.ndarray, codes: np.ndarray) -> dict[str, float]:
    """Mean of one value per redemption, with a bootstrap interval over customers.

    Args:
        values: (redemptions,).
        codes: number of each redemption's customer, 0 to customers - 1, (redemptions,).
    """
    from batch_predictions.models.common.intervals import percentile_interval, resample_counts

    weights = (counts[:, codes] for counts in resample_counts(int(codes.max()) + 1, SEED))
    samples = [(w * values).sum(axis=1) / w.sum(axis=1) for w in weights]
    interval = percentile_interval(
        float(values.sum() / len(values)), np.concatenate(samples), len(values)
    )
    return {
        "value": round(interval.mean, 4),
        "lower": round(interval.lower, 4),
        "upper": round(interval.upper, 4),
    }


def draw_gain_curves(path: Path, depths: Mapping[str, np.ndarray]) -> None:
    """Draws the share of redeemers among the first customers of each ranking."""
    from batch_predictions.warehouse.plot_style import BASELINE, SERIES, legend_outside, new_axes

    figure, ax = new_axes(
        "Redeemers among the first customers, campaigns of the last third",
        "share of the targeted, best first",
        "share of redeemers",
    )
    colours = {"audience": SERIES[0], "most_active": SERIES[1], "random": BASELINE}
    shares = np.linspace(0, 1, 101)
    for ranking, ranking_depths in depths.items():
        gains = [(ranking_depths <= share).mean() for share in shares]
        ax.plot(shares, gains, color=colours[ranking], label=ranking.replace("_", " "))
    legend_outside(ax)
    figure.savefig(path, dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    main()

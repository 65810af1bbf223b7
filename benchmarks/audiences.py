"""Do promotion audiences find those who redeem? Real coupons of the Complete Journey.

    python benchmarks/audiences.py [--plot gain.png] [--fit] [--home FOLDER]

For every campaign that began in the last third of the year, customers are ranked as of the day
before it began, by what was known then; those who redeemed one of its coupons afterwards are looked
for in the first 10 % and 20 %. Only households that were sent the coupons can redeem them, so they
are ranked among the targeted, and among all active customers too. `--fit` prints instead the
weights of a logistic regression on the campaigns before, which `predictions/affinity.py` holds.
The recommender's candidates are not there on these days: their part of the score is 0.
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, say, show

LAST_THIRD = dt.date(2017, 9, 1)
TOPS = (0.1, 0.2)
LOGGED = ("own_visits", "redemptions", "visits_84d")


def main() -> None:
    """Reads the year, ranks for every campaign, counts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plot", type=Path, help="write the gain curve as PNG")
    parser.add_argument("--fit", action="store_true", help="weights from the campaigns before")
    parser.add_argument("--home", type=Path, help="a home to keep; default: a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pairs = ranked_pairs(args.home or Path(folder))
        show(fitted(pairs) if args.fit else measure(pairs, args.plot))


def ranked_pairs(home: Path) -> list[dict[str, Any]]:
    """Of every campaign, columns of its customers: facts, score, targeted, redeemed."""
    from complete_journey_home import open_home

    settings, warehouse = open_home(home)

    from batch_predictions.features.queries import parameters, sql
    from batch_predictions.predictions.affinity import PAIRS
    from batch_predictions.tables import CHURN_FEATURES, ITEM_STATE

    campaigns = warehouse.query(
        """select campaign_id, any_value(kind) as kind, min(starts_on) as starts from raw.promotions
        group by 1 having starts >= DATE '2017-02-01' order by starts, campaign_id"""
    ).to_pylist()
    found = []
    for campaign in campaigns:
        day = campaign["starts"] - dt.timedelta(days=1)
        bound = {
            **parameters(settings),
            "date": day,
            "starts_within_days": 1,
            "history_days": settings.churn.history_days,
            "campaign": campaign["campaign_id"],
        }
        for table in (CHURN_FEATURES, ITEM_STATE):
            if not warehouse.path(table, str(day)).exists():
                warehouse.replace_partition(table, str(day), sql(table.name), bound)
        rows = warehouse.query(
            f"""with {PAIRS}, own_pairs as (select * from pairs where campaign_id = $campaign),
            told as (
                select user_id, bool_or(event_type = 'targeted') as targeted,
                    bool_or(event_type = 'redeemed') as redeemed
                from raw.campaign_events where campaign_id = $campaign group by 1
            ),
            active as (select user_id, visits_84d from features.churn_features where date = $date)
            select coalesce(active.user_id, told.user_id) as user_id,
                coalesce(own_pairs.own_visits, 0) as own_visits,
                coalesce(own_pairs.category_share, 0) as category_share,
                coalesce(own_pairs.redemptions, 0) as redemptions,
                coalesce(active.visits_84d, 0) as visits_84d,
                coalesce(own_pairs.score, -1) as score,
                active.user_id is not null as active,
                coalesce(told.targeted, false) as targeted,
                coalesce(told.redeemed, false) as redeemed
            from active full join told on told.user_id = active.user_id
            left join own_pairs on own_pairs.user_id = coalesce(active.user_id, told.user_id)
            order by 1""",
            bound,
        )
        columns = {name: rows[name].to_numpy(zero_copy_only=False) for name in rows.column_names}
        found.append({**campaign, **columns})
        say(campaign["campaign_id"], day, int(columns["redeemed"].sum()), "redeemers")
    return found


def fitted(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """Weights over the targeted of the campaigns before the last third, an intercept for each."""
    from sklearn.linear_model import LogisticRegression

    names = (*LOGGED, "category_share")
    before = [each for each in pairs if each["starts"] < LAST_THIRD]
    facts, outcomes = [], []
    for n, each in enumerate(before):
        there = each["targeted"]
        columns = [np.log1p(each[name][there].astype(float)) for name in LOGGED]
        columns.append(each["category_share"][there].astype(float))
        own = np.zeros((int(there.sum()), len(before)))
        # Three times as large: the penalty hardly holds the intercepts.
        own[:, n] = 3
        facts.append(np.column_stack([*columns, own]))
        outcomes.append(each["redeemed"][there])
    model = LogisticRegression(max_iter=5000).fit(np.vstack(facts), np.concatenate(outcomes))
    weights = {name: round(float(w), 3) for name, w in zip(names, model.coef_[0], strict=False)}
    return {"campaigns": len(before), "redeemers": int(sum(map(np.sum, outcomes))), **weights}


def measure(pairs: list[dict[str, Any]], plot: Path | None) -> dict[str, Any]:
    """Shares of redeemers in the first 10 % and 20 %, over all campaigns of the last third."""
    late = [each for each in pairs if each["starts"] >= LAST_THIRD]
    answer: dict[str, Any] = {"campaigns": len(late), "machine": machine()}
    for crowd in ("targeted", "active"):
        depths = {way: _depths(late, crowd, way) for way in ("audience", "most_active", "random")}
        users = np.concatenate([each["user_id"][_redeemers(each, crowd)] for each in late])
        _, codes = np.unique(users.astype(str), return_inverse=True)
        answer[crowd] = {
            "redeemers": len(users),
            **{
                way: {f"top_{top:.0%}": _share(d, top, codes) for top in TOPS}
                for way, d in depths.items()
            },
            "audience - most_active": {
                f"top_{top:.0%}": _share_gap(depths["audience"], depths["most_active"], top, codes)
                for top in TOPS
            },
        }
        if plot and crowd == "targeted":
            _draw(plot, depths)
    answer["by_campaign"] = [
        {
            "campaign": each["campaign_id"],
            "kind": each["kind"],
            "targeted": int(each["targeted"].sum()),
            "redeemers": int(_redeemers(each, "targeted").sum()),
            **{
                f"top_{top:.0%}": round(
                    float((_depths([each], "targeted", "audience") <= top).mean()), 3
                )
                for top in TOPS
            },
        }
        for each in late
    ]
    return answer


def _redeemers(each: dict[str, Any], crowd: str) -> np.ndarray:
    """Redeemers within the crowd: those who could not be ranked are counted among `targeted`."""
    return each["redeemed"] & each[crowd]


def _depths(campaigns: list[dict[str, Any]], crowd: str, way: str) -> np.ndarray:
    """How deep in the ranking, as a share of the crowd, every redeemer stands."""
    depths = []
    random = np.random.default_rng(7)
    for each in campaigns:
        there = each[crowd]
        score = {
            "audience": each["score"],
            "most_active": each["visits_84d"],
            "random": random.random(len(there)),
        }[way][there].astype(float)
        # Ties in a random order, the same for all ways of ranking.
        lots = np.random.default_rng(1).random(len(score))
        place = np.empty(len(score))
        place[np.lexsort((lots, -score))] = np.arange(1, len(score) + 1)
        depths.append(place[each["redeemed"][there]] / len(score))
    return np.concatenate(depths)


def _share(depths: np.ndarray, top: float, codes: np.ndarray) -> dict[str, float]:
    from batch_predictions.models.churn.metrics import measured

    hits = (depths <= top).astype(float)
    found = measured(lambda w: (w * hits).sum(axis=1) / w.sum(axis=1), len(hits), codes, 7)
    return {n: round(v, 4) for n, v in zip(("value", "lower", "upper"), found[:3], strict=True)}


def _share_gap(a: np.ndarray, b: np.ndarray, top: float, codes: np.ndarray) -> dict[str, float]:
    from batch_predictions.models.churn.metrics import measured

    gap = (a <= top).astype(float) - (b <= top)
    found = measured(lambda w: (w * gap).sum(axis=1) / w.sum(axis=1), len(gap), codes, 7)
    return {n: round(v, 4) for n, v in zip(("value", "lower", "upper"), found[:3], strict=True)}


def _draw(path: Path, depths: dict[str, np.ndarray]) -> None:
    from batch_predictions.reporting import new_axes

    figure, ax = new_axes("Redeemers caught by the first customers, campaigns of the last third")
    colours = {"audience": "#4c78a8", "most_active": "#f58518", "random": "#bab0ac"}
    grid = np.linspace(0, 1, 101)
    for way, each in depths.items():
        caught = [(each <= share).mean() for share in grid]
        ax.plot(grid, caught, color=colours[way], label=way.replace("_", " "))
    ax.set_xlabel("share of the targeted, best first", fontsize=9)
    ax.set_ylabel("share of redeemers", fontsize=9)
    ax.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    main()

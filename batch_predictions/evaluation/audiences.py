"""What came of the audiences: who went, who came back, who redeemed, against the holdout."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np

from batch_predictions.evaluation.realized_metric import RealizedMetric
from batch_predictions.features.queries import parameters as feature_parameters
from batch_predictions.models.common.bootstrap import Interval, Row, metric_row
from batch_predictions.models.common.proportions import proportion, proportion_difference
from batch_predictions.settings import Settings
from batch_predictions.tables import (
    CAMPAIGN_EVENTS,
    CHURN_SCORES,
    INTERACTIONS,
    PROMOTION_AUDIENCE,
    RETENTION_AUDIENCE,
)
from batch_predictions.warehouse import Warehouse

_BOUGHT = """select distinct user_id, date from raw.interactions
    where date > $from::DATE and date <= $date::DATE and (len($churn_event_types::VARCHAR[]) = 0
        or list_contains($churn_event_types::VARCHAR[], event_type))"""
TOPS = (0.1, 0.2)
"""Shares of an audience, best first, that redeemers are looked for in."""


def churn(warehouse: Warehouse, settings: Settings, day: dt.date) -> list[Row]:
    """The scores of one horizon ago against who bought since."""
    from batch_predictions.models.churn.metrics import PairedComparison

    scored = day - dt.timedelta(days=settings.churn.horizon_days)
    rows = warehouse.query(
        f"""select scores.churn_probability, (later.user_id is null)::DOUBLE as churned
        from predictions.churn_scores as scores
        left join (select distinct user_id from ({_BOUGHT})) as later
        on later.user_id = scores.user_id
        where scores.date = $from order by scores.user_id""",
        _bound(settings, day, scored),
    )
    churned = rows["churned"].to_numpy()
    if not len(churned) or churned.min() == churned.max():
        return []
    contest = PairedComparison(churned, np.arange(len(churned)), settings.churn.seed)
    found = contest.evaluate("served", rows["churn_probability"].to_numpy())
    measured = [_row("churn", name, each) for name, each in found.items()]
    gone = proportion(int(churned.sum()), len(churned))
    return [*measured, _row("churn", "churned", gone)]


def retention(warehouse: Warehouse, settings: Settings, day: dt.date) -> list[Row]:
    """Who came back within the horizon, of the lists of `measured_days`, each customer once.

    Without an export nobody was contacted: the difference is then named `placebo`, and shows how
    far chance alone moves it.
    """
    horizon, days = settings.churn.horizon_days, settings.audiences.measured_days
    last = day - dt.timedelta(days=horizon)
    rows = warehouse.query(
        f"""with listed as (
            select user_id, min(date) as date, bool_or(held_out) as held_out
            from predictions.retention_audience
            where date <= $last and date > $last - $days::INTEGER
            group by user_id
        ),
        told as (
            select distinct user_id, date from raw.campaign_events
            where event_type = 'listed' and campaign_id = 'retention' and date <= $last
                and date > $last - $days::INTEGER
        )
        select listed.held_out, count(distinct listed.user_id) as n,
            count(distinct bought.user_id) as back, count(distinct told.user_id) as told
        from listed
        left join ({_BOUGHT}) as bought on bought.user_id = listed.user_id
            and bought.date > listed.date and bought.date <= listed.date + $horizon::INTEGER
        left join told on told.user_id = listed.user_id
        group by 1""",
        {
            **_bound(settings, day, last - dt.timedelta(days=days)),
            "last": last,
            "days": days,
            "horizon": horizon,
        },
    ).to_pylist()
    return _compared("retention", "returned", "", rows)


def promotions(warehouse: Warehouse, settings: Settings, day: dt.date) -> list[Row]:
    """Who redeemed, of every campaign with an audience: by rank, and against the holdout.

    The audience is the first that was made of a campaign; it is measured until the campaign ends.
    """
    rows = warehouse.query(
        """with first as (
            select campaign_id, min(date) as date from predictions.promotion_audience
            where date < $date and ends_on >= $date::DATE - 7 group by campaign_id
        ),
        audience as (
            select audience.*, count(*) over (partition by audience.campaign_id) as size
            from predictions.promotion_audience as audience join first
            on first.campaign_id = audience.campaign_id and first.date = audience.date
        ),
        redeemed as (
            select distinct events.campaign_id, events.user_id
            from raw.campaign_events as events join first
            on first.campaign_id = events.campaign_id and events.date > first.date
            where events.event_type = 'redeemed' and events.date <= $date
        ),
        told as (
            select distinct campaign_id, user_id from raw.campaign_events
            where event_type = 'listed' and date <= $date
        )
        select coalesce(audience.campaign_id, redeemed.campaign_id) as campaign_id,
            audience.rank, audience.size, audience.held_out,
            redeemed.user_id is not null as redeemed, told.user_id is not null as told
        from audience full join redeemed on redeemed.campaign_id = audience.campaign_id
            and redeemed.user_id = audience.user_id
        left join told on told.campaign_id = audience.campaign_id
            and told.user_id = audience.user_id
        order by 1, 2""",
        {"date": day},
    ).to_pylist()
    measured: list[Row] = []
    for campaign in dict.fromkeys(row["campaign_id"] for row in rows):
        mine = [row for row in rows if row["campaign_id"] == campaign]
        redeemers = [row for row in mine if row["redeemed"]]
        if not redeemers:
            continue
        known = [row for row in redeemers if row["rank"] is not None]
        tag = f":{campaign}"
        caught = proportion(len(known), len(redeemers))
        measured.append(_row("promotion", f"redeemers_in_audience{tag}", caught))
        for top in TOPS:
            first = sum(row["rank"] <= max(1, round(top * row["size"])) for row in known)
            name = f"redeemers_in_top_{top:.0%}{tag}"
            measured.append(_row("promotion", name, proportion(first, len(redeemers))))
        groups = []
        for held_out in (False, True):
            group = [row for row in mine if row["held_out"] is held_out]
            groups.append(
                {
                    "held_out": held_out,
                    "n": len(group),
                    "back": sum(row["redeemed"] for row in group),
                    "told": sum(row["told"] for row in group),
                }
            )
        measured += _compared("promotion", "redeemed", tag, groups)
    return measured


def _compared(model: str, verb: str, tag: str, groups: list[dict[str, Any]]) -> list[Row]:
    """Shares of those contacted and held out, and the uplift where a list was exported."""
    sides = {bool(each["held_out"]): each for each in groups}
    listed, held = sides.get(False), sides.get(True)
    found: list[Row] = []
    for name, side in (("contacted", listed), ("held_out", held)):
        if side and side["n"]:
            what = name if name == "held_out" or side["told"] else "listed"
            reached = proportion(side["back"], side["n"])
            found.append(_row(model, f"{verb}_{what}{tag}", reached))
    if listed and held and listed["n"] and held["n"]:
        gap = proportion_difference(listed["back"], listed["n"], held["back"], held["n"])
        name = "uplift" if listed["told"] else "placebo"
        found.append(_row(model, f"{name}{tag}", gap))
    return found


def _bound(settings: Settings, day: dt.date, since: dt.date) -> dict[str, Any]:
    return {**feature_parameters(settings), "date": day, "from": since}


def _row(model: str, metric: str, interval: Interval) -> Row:
    row = metric_row(model, metric, interval)
    row["model"] = row.pop("candidate")
    return row


churn_metrics = RealizedMetric(churn, (INTERACTIONS, CHURN_SCORES))
retention_metrics = RealizedMetric(retention, (INTERACTIONS, RETENTION_AUDIENCE))
promotion_metrics = RealizedMetric(promotions, (CAMPAIGN_EVENTS, PROMOTION_AUDIENCE))

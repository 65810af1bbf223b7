"""Tables of a report about one prediction: lists and baskets, forecasts, audiences, sentiment."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable

from batch_predictions.evaluation.outcomes import sold_units
from batch_predictions.features.sql.queries import is_purchase, parameters
from batch_predictions.models.demand.demand_selection import BASELINES
from batch_predictions.models.model_store import ModelStore
from batch_predictions.operations.report.blocks import TableBlock
from batch_predictions.operations.report.report_home import ReportHome
from batch_predictions.tables import DEMAND_FORECASTS, RECOMMENDATIONS
from batch_predictions.warehouse import as_date

N_LISTS, LIST_LENGTH = 5, 10
"""Best and worst lists that are shown, and items of each."""
HIT_RATE_DAYS = 28
"""Days up to the report's over which hit rates are averaged."""
MIN_REVIEWS = 3
"""Reviews in the week, and before it, of items that are listed as changed."""
QUOTE_CHARACTERS = 140
"""Characters of a review that are quoted."""
MAX_BASKET_ITEMS = 12
"""Items of a basket that are shown."""


def _lists_and_baskets(home: ReportHome) -> list[TableBlock]:
    """Lists of the day before beside what was bought on the day, the best and the worst."""
    lists = home.rows(
        f"""with bought as (
            select user_id, list(distinct item_id order by item_id) as items
            from raw.interactions where date = $day::DATE and {is_purchase("target_types")}
            group by user_id
        ),
        listed as (
            select user_id, list(item_id order by rank) as items
            from predictions.recommendations
            where date = $day::DATE - 1 and rank <= $list group by user_id
        )
        select user_id, listed.items as listed, bought.items as bought,
            len(list_intersect(listed.items, bought.items)) as hits
        from listed join bought using (user_id) order by hits desc, md5(user_id)""",
        **parameters(home.settings),
        list=LIST_LENGTH,
    )
    shown = lists if len(lists) <= 2 * N_LISTS else [*lists[:N_LISTS], *lists[-N_LISTS:]]
    for row in shown:
        row["bought"].sort(key=lambda item, listed=row["listed"]: item not in listed)
    titles = _titles(home, {item for row in shown for item in (*row["listed"], *row["bought"])})
    rows = [
        {
            "customer": row["user_id"] if home.with_ids else f"customer {number}",
            "hits": row["hits"],
            "list": [
                f"{titles[item]} ✓" if item in row["bought"] else titles[item]
                for item in row["listed"]
            ],
            "bought": _first([titles[item] for item in row["bought"]]),
        }
        for number, row in enumerate(shown, 1)
    ]
    caption = f"Lists of the day before beside the baskets of {home.day}: best and worst."
    before = str(home.day - dt.timedelta(days=1))
    missing = f"There is no list of {before}."
    if before in home.partitions(RECOMMENDATIONS):
        missing = f"Nobody with a list of {before} bought something on {home.day}."
    source = "predictions.recommendations, raw.interactions"
    return [_hit_rates(home), TableBlock(caption, rows, source, missing)]


def _hit_rates(home: ReportHome) -> TableBlock:
    """The share of buyers who bought something of their list, by groups of them."""
    rows = home.rows(
        """with rates as (
            select date, split_part(metric, ':', 2) as part, value, lower, upper, n
            from evaluation.realized_metrics
            where model = 'recommender' and split_part(metric, ':', 1) = 'next_day_hit_rate@10'
                and date <= $day::DATE and date > $day::DATE - $days::INTEGER
        )
        select case when part = '' then 'all'
                when starts_with(part, 'known=') then 'first seen ' || part[7:] || ' ago'
                when starts_with(part, 'age=') then 'age ' || part[5:]
                when part = 'personal' then 'with a list of their own'
                else 'with the list of their segment' end as customers,
            fsum(value * n) / sum(n) as "hit rate of ten", sum(n)::BIGINT as "customers and days",
            max_by(value, date) as "of the newest day", max_by(lower, date) as lower,
            max_by(upper, date) as upper, max_by(n, date) as n
        from rates group by part order by part""",
        days=HIT_RATE_DAYS,
    )
    caption = (
        "Buyers of a day who bought one of the ten items that were listed for them the day before, "
        f"over {HIT_RATE_DAYS} days."
    )
    missing = "No day after a list has been ingested yet."
    return TableBlock(caption, rows, "evaluation.realized_metrics", missing)


def _first(texts: list[str]) -> list[str]:
    """The first texts, and how many more there are."""
    more = len(texts) - MAX_BASKET_ITEMS
    return [*texts[:MAX_BASKET_ITEMS], f"and {more} more"] if more > 1 else texts


def _forecasts(home: ReportHome) -> list[TableBlock]:
    """Items with the largest forecast of units, beside what was sold in as many days before."""
    made = as_date(home.partitions(DEMAND_FORECASTS)[-1])
    before = made - dt.timedelta(days=home.settings.demand.horizon)
    sold = sold_units(home.warehouse, home.settings, before, made)
    no_units = "select null::VARCHAR as item_id, null::VARCHAR as location, null::DOUBLE as units"
    rows = home.rows(
        f"""with forecast as (
            select item_id, fsum(mean) as units, count(*) as days
            from predictions.demand_forecasts
            where date = $made::DATE and location = 'all' and not starts_with(item_id, 'category:')
            group by item_id order by units desc, item_id limit 10
        ),
        sold as (
            select item_id, fsum(units) as units from ({sold.sql if sold else no_units})
            where location = 'all' group by item_id
        )
        select coalesce(nullif(items.title, ''), forecast.item_id) as item,
            forecast.days as "days ahead", forecast.units as "units expected",
            sold.units as "units in as many days before",
            forecast.units * state.price as "value at the day's price"
        from forecast
        left join raw.items as items on items.item_id = forecast.item_id
        left join features.item_state as state
            on state.item_id = forecast.item_id and state.date = $made::DATE
        left join sold on sold.item_id = forecast.item_id
        order by forecast.units desc, forecast.item_id""",
        **(sold.parameters if sold else {}),
        made=made,
    )
    source = "predictions.demand_forecasts, raw.interactions, features.item_state"
    caption = "The ten items of which most units are expected."
    missing = "No item has a forecast: see who is left out, and why."
    return [TableBlock(caption, rows, source, missing), _stock(home, made)]


def _stock(home: ReportHome, made: dt.date) -> TableBlock:
    """Stock that each method needs for the same fill rate, on the hold-out and for the next cycle.

    Args:
        home: with the newest training's metrics and the day's forecasts.
        made: day of the forecasts.
    """
    settings, models = home.settings, ModelStore.of(home.settings)
    version = models.version_of("demand", home.day)
    serving = models.manifest("demand", version).candidate if version else None
    cost_share = 1 - settings.audiences.margin
    rows = home.rows(
        """with cycle as (
            select fsum(demand.mean) as units, fsum(demand.mean * state.price) as price,
                count(*) as items, count(state.price) as priced
            from predictions.lead_time_demand as demand
            left join features.item_state as state using (date, item_id)
            where date = $made::DATE and location = 'all'
                and not starts_with(item_id, 'category:') and days = $days
        )
        select candidate as method, value as "stock per unit sold", lower, upper,
            cycle.items as items, value * cycle.units as "units in stock",
            cycle.priced as "items with a price",
            value * cycle.price * $cost_share as "their cost",
            value * cycle.price * $cost_share * $stock_cost as "cost of holding them a year"
        from evaluation.model_metrics, cycle
        where model = 'demand' and metric = 'stock' and trained_through = (
                select max(trained_through) from evaluation.model_metrics
                where model = 'demand' and trained_through <= $day::DATE)
            and (candidate = $serving or list_contains($baselines::VARCHAR[], candidate))
        order by "stock per unit sold" """,
        made=made,
        days=settings.demand.lead_time_days + settings.demand.review_days,
        cost_share=cost_share,
        stock_cost=settings.report.stock_cost,
        serving=serving,
        baselines=list(BASELINES),
    )
    for row in rows:
        row["method"] = f"{row['method']} (serves)" if row["method"] == serving else row["method"]
    caption = (
        f"Stock that covers {settings.demand.service_level:.0%} of all units for "
        f"{settings.demand.lead_time_days + settings.demand.review_days} days, in proportion to "
        "the forecasts of each method at past origins; and for the coming days, of items with "
        "these terms of orders. Items without a price cost nothing here. Assumed: goods "
        f"cost {cost_share:.0%} of their price (audiences.margin), stock "
        f"{settings.report.stock_cost:.0%} of its cost a year (report.stock_cost)."
    )
    source = "evaluation.model_metrics, predictions.lead_time_demand, features.item_state"
    return TableBlock(caption, rows, source, "No training has compared forecasts of items yet.")


def _audience(home: ReportHome) -> list[TableBlock]:
    rows = home.rows(
        """select case when held_out then 'held out' else 'to contact' end as list,
            count(*) as customers, avg(churn_probability) as "mean churn probability",
            fsum(margin_at_risk) as "margin at risk", fsum(expected_value) as "expected value"
        from predictions.retention_audience where date = (
            select max(date) from predictions.retention_audience where date <= $day::DATE)
        group by held_out order by held_out"""
    )
    uplift = home.rows(
        """select metric, value, lower, upper, n from evaluation.realized_metrics
        where model in ('retention', 'promotion') and contains(metric, 'uplift')
            and date <= $day::DATE
        qualify row_number() over (partition by model, metric order by date desc) = 1
        order by metric"""
    )
    return [
        TableBlock(
            "Customers on the list; a margin of "
            f"{home.settings.audiences.margin:.0%} of the spend is assumed (audiences.margin).",
            rows,
            "predictions.retention_audience",
            "Nobody is on it: predictions.exclusions has the reasons.",
        ),
        TableBlock(
            "What contacting brought, against those who were held out.",
            uplift,
            "evaluation.realized_metrics",
            "No list was made long enough ago.",
        ),
    ]


def _sentiment_changes(home: ReportHome) -> list[TableBlock]:
    rows = home.rows(
        """with newest as (
            select * from predictions.item_sentiments where week = (
                select max(week) from predictions.item_sentiments where week <= $day::DATE)
        ),
        terms as (
            select item_id, list(term order by z desc, term)[:5] as terms
            from predictions.aspects where week = (select max(week) from newest) group by item_id
        )
        select coalesce(nullif(items.title, ''), newest.item_id) as item, newest.reviews,
            net_sentiment as "net sentiment", change, change_p as p, terms,
            left(quoted.text, $quote) || if(length(quoted.text) > $quote, '…', '') as "a review"
        from newest left join raw.items as items on items.item_id = newest.item_id
        left join terms on terms.item_id = newest.item_id
        left join raw.reviews as quoted on quoted.review_id = example_review_ids[
                case when change < 0 then 1 else len(example_review_ids) end]
            and quoted.date between newest.week and newest.week + 6
        where change is not null and least(newest.reviews, newest.reviews_before) >= $reviews
        order by changed desc, abs(change) desc, newest.item_id limit 10""",
        reviews=MIN_REVIEWS,
        quote=QUOTE_CHARACTERS,
    )
    caption = (
        f"The ten items whose reviews changed most, of those with {MIN_REVIEWS} reviews in the "
        "week and before. p is corrected for the number of items; from .05 on, chance explains it."
    )
    source = "predictions.item_sentiments, predictions.aspects, raw.reviews"
    return [TableBlock(caption, rows, source)]


def _titles(home: ReportHome, items: set[str]) -> dict[str, str]:
    """Titles by item; those that several items have are numbered."""
    known = home.rows(
        "select item_id, title from raw.items where list_contains($items::VARCHAR[], item_id)",
        items=sorted(items),
    )
    titles = {row["item_id"]: row["title"] or row["item_id"] for row in known}
    counts = Counter(titles.values())
    seen: Counter[str] = Counter()
    labels = {}
    for item in sorted(items):
        title = titles.get(item, item)
        seen[title] += 1
        labels[item] = f"{title} ({seen[title]})" if counts[title] > 1 else title
    return labels


DETAILS: dict[str, Callable[[ReportHome], list[TableBlock]]] = {
    "recommendations": _lists_and_baskets,
    "demand_forecasts": _forecasts,
    "retention_audience": _audience,
    "item_sentiments": _sentiment_changes,
}
"""By the name of the table of predictions."""

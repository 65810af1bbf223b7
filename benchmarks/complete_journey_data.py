"""Daily units of the Complete Journey's best sellers, as a panel; read from the package's files."""

from __future__ import annotations

import datetime as dt
import importlib.util
from pathlib import Path

import duckdb
import numpy as np

from batch_predictions.models.demand.calendar import flags, us_holidays
from batch_predictions.models.demand.panel import Panel
from batch_predictions.sources.adapters.complete_journey import PACKAGE, CompleteJourneySource
from batch_predictions.sources.adapters.complete_journey_year import FIRST_DAY, FIRST_WEEK, LAST_DAY
from batch_predictions.sources.base import quote_literal

CAP = 24
"""Units of one line that count: what is beyond is a wholesale purchase or a slip."""


def panel(top: int, ranked_until: dt.date, by: str = "product") -> Panel:
    """The `top` products, or categories, by units up to a day, from 1 January to 31 December.

    Promotions are shares of the shops, weighted by what they sold up to that day.
    """
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None and spec.submodule_search_locations is not None
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    excluded = CompleteJourneySource.exclude_items
    names = {
        key: ", ".join(map(quote_literal, excluded[key])) for key in ("category", "subcategory")
    }
    key = "product_id" if by == "product" else "product_category"
    db = duckdb.connect()
    db.execute("set TimeZone = 'UTC'")
    db.execute(f"""
        create table sold as
        select (transaction_timestamp at time zone 'UTC'
                at time zone 'America/New_York')::DATE as day,
               product_id, product_category, department, store_id,
               least(quantity, {CAP})::DOUBLE as units, sales_value
        from '{folder}/transactions.parquet' join '{folder}/products.parquet' using (product_id)
        where quantity > 0 and department not in ({names["category"]})
          and coalesce(product_category, '') not in ({names["subcategory"]})
    """)
    db.execute(f"""
        create table best as
        select {key} as key, sum(units) as units, any_value(department) as department,
               any_value(product_category) as category
        from sold where day <= DATE '{ranked_until}' and {key} is not null
        group by all order by units desc, key limit {top}
    """)
    daily = db.sql(
        f"select key::VARCHAR, day - DATE '{FIRST_DAY}', sum(sold.units) from best join sold "
        f"on {key} = key where day between DATE '{FIRST_DAY}' and DATE '{LAST_DAY}' group by all"
    ).fetchnumpy()
    facts = db.sql(
        "select key::VARCHAR as key, dense_rank() over (order by department) - 1 as department, "
        "dense_rank() over (order by category) - 1 as category from best order by units desc, key"
    ).fetchnumpy()
    ids = [str(each) for each in facts["key"]]
    place = {each: row for row, each in enumerate(ids)}
    columns = (LAST_DAY - FIRST_DAY).days + 1
    keys, days, units = list(daily.values())
    y = np.zeros((len(ids), columns))
    y[[place[str(each)] for each in keys], np.asarray(days, int)] = np.asarray(units, float)
    # Zeros from the first to the last sale that was known of; a series of the year's best sellers
    # is not known to end.
    first = (y > 0).argmax(axis=1)
    y[np.arange(columns) < first[:, None]] = np.nan
    ahead = {}
    if by == "product":
        weekly = db.sql(f"""
            with shops as (
              select key, store_id, sum(sold.units) / best.units as share
              from best join sold on product_id = key
              where day <= DATE '{ranked_until}' group by key, store_id, best.units)
            select key::VARCHAR as key, week,
                   sum(share) filter (display_location <> '0') as display,
                   sum(share) filter (mailer_location <> '0') as mailer
            from (select product_id as key, store_id, week, max(display_location) display_location,
                         max(mailer_location) mailer_location
                  from '{folder}/promotions.parquet' group by all) p
            join shops using (key, store_id) group by all
        """).fetchnumpy()
        week_of_day = (np.arange(columns) + (FIRST_DAY - FIRST_WEEK).days) // 7
        who = [place[str(each)] for each in weekly["key"]]
        for name in ("display", "mailer"):
            table = np.zeros((len(ids), 53))
            table[who, np.asarray(weekly["week"], int) - 1] = np.nan_to_num(
                np.ma.filled(weekly[name].astype(float), 0.0)
            )
            ahead[name] = np.minimum(table[:, week_of_day], 1.0)
    static = {name: np.asarray(facts[name], np.int64) for name in ("department", "category")}
    days = np.datetime64(FIRST_DAY) + np.arange(columns)
    years = (FIRST_DAY.year, FIRST_DAY.year + 1)
    return Panel(ids, FIRST_DAY, y, ahead, static, flags(days, us_holidays(years)))

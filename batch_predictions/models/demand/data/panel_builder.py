"""Builds panels from rows of `features.demand`, in the same way for training and for forecasts.

A panel always has the same number of columns and ends with its day, so that the features of a
series do not depend on the other series of the panel.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from batch_predictions.core.arrays import Doubles, Int64s
from batch_predictions.models.demand.data.panel import Panel

US_SHOP_HOLIDAYS = (
    "New Year's Day",
    "Memorial Day",
    "Independence Day",
    "Labor Day",
    "Thanksgiving Day",
    "Christmas Day",
)
"""With Easter, the days on which shops in the United States close, or sell much more or less."""


def country_holidays(code: str, years: Iterable[int]) -> set[dt.date]:
    """Public holidays of a country; of the United States as a whole, those that shops keep.

    Args:
        code: an ISO 3166 code of a country, such as DE, or of a part of it, such as DE-BY.
        years: calendar years.

    Raises:
        NotImplementedError: the package `holidays` does not know the code.
    """
    import holidays
    from dateutil.easter import easter

    country, _, part = code.upper().partition("-")
    if country != "US" or part:
        return set(holidays.country_holidays(country, subdiv=part or None, years=years))
    federal = holidays.country_holidays(country, years=years, observed=False, language="en_US")
    dates = {date for name in US_SHOP_HOLIDAYS for date in federal.get_named(name, "exact")}
    return dates | {easter(year) for year in years}


def holiday_flags(dates: npt.NDArray[np.datetime64], holidays: Iterable[dt.date]) -> Doubles:
    """1 for dates that are holidays, else 0: `Panel.holidays` from `Panel.original_dates`."""
    return np.isin(dates, np.array(sorted(holidays), "datetime64[D]")).astype(float)


COVARIATES = ("promotion", "display", "mailer")
"""List columns of `features.demand` that reach beyond the day of the row."""


class PanelSpec(BaseModel):
    """The rules by which rows of `features.demand` become a panel; stored with the model.

    Attributes:
        history_days: columns of a panel.
        horizon: days to forecast.
        covariates: covariates known in advance that had a value other than 0 in training.
        categories: categories in the order of their codes.
        country: code of the country whose holidays are flagged; empty: none.
        holidays: further holidays, dates of the home's calendar.
        shift_days: days by which the home's calendar is later than the original one.
    """

    model_config = ConfigDict(frozen=True)

    history_days: int
    horizon: int
    covariates: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    country: str = ""
    holidays: tuple[dt.date, ...] = ()
    shift_days: int = 0

    def fit(self, rows: pa.Table) -> Self:
        """A copy with the covariates and categories that occur in the rows."""
        covariates = [name for name in COVARIATES if _has_nonzero(rows[name])]
        categories = sorted(set(rows["category"].to_pylist()))
        return self.model_copy(
            update={"covariates": tuple(covariates), "categories": tuple(categories)}
        )

    def build_panel(self, rows: pa.Table, day: dt.date) -> Panel:
        """The panel of rows of `features.demand` that are all as of one day."""
        t = self.history_days
        start = day - dt.timedelta(days=t - 1)
        first_columns = np.array(
            [(first_date - start).days for first_date in rows["first_date"].to_pylist()], np.int64
        ).reshape(-1)
        code_of_category = {category: code for code, category in enumerate(self.categories)}
        codes = [code_of_category.get(category, -1) for category in rows["category"].to_pylist()]
        panel = Panel(
            ids=series_ids(rows),
            start=start,
            y=_lists_to_matrix(rows["units"], first_columns, t),
            future_covariates={
                name: _lists_to_matrix(rows[name], first_columns, t + self.horizon)
                for name in self.covariates
            },
            static_features={"category": np.array(codes, np.int64)},
            shift_days=self.shift_days,
        )
        if not self.country and not self.holidays:
            return panel
        dates = panel.original_dates(self.horizon)
        holidays = self._original_holidays(dates[0].item(), dates[-1].item())
        return replace(panel, holidays=holiday_flags(dates, holidays))

    def _original_holidays(self, first: dt.date, last: dt.date) -> Iterable[dt.date]:
        """Holidays of the years from `first` to `last`, by their original dates."""
        holidays = {date - dt.timedelta(days=self.shift_days) for date in self.holidays}
        if self.country:
            holidays |= country_holidays(self.country, range(first.year, last.year + 1))
        return holidays


def series_ids(rows: pa.Table) -> list[str]:
    """A unique name for each series: `item_id|location`."""
    items, locations = rows["item_id"].to_pylist(), rows["location"].to_pylist()
    return [f"{item}|{location}" for item, location in zip(items, locations, strict=True)]


def history_lengths(rows: pa.Table, day: dt.date) -> Int64s:
    """Days of each series from its first sale to a day, both included, (n,)."""
    first_dates = rows["first_date"].to_pylist()
    return np.array([(day - date).days + 1 for date in first_dates], np.int64).reshape(-1)


def _lists_to_matrix(column: pa.ChunkedArray, first_columns: Int64s, width: int) -> Doubles:
    """Lists as rows of a matrix, (n, width), each from its first column on; nan elsewhere."""
    lists: Any = pa.chunked_array(column).combine_chunks()
    if isinstance(lists, pa.ChunkedArray):
        lists = lists.chunk(0) if lists.num_chunks else pa.array([], column.type)
    matrix = np.full((len(lists), width), np.nan)
    if not len(lists):
        return matrix
    lengths = np.asarray(lists.value_lengths().fill_null(0), np.int64)
    values = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), np.float64)
    rows = np.repeat(np.arange(len(lists)), lengths)
    list_starts = np.repeat(lengths.cumsum() - lengths, lengths)
    columns = np.arange(len(values)) - list_starts + np.repeat(first_columns, lengths)
    is_inside = (columns >= 0) & (columns < width)
    matrix[rows[is_inside], columns[is_inside]] = values[is_inside]
    return matrix


def _has_nonzero(column: pa.ChunkedArray) -> bool:
    """Returns whether any list of a column holds a number other than 0."""
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return any((np.nan_to_num(np.asarray(part, np.float64)) != 0).any() for part in parts)

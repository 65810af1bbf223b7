"""Rows of `features.demand` as a panel, alike in training and in a day's forecasts.

A panel has always the same number of columns and ends with its day, so that a series means the
same whatever stands beside it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from batch_predictions.models.demand.calendar import flags, us_holidays
from batch_predictions.models.demand.panel import Doubles, Integers, Panel

COVARIATES = ("promotion", "display", "mailer")
"""Lists of the table that reach beyond its day."""


class PanelSpec(BaseModel):
    """How rows become a panel; stored with the model.

    Attributes:
        history_days: columns of a panel.
        horizon: days ahead.
        covariates: what is known ahead and was known at all in training.
        categories: codes of the categories, by place.
        country: whose holidays count; empty: none.
        holidays: further holidays, dates of the home's calendar.
        shift_days: by how much the home's calendar is later than the original one.
    """

    model_config = ConfigDict(frozen=True)

    history_days: int
    horizon: int
    covariates: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    country: str = ""
    holidays: tuple[dt.date, ...] = ()
    shift_days: int = 0

    def learned(self, rows: pa.Table) -> Self:
        """With the covariates and categories that the rows have."""
        there = [name for name in COVARIATES if _known(rows[name])]
        categories = sorted(set(rows["category"].to_pylist()))
        return self.model_copy(update={"covariates": tuple(there), "categories": tuple(categories)})

    def panel(self, rows: pa.Table, day: dt.date) -> Panel:
        """The series of some rows, all as of one day."""
        t = self.history_days
        start = day - dt.timedelta(days=t - 1)
        first = np.array(
            [(each - start).days for each in rows["first_date"].to_pylist()], np.int64
        ).reshape(-1)
        places = {name: place for place, name in enumerate(self.categories)}
        codes = [places.get(each, -1) for each in rows["category"].to_pylist()]
        panel = Panel(
            ids=series_ids(rows),
            start=start,
            y=_dense(rows["units"], first, t),
            future_covariates={
                name: _dense(rows[name], first, t + self.horizon) for name in self.covariates
            },
            static={"category": np.array(codes, np.int64)},
            shift_days=self.shift_days,
        )
        if not self.country and not self.holidays:
            return panel
        days = panel.days(self.horizon)
        return replace(panel, holidays=flags(days, self._holidays(days[0].item(), days[-1].item())))

    def _holidays(self, first: dt.date, last: dt.date) -> Iterable[dt.date]:
        """Holidays by their original dates."""
        found = {each - dt.timedelta(days=self.shift_days) for each in self.holidays}
        if self.country == "us":
            found |= us_holidays(range(first.year, last.year + 1))
        return found


def series_ids(rows: pa.Table) -> list[str]:
    """A name for every series: item and location."""
    items, places = rows["item_id"].to_pylist(), rows["location"].to_pylist()
    return [f"{item}|{place}" for item, place in zip(items, places, strict=True)]


def days_known(rows: pa.Table, day: dt.date) -> Integers:
    """Days of every series from its first sale to a day, (n,)."""
    firsts = rows["first_date"].to_pylist()
    return np.array([(day - each).days + 1 for each in firsts], np.int64).reshape(-1)


def _dense(column: pa.ChunkedArray, first: Integers, width: int) -> Doubles:
    """Lists as rows of a matrix, each from its first column on; nan where there is nothing."""
    lists: Any = pa.chunked_array(column).combine_chunks()
    if isinstance(lists, pa.ChunkedArray):
        lists = lists.chunk(0) if lists.num_chunks else pa.array([], column.type)
    out = np.full((len(lists), width), np.nan)
    if not len(lists):
        return out
    lengths = np.asarray(lists.value_lengths().fill_null(0), np.int64)
    values = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), np.float64)
    owner = np.repeat(np.arange(len(lists)), lengths)
    begins = np.repeat(lengths.cumsum() - lengths, lengths)
    place = np.arange(len(values)) - begins + np.repeat(first, lengths)
    within = (place >= 0) & (place < width)
    out[owner[within], place[within]] = values[within]
    return out


def _known(column: pa.ChunkedArray) -> bool:
    """Whether any list holds a number that is not 0."""
    values = _flat(column)
    return bool((np.nan_to_num(values) != 0).any())


def _flat(column: pa.ChunkedArray) -> Doubles:
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate([np.asarray(part, np.float64) for part in parts] or [np.zeros(0)])

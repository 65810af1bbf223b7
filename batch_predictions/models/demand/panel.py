"""Series side by side: the one input of every forecaster."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Doubles: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Panel:
    """n series over the same t columns of time, and what is known ahead of them.

    Attributes:
        ids: names of the series, unique.
        start: day of the first column, where columns are days; else the number of the first column
            of weeks, hours, …
        y: values (n, t); nan before a series' first and after its last observation. A zero is a
            real zero.
        ahead: known ahead by name, (n, t + what is known), such as `promotion` and `price`; nan is
            unknown.
        static: facts of series by name, (n,): a number, or a code from 0 with -1 for unknown.
        holidays: flags of columns, (t + what is known,), of the original dates where a calendar is
            replayed.
        period: columns of a season: 7, 24, 52.
        shift_days: a replayed calendar is so many days later than the original one; the features of
            a day are of the original.
    """

    ids: Sequence[str]
    start: dt.date | int
    y: Doubles
    future_covariates: Mapping[str, Doubles] = field(default_factory=dict)
    static: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    holidays: Doubles | None = None
    period: int = 7
    shift_days: int = 0

    def __post_init__(self) -> None:
        n, t = self.y.shape
        if len(self.ids) != n:
            raise ValueError(f"{len(self.ids)} ids for {n} series")
        for name, values in self.future_covariates.items():
            if values.shape[0] != n or values.shape[1] < t:
                raise ValueError(f"{name} is {values.shape} for series of {self.y.shape}")
        for name, facts in self.static.items():
            if facts.shape != (n,):
                raise ValueError(f"{name} is {facts.shape} for {n} series")
        if self.holidays is not None and len(self.holidays) < t:
            raise ValueError(f"holidays of {len(self.holidays)} columns for {t}")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def columns(self) -> int:
        """Columns with values, t."""
        return self.y.shape[1]

    @property
    def dated(self) -> bool:
        """Whether columns are calendar days."""
        return isinstance(self.start, dt.date)

    @property
    def offset(self) -> int:
        """Number of the first column on a scale that panels share; a Monday is a multiple of 7."""
        start = self.start
        return start.toordinal() - 1 if isinstance(start, dt.date) else start

    def times(self, horizon: int = 0) -> Integers:
        """Numbers of the columns and of `horizon` more."""
        return np.arange(self.offset, self.offset + self.columns + horizon, dtype=np.int64)

    def phases(self, horizon: int = 0) -> Integers:
        """Place in the season of the columns and of `horizon` more; of days 0 is Monday."""
        return self.times(horizon) % self.period

    def days(self, horizon: int = 0) -> npt.NDArray[np.datetime64]:
        """Original dates of the columns and of `horizon` more."""
        first = np.datetime64(self.start, "D") - np.timedelta64(self.shift_days, "D")
        return np.asarray(first + np.arange(self.columns + horizon))

    def known(self, name: str, horizon: int = 0) -> Doubles:
        """What is known ahead, (n, t + horizon); what goes beyond the knowledge is nan."""
        width = self.columns + horizon
        values = self.future_covariates[name]
        if values.shape[1] >= width:
            return values[:, :width]
        return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=np.nan)

    def flags(self, horizon: int = 0) -> Doubles:
        """Holidays, (t + horizon,); 0 where none are known."""
        width, flags = self.columns + horizon, np.zeros(self.columns + horizon)
        if self.holidays is not None:
            given = self.holidays[:width]
            flags[: len(given)] = given
        return flags

    def until(self, columns: int) -> Panel:
        """As it stood after so many columns; what was known ahead stays known."""
        return replace(self, y=self.y[:, :columns])

    def take(self, rows: npt.NDArray[Any]) -> Panel:
        """Some of the series, by position or by mask."""
        positions = np.arange(len(self))[rows]
        return replace(
            self,
            ids=[self.ids[each] for each in positions],
            y=self.y[positions],
            future_covariates={
                name: values[positions] for name, values in self.future_covariates.items()
            },
            static={name: facts[positions] for name, facts in self.static.items()},
        )

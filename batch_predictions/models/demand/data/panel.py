"""A panel of aligned time series: the one input of every forecaster."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles, Int64s


@dataclass(frozen=True)
class Panel:
    """n series over the same t columns of time, with covariates that are known in advance.

    Attributes:
        ids: unique names of the series.
        start: date of the first column where columns are days; otherwise the number of the first
            week, hour, …
        y: values, (n, t); nan before the first and after the last observation of a series. A zero
            is an observed zero.
        future_covariates: covariates by name, such as `promotion`, (n, t + columns known in
            advance); nan where the value is unknown.
        static_features: features of the series by name, (n,): a number, or a category code from 0
            with -1 for unknown.
        holidays: 1 for holidays, else 0, (t + columns known in advance,); of the original dates
            where a calendar is replayed.
        period: columns of a season: 7 for days, 24 for hours, 52 for weeks.
        shift_days: days by which a replayed calendar is later than the original one; calendar
            features are those of the original date.
    """

    ids: Sequence[str]
    start: dt.date | int
    y: Doubles
    future_covariates: Mapping[str, Doubles] = field(default_factory=dict)
    static_features: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    holidays: Doubles | None = None
    period: int = 7
    shift_days: int = 0

    def __post_init__(self) -> None:
        n, t = self.y.shape
        if len(self.ids) != n:
            raise ValueError(f"{len(self.ids)} ids for {n} series")
        for name, values in self.future_covariates.items():
            if values.shape[0] != n or values.shape[1] < t:
                raise ValueError(
                    f"covariate {name} has the shape {values.shape}: {n} rows and at least {t} "
                    "columns are needed"
                )
        for name, feature in self.static_features.items():
            if feature.shape != (n,):
                raise ValueError(
                    f"static feature {name} has the shape {feature.shape} for {n} series"
                )
        if self.holidays is not None and len(self.holidays) < t:
            raise ValueError(f"holidays have {len(self.holidays)} columns, fewer than the {t} of y")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_columns(self) -> int:
        """Number of columns of `y`, t."""
        return self.y.shape[1]

    @property
    def has_dates(self) -> bool:
        """Whether the columns are calendar days."""
        return isinstance(self.start, dt.date)

    @property
    def start_number(self) -> int:
        """Number of the first column on a scale that panels share; Mondays are multiples of 7."""
        start = self.start
        return start.toordinal() - 1 if isinstance(start, dt.date) else start

    def times(self, horizon: int = 0) -> Int64s:
        """Numbers of the columns and of `horizon` columns after them, (t + horizon,)."""
        first = self.start_number
        return np.arange(first, first + self.n_columns + horizon, dtype=np.int64)

    def phases(self, horizon: int = 0) -> Int64s:
        """Positions within the season, from 0, (t + horizon,); for days, 0 is Monday."""
        return self.times(horizon) % self.period

    def original_dates(self, horizon: int = 0) -> npt.NDArray[np.datetime64]:
        """Dates of the columns in the original calendar, (t + horizon,)."""
        first = np.datetime64(self.start, "D") - np.timedelta64(self.shift_days, "D")
        return np.asarray(first + np.arange(self.n_columns + horizon))

    def covariate(self, name: str, horizon: int = 0) -> Doubles:
        """Values of a covariate, (n, t + horizon); nan beyond what is known in advance."""
        width = self.n_columns + horizon
        values = self.future_covariates[name]
        if values.shape[1] >= width:
            return values[:, :width]
        return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=np.nan)

    def holiday_flags(self, horizon: int = 0) -> Doubles:
        """1 for holidays, else 0, (t + horizon,); 0 where none are known."""
        flags = np.zeros(self.n_columns + horizon)
        if self.holidays is not None:
            holidays = self.holidays[: len(flags)]
            flags[: len(holidays)] = holidays
        return flags

    def truncate(self, n_columns: int) -> Panel:
        """The panel after its first `n_columns` columns; covariates known in advance remain."""
        return replace(self, y=self.y[:, :n_columns])

    def take(self, rows: npt.NDArray[np.generic]) -> Panel:
        """A panel of some of the series, selected by position or by mask."""
        positions = np.arange(len(self))[rows]
        return replace(
            self,
            ids=[self.ids[position] for position in positions],
            y=self.y[positions],
            future_covariates={
                name: values[positions] for name, values in self.future_covariates.items()
            },
            static_features={
                name: feature[positions] for name, feature in self.static_features.items()
            },
        )

"""Ensembles: the average of several forecasters, and the best forecaster of each series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.demand.base import (
    SERIES_FILE,
    EnsembleForecaster,
    Forecaster,
    ForecasterParams,
)
from batch_predictions.models.demand.data.panel import Panel


@dataclass(frozen=True)
class AverageForecasterParams(ForecasterParams):
    """Parameters of the forecaster `AverageForecaster`.

    Attributes:
        members: names of the forecasters that are averaged.
    """

    members: tuple[str, ...] = ("lightgbm", "gru")


class AverageForecaster(EnsembleForecaster):
    """The mean of its members' forecasts."""

    kind: ClassVar[str] = "average"
    params_class: ClassVar[type[ForecasterParams]] = AverageForecasterParams
    params: AverageForecasterParams

    def member_names(self) -> Sequence[str]:
        """Returns the members that the parameters name."""
        return self.params.members

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """The mean of the members' forecasts."""
        return self.combine([member.forecast(panel, horizon) for member in self.members])

    def combine(self, forecasts: Sequence[Doubles]) -> Doubles:
        """The mean of forecasts that the members have already made."""
        return np.asarray(np.mean(forecasts, axis=0))


@dataclass(frozen=True)
class SelectorParams(ForecasterParams):
    """Parameters of the forecaster `PerSeriesSelector`.

    Attributes:
        default: name of the member that forecasts series without a champion.
    """

    default: str


class PerSeriesSelector(EnsembleForecaster):
    """Forecasts each series by one of its members, its champion.

    `selection.select` chooses the champions by the errors at past origins.

    Attributes:
        champions: name of the member that forecasts each series, by the series' id.
    """

    kind: ClassVar[str] = "chosen"
    is_candidate: ClassVar[bool] = False
    params_class: ClassVar[type[ForecasterParams]] = SelectorParams
    params: SelectorParams

    def __init__(
        self,
        params: SelectorParams,
        *,
        name: str | None = None,
        members: Sequence[Forecaster] = (),
        champions: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(params, name=name, members=members)
        self.champions = dict(champions or {})

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """Forecasts each series by the member that is its champion."""
        forecasts, champions = np.zeros((len(panel), horizon)), self._champions(panel)
        for member in self.members:
            rows = champions == member.name
            if rows.any():
                forecasts[rows] = member.forecast(panel.take(rows), horizon)
        return forecasts

    def methods(self, panel: Panel) -> list[str]:
        """Names each series' champion, or the champion's fallback."""
        champions = self._champions(panel)
        methods = list(map(str, champions))
        for member in self.members:
            rows = np.flatnonzero(champions == member.name)
            if len(rows):
                for row, method in zip(rows, member.methods(panel.take(rows)), strict=True):
                    methods[row] = method
        return methods

    def _champions(self, panel: Panel) -> npt.NDArray[Any]:
        default = self.params.default
        return np.array([self.champions.get(series_id, default) for series_id in panel.ids], object)

    def save_state(self, folder: Path) -> None:
        """Writes the members, and the champions as Parquet."""
        super().save_state(folder)
        columns = {"id": list(self.champions), "method": list(self.champions.values())}
        schema = pa.schema([("id", pa.string()), ("method", pa.string())])
        pq.write_table(pa.table(columns, schema=schema), folder / SERIES_FILE)

    def load_state(self, folder: Path) -> None:
        """Reads the champion of each series from a folder."""
        table = pq.read_table(folder / SERIES_FILE)
        self.champions = dict(
            zip(table["id"].to_pylist(), table["method"].to_pylist(), strict=True)
        )

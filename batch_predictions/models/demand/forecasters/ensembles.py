"""Forecasters made of forecasters: the mean of some, and the champion of each series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.models.demand.base import SERIES, Forecaster
from batch_predictions.models.demand.panel import Doubles, Panel


class AverageForecaster(Forecaster):
    """The mean of its members' forecasts."""

    kind: ClassVar[str] = "average"

    def __init__(
        self, name: str | None = None, members: Sequence[Forecaster] = (), **params: Any
    ) -> None:
        super().__init__(name, **params)
        self.members = list(members)

    def fit(self, panel: Panel) -> Self:
        """Fits every member."""
        for each in self.members:
            each.fit(panel)
        return self

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """The mean."""
        parts = [each.forecast(panel, horizon) for each in self.members]
        return np.asarray(np.mean(parts, axis=0))

    def _write(self, folder: Path) -> None:
        write_members(folder, self.members)

    def _read(self, folder: Path) -> None:
        self.members = read_members(folder)


class PerSeriesSelector(Forecaster):
    """Each series by its own champion; series without one by `default`."""

    kind: ClassVar[str] = "chosen"

    def __init__(
        self,
        name: str | None = None,
        members: Sequence[Forecaster] = (),
        champions: Mapping[str, str] | None = None,
        **params: Any,
    ) -> None:
        super().__init__(name, **params)
        self.members = list(members)
        self.champions = dict(champions or {})

    def fit(self, panel: Panel) -> Self:
        """Fits every member; champions were chosen by past origins."""
        for each in self.members:
            each.fit(panel)
        return self

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """Each member forecasts its own series."""
        found, mine = np.zeros((len(panel), horizon)), self._champions(panel)
        for each in self.members:
            rows = mine == each.name
            if rows.any():
                found[rows] = each.forecast(panel.take(rows), horizon)
        return found

    def methods(self, panel: Panel) -> list[str]:
        """The champion's name, or what stands in for it."""
        mine = self._champions(panel)
        found = list(map(str, mine))
        for each in self.members:
            rows = np.flatnonzero(mine == each.name)
            if len(rows):
                for row, method in zip(rows, each.methods(panel.take(rows)), strict=True):
                    found[row] = method
        return found

    def _champions(self, panel: Panel) -> Any:
        default = self.params["default"]
        return np.array([self.champions.get(each, default) for each in panel.ids], object)

    def _write(self, folder: Path) -> None:
        write_members(folder, self.members)
        table = {"id": list(self.champions), "method": list(self.champions.values())}
        text = pa.schema([("id", pa.string()), ("method", pa.string())])
        pq.write_table(pa.table(table, schema=text), folder / SERIES)

    def _read(self, folder: Path) -> None:
        self.members = read_members(folder)
        table = pq.read_table(folder / SERIES)
        self.champions = dict(
            zip(table["id"].to_pylist(), table["method"].to_pylist(), strict=True)
        )


def write_members(folder: Path, members: Sequence[Forecaster]) -> None:
    """Each in a numbered folder."""
    for number, each in enumerate(members):
        each.save(folder / f"member_{number:02d}")


def read_members(folder: Path) -> list[Forecaster]:
    """In their order."""
    return [Forecaster.load(each) for each in sorted(folder.glob("member_*"))]

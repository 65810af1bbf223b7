"""The one contract of all forecasters: fit on a panel, forecast a panel.

What is learned is kept; where a series stands now is read from the panel that is passed. So a model
that was trained on Sunday forecasts on Wednesday with Wednesday's values, and nothing is refitted.
The forecast of a series does not depend on the series beside it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.models.demand.panel import Doubles, Integers, Panel

MANIFEST = "forecaster.json"
SERIES = "series.parquet"


class Forecaster(ABC):
    """A method of forecasting; `fit` first, then `forecast` as often as there are new days."""

    kind: ClassVar[str]
    """What `load` dispatches on."""

    def __init__(self, name: str | None = None, **params: Any) -> None:
        self.name = name or self.kind
        self.params = params

    @abstractmethod
    def fit(self, panel: Panel) -> Self:
        """Learns from all columns of the panel. Equal panels give equal models."""

    @abstractmethod
    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """Means of the `horizon` columns after the panel, (n, horizon), finite and not negative.

        The panel may hold newer columns than the fitted one, other series, and any number of them.
        """

    def methods(self, panel: Panel) -> list[str]:
        """Which method forecasts each series; the name of a fall-back where one stands in."""
        return [self.name] * len(panel)

    def save(self, folder: Path) -> None:
        """Writes JSON, Parquet, .npy and text files; equal models give equal bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        manifest = {"kind": self.kind, "name": self.name, "params": self.params}
        text = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)
        (folder / MANIFEST).write_text(text + "\n")
        self._write(folder)

    @staticmethod
    def load(folder: Path) -> Forecaster:
        """Reads what any forecaster's `save` wrote."""
        manifest = json.loads((folder / MANIFEST).read_text())
        kind = kinds().get(manifest["kind"])
        if kind is None:
            raise ValueError(f"{folder}: unknown kind of forecaster {manifest['kind']!r}")
        found = kind(manifest["name"], **manifest["params"])
        found._read(folder)
        return found

    def _write(self, folder: Path) -> None:  # noqa: B027
        """What was learned, beside the manifest."""

    def _read(self, folder: Path) -> None:  # noqa: B027
        """The counterpart of `_write`."""


class PerSeriesForecaster(Forecaster):
    """Parameters of every series by its id, in an open table: Parquet, a column each."""

    def __init__(self, name: str | None = None, **params: Any) -> None:
        super().__init__(name, **params)
        self.ids: list[str] = []
        self.learned: dict[str, npt.NDArray[Any]] = {}

    def keep(self, ids: Sequence[str], **learned: npt.NDArray[Any]) -> Self:
        """Sets the parameters, (n,) or (n, k) by name."""
        self.ids, self.learned = list(ids), learned
        return self

    def rows(self, panel: Panel) -> Integers:
        """Row of the parameters of each series of a panel, -1 where it was not fitted."""
        places = {each: place for place, each in enumerate(self.ids)}
        return np.array([places.get(each, -1) for each in panel.ids], np.int64)

    def _write(self, folder: Path) -> None:
        columns: dict[str, pa.Array] = {"id": pa.array(self.ids, pa.string())}
        for name, values in self.learned.items():
            flat = pa.array(np.ascontiguousarray(values).ravel())
            wide = values.ndim == 2
            columns[name] = (
                pa.FixedSizeListArray.from_arrays(flat, values.shape[1]) if wide else flat
            )
        pq.write_table(pa.table(columns), folder / SERIES)

    def _read(self, folder: Path) -> None:
        table = pq.read_table(folder / SERIES)
        self.ids = table["id"].to_pylist()
        self.learned = {}
        for name in table.column_names[1:]:
            column = table[name].combine_chunks()
            if pa.types.is_fixed_size_list(column.type):
                flat = column.flatten().to_numpy(zero_copy_only=False)
                self.learned[name] = flat.reshape(len(self.ids), column.type.list_size)
            else:
                self.learned[name] = column.to_numpy(zero_copy_only=False)


def kinds() -> dict[str, type[Forecaster]]:
    """Every kind of forecaster by name; their modules load heavy libraries in functions only."""
    from batch_predictions.models.demand.registry import FAMILIES

    return {each.kind: each for each in FAMILIES}


def impute(values: Doubles) -> Doubles:
    """Forecasts that are finite and not negative."""
    return np.maximum(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0), 0.0)

"""The contract of all forecasters: `fit` on a panel of series, then `forecast` a panel.

`fit` estimates parameters; the recent values of a series are read from the panel that is passed to
`forecast`. So a model that was fitted on Sunday forecasts on Wednesday from Wednesday's values
without being refitted. The forecast of a series does not depend on the other series of the panel.

A forecaster is a subclass of `Forecaster` in a module of `models/demand/forecasters/`, or in a
module that the setting `plugins` names. `demand_registry.py` finds it there by its `kind`.
"""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from batch_predictions.core.arrays import Doubles, Int64s
from batch_predictions.models.demand.data.panel import Panel

MANIFEST_FILE = "forecaster.json"
SERIES_FILE = "series.parquet"


@dataclass(frozen=True)
class ForecasterParams:
    """The parameters of a forecaster; those of a forecaster without parameters.

    Forecasters with parameters declare a frozen subclass with typed fields and defaults. The
    registry fills a field `seed` with the seed of the training and a field `horizon` with the
    number of columns to forecast, unless `demand.options` sets them.
    """

    @classmethod
    def names(cls) -> list[str]:
        """Names of the parameters, for messages too."""
        return [parameter.name for parameter in dataclasses.fields(cls)]

    @classmethod
    def accepts(cls, name: str) -> bool:
        """Returns whether the forecaster has a parameter of this name."""
        return name in cls.names()

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Parameters from values by name, such as those of a settings file.

        Raises:
            ValueError: a name is unknown, or a value has the wrong type.
        """
        unknown = sorted(name for name in values if not cls.accepts(name))
        if unknown:
            names = ", ".join(sorted(cls.names())) or "there are none"
            raise ValueError(f"unknown parameter {', '.join(unknown)} (known: {names})")
        try:
            return TypeAdapter(cls).validate_python(dict(values))
        except ValidationError as error:
            reasons = [
                f"{'.'.join(map(str, issue['loc']))}: {issue['msg']}" for issue in error.errors()
            ]
            raise ValueError("; ".join(reasons)) from error

    def to_mapping(self) -> dict[str, Any]:
        """The values that differ from the defaults, and those without a default (JSON)."""
        values = {}
        for parameter in dataclasses.fields(self):
            value = getattr(self, parameter.name)
            factory = parameter.default_factory
            default = parameter.default if factory is dataclasses.MISSING else factory()
            if value != default:
                values[parameter.name] = value
        return values


@dataclass(frozen=True)
class ForecasterVariant:
    """A name for a kind of forecaster with other default parameters, declared at top level.

    Attributes:
        name: name of the variant, as candidates and stored methods use it.
        kind: `kind` of the forecaster's class.
        params: parameters of the variant; `demand.options` overrides them by name.
    """

    name: str
    kind: str
    params: ForecasterParams = field(default_factory=ForecasterParams)


class Forecaster(ABC):
    """A forecasting method: call `fit` first, then `forecast` for any number of later days.

    Attributes:
        name: name under which forecasts and metrics are stored; `kind` unless it is a variant.
        params: the parameters, an instance of `params_class`.
        fitted_values: scalars and lists that `fit` learned (JSON), stored with the parameters.
    """

    kind: ClassVar[str]
    """Name of the class in manifests and, where `is_candidate` is true, in settings."""

    is_candidate: ClassVar[bool] = True
    """Whether the registry can make it from a name and options alone."""

    params_class: ClassVar[type[ForecasterParams]] = ForecasterParams

    def __init__(self, params: ForecasterParams | None = None, *, name: str | None = None) -> None:
        self.name = name or self.kind
        self.params = params or self.params_class()
        self.fitted_values: dict[str, Any] = {}

    @abstractmethod
    def fit(self, panel: Panel) -> Self:
        """Learns from all columns of the panel. Equal panels give equal models."""

    @abstractmethod
    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """Means of the `horizon` columns after the panel, (n, horizon), finite and not negative.

        The panel may hold later columns and other series than the panel of `fit`.
        """

    def methods(self, panel: Panel) -> list[str]:
        """Name of the method that forecasts each series: this one, or its fallback."""
        return [self.name] * len(panel)

    def save(self, folder: Path) -> None:
        """Writes JSON, Parquet, .npy and text files; equal models give equal bytes.

        `registry.load` reads them.
        """
        folder.mkdir(parents=True, exist_ok=True)
        values = {**self.params.to_mapping(), **self.fitted_values}
        manifest = {"kind": self.kind, "name": self.name, "params": values}
        text = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)
        (folder / MANIFEST_FILE).write_text(text + "\n")
        self.save_state(folder)

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Self:
        """The forecaster with the parameters and fitted values of a manifest, without its state."""
        accepts = cls.params_class.accepts
        values = manifest["params"]
        params = {name: value for name, value in values.items() if accepts(name)}
        forecaster = cls(cls.params_class.from_mapping(params), name=manifest["name"])
        forecaster.fitted_values = {
            name: value for name, value in values.items() if not accepts(name)
        }
        return forecaster

    def save_state(self, folder: Path) -> None:  # noqa: B027
        """Writes what `fit` learned into files next to the manifest."""

    def load_state(self, folder: Path) -> None:  # noqa: B027
        """Reads what `save_state` wrote."""


class PerSeriesForecaster(Forecaster):
    """A forecaster with parameters for each series, stored as a Parquet table.

    Attributes:
        ids: the fitted series.
        series_table: fitted values of the series, (n,) or (n, k), by column name.
    """

    def __init__(self, params: ForecasterParams | None = None, *, name: str | None = None) -> None:
        super().__init__(params, name=name)
        self.ids: list[str] = []
        self.series_table: dict[str, npt.NDArray[Any]] = {}

    def set_series_table(self, ids: Sequence[str], **columns: npt.NDArray[np.generic]) -> Self:
        """Replaces the fitted values of all series."""
        self.ids, self.series_table = list(ids), columns
        return self

    def table_rows(self, panel: Panel) -> Int64s:
        """Row in the table of each series of a panel, (n,); -1 where it was not fitted."""
        row_of_id = {series_id: row for row, series_id in enumerate(self.ids)}
        return np.array([row_of_id.get(series_id, -1) for series_id in panel.ids], np.int64)

    def save_state(self, folder: Path) -> None:
        """Writes the table, one row per series."""
        columns: dict[str, pa.Array] = {"id": pa.array(self.ids, pa.string())}
        for name, values in self.series_table.items():
            flat = pa.array(np.ascontiguousarray(values).ravel())
            columns[name] = (
                pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
                if values.ndim == 2
                else flat
            )
        pq.write_table(pa.table(columns), folder / SERIES_FILE)

    def load_state(self, folder: Path) -> None:
        """Reads the table of the series' parameters from a folder."""
        table = pq.read_table(folder / SERIES_FILE)
        self.ids = table["id"].to_pylist()
        self.series_table = {}
        for name in table.column_names[1:]:
            column = table[name].combine_chunks()
            if pa.types.is_fixed_size_list(column.type):
                flat = column.flatten().to_numpy(zero_copy_only=False)
                self.series_table[name] = flat.reshape(len(self.ids), column.type.list_size)
            else:
                self.series_table[name] = column.to_numpy(zero_copy_only=False)


class EnsembleForecaster(Forecaster):
    """A forecaster made of member forecasters, each stored in a numbered folder."""

    def __init__(
        self,
        params: ForecasterParams | None = None,
        *,
        name: str | None = None,
        members: Sequence[Forecaster] = (),
    ) -> None:
        super().__init__(params, name=name)
        self.members = list(members)

    def member_names(self) -> Sequence[str]:
        """Names of the members that the registry makes with the ensemble."""
        return ()

    def fit(self, panel: Panel) -> Self:
        """Fits every member on the panel."""
        for member in self.members:
            member.fit(panel)
        return self

    def save_state(self, folder: Path) -> None:
        """Writes each member into a numbered folder."""
        for number, member in enumerate(self.members):
            member.save(folder / f"member_{number:02d}")

    def load_members(self, folder: Path, load: Callable[[Path], Forecaster]) -> None:
        """Reads the members in their order; `load` reads one of them."""
        self.members = [load(path) for path in sorted(folder.glob("member_*"))]


def clip_forecasts(values: Doubles) -> Doubles:
    """Forecasts with 0 in place of what is negative or not finite."""
    return np.maximum(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0), 0.0)

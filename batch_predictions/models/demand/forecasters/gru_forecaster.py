"""One recurrent network for all series: a GRU reads the past, dense layers forecast every step.

The GRU reads each series once, and its state at any column is an origin to learn from. Means are
the level of the last four seasons × exp(output); the distribution is negative binomial.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from batch_predictions.core.arrays import Doubles, Floats, Int64s
from batch_predictions.models.common.torch_cpu import load_weights, one_torch_thread, save_weights
from batch_predictions.models.demand.base import Forecaster, ForecasterParams, clip_forecasts
from batch_predictions.models.demand.data.demand_features import (
    LEVEL_SEASONS,
    LOG_OFFSET,
    FeatureMatrix,
    build_features,
    rolling_mean,
)
from batch_predictions.models.demand.data.panel import Panel

if TYPE_CHECKING:
    from batch_predictions.models.demand.kernels.gru_network import GRUNetwork

CHUNK_SERIES = 1000
"""Series that are forecast at a time."""
MAX_PAST_COLUMNS = 400
"""Newest columns that the GRU reads."""
MAX_TRAINING_SERIES = 1500
"""Series of the training data; with more of them, only every k-th is used."""
MAX_TRAINING_ROWS = 800_000
"""Rows of training features; with more of them, origins are farther apart."""
MIN_TRAINING_SEASONS = 6
"""Seasons before the first origin of the training data."""
MAX_LEVEL_RATIO = 8.0
"""Inputs are capped at this multiple of the level."""
MIN_FEATURE_SD = 1e-3
"""Added to standard deviations, so that constant features can be scaled."""
SCALING = ("centre", "width")
"""Arrays that standardise the features: their means and standard deviations."""


@dataclass(frozen=True)
class GRUParams(ForecasterParams):
    """Parameters of the forecaster `GRUForecaster`.

    Attributes:
        horizon: steps that are learned; None: two seasons.
        hidden: units of the GRU.
        steps: steps of training.
        batch: series of a step of training.
        rate: highest learning rate of the one-cycle schedule.
        every: columns between the origins of the training data, at least.
        nets: networks whose means are averaged, each with its own seed.
        seed: seed of the first network.
    """

    horizon: int | None = None
    hidden: int = 40
    steps: int = 350
    batch: int = 96
    rate: float = 4e-3
    every: int = 3
    nets: int = 1
    seed: int = 0


class GRUForecaster(Forecaster):
    """GRU over the past, then dense layers over its state and the features of a step."""

    kind: ClassVar[str] = "gru"
    params_class: ClassVar[type[ForecasterParams]] = GRUParams
    params: GRUParams

    def __init__(self, params: GRUParams | None = None, *, name: str | None = None) -> None:
        super().__init__(params, name=name)
        self.networks: list[GRUNetwork] = []
        self.scaling: dict[str, Floats] = {}

    def fit(self, panel: Panel) -> Self:
        """Learns from random series and origins; the same seed gives the same network."""
        import torch

        from batch_predictions.models.demand.kernels.gru_network import NetworkInputs, train

        statics = sorted(panel.static_features)
        code_counts = [int(np.max(panel.static_features[name], initial=0)) + 2 for name in statics]
        stride = max(1, -(-len(panel) // MAX_TRAINING_SERIES))
        panel = panel.take(np.arange(0, len(panel), stride)) if stride > 1 else panel
        horizon = self.params.horizon or 2 * panel.period
        origins = self._training_origins(panel, horizon)
        matrix = build_features(panel, list(origins), horizon)
        features = _numeric_features(matrix, panel)
        rows = features.reshape(-1, features.shape[-1])
        self.scaling = {"centre": rows.mean(axis=0), "width": rows.std(axis=0) + MIN_FEATURE_SD}
        features -= self.scaling["centre"]
        features /= self.scaling["width"]
        self.fitted_values = {
            "covariates": sorted(panel.future_covariates),
            "statics": statics,
            "codes": code_counts,
        }
        past, skipped_columns = self._past_inputs(panel)
        self.fitted_values |= {"inputs": past.shape[2], "features": features.shape[3]}
        last_columns = origins - 1 - skipped_columns
        codes = self._category_codes(panel)
        inputs = NetworkInputs(past, last_columns, features, codes, matrix.level)
        self.networks = []
        with one_torch_thread():
            for number in range(self.params.nets):
                seed = self.params.seed + number
                torch.manual_seed(seed)
                network = self._build_network()
                train(
                    network,
                    inputs,
                    matrix.targets,
                    steps=self.params.steps,
                    batch=self.params.batch,
                    rate=self.params.rate,
                    seed=seed,
                )
                self.networks.append(network)
        return self

    def _training_origins(self, panel: Panel, horizon: int) -> Int64s:
        """Ascending origins, as close as `MAX_TRAINING_ROWS` allows."""
        newest = max(panel.n_columns - horizon, 1)
        oldest = min(MIN_TRAINING_SEASONS * panel.period, newest - 1)
        min_step = -(-len(panel) * (newest - oldest) * horizon // MAX_TRAINING_ROWS)
        return np.arange(newest, oldest, -max(self.params.every, min_step))[::-1]

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """Forecasts from the state after the panel's last column."""
        import torch

        from batch_predictions.models.demand.kernels.gru_network import NetworkInputs

        forecasts = np.empty((len(panel), horizon))
        for start in range(0, len(panel), CHUNK_SERIES):
            rows = np.arange(start, min(start + CHUNK_SERIES, len(panel)))
            chunk = panel.take(rows)
            matrix = build_features(chunk, [chunk.n_columns], horizon)
            features = _numeric_features(matrix, chunk)
            scaled = (features - self.scaling["centre"]) / self.scaling["width"]
            past, skipped_columns = self._past_inputs(chunk)
            last_column = np.array([chunk.n_columns - 1 - skipped_columns])
            codes = self._category_codes(chunk)
            inputs = NetworkInputs(
                past, last_column, scaled.astype(np.float32), codes, matrix.level
            )
            with torch.no_grad():
                means = [network.means(inputs) for network in self.networks]
            forecasts[rows] = np.mean(means, axis=0)[:, 0]
        return clip_forecasts(forecasts)

    def _past_inputs(self, panel: Panel) -> tuple[Floats, int]:
        """Builds the GRU's inputs, (n, columns, inputs), and counts the older columns left out."""
        skipped_columns = max(panel.n_columns - MAX_PAST_COLUMNS, 0)
        level = rolling_mean(panel.y, LEVEL_SEASONS * panel.period)[:, :-1] + LOG_OFFSET
        is_known = np.isfinite(panel.y)
        ratio = np.minimum(np.where(is_known, panel.y, 0.0) / level, MAX_LEVEL_RATIO)
        angles = 2 * np.pi * panel.phases() / panel.period
        shape = panel.y.shape
        inputs = [np.log1p(ratio), np.sqrt(ratio), np.log(level), is_known.astype(float)]
        for harmonic in (1, 2, 3):
            inputs.append(np.broadcast_to(np.sin(harmonic * angles), shape))
            inputs.append(np.broadcast_to(np.cos(harmonic * angles), shape))
        inputs.append(np.broadcast_to(panel.holiday_flags(), shape))
        for name in self.fitted_values["covariates"]:
            inputs.append(np.nan_to_num(panel.covariate(name), nan=0.0))
        past = np.stack([values[:, skipped_columns:] for values in inputs], axis=2)
        return past.astype(np.float32), skipped_columns

    def _category_codes(self, panel: Panel) -> Int64s:
        """Codes of the static features, (n, features); 0 for those that `fit` has not seen."""
        statics, counts = self.fitted_values["statics"], self.fitted_values["codes"]
        codes = np.zeros((len(panel), len(statics)), np.int64)
        for column, (name, count) in enumerate(zip(statics, counts, strict=True)):
            shifted = np.asarray(panel.static_features[name], np.int64) + 1
            codes[:, column] = np.where((shifted > 0) & (shifted < count), shifted, 0)
        return codes

    def _build_network(self) -> GRUNetwork:
        """A network with random weights for the fitted numbers of inputs and features."""
        from batch_predictions.models.demand.kernels.gru_network import GRUNetwork

        values = self.fitted_values
        return GRUNetwork(values["inputs"], values["features"], values["codes"], self.params.hidden)

    def save_state(self, folder: Path) -> None:
        """Writes the scaling and the weights as .npy files."""
        for name, array in self.scaling.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        for number, network in enumerate(self.networks):
            save_weights(network, folder, f"net_{number}.")

    def load_state(self, folder: Path) -> None:
        """Reads the scaling and the weights."""
        self.scaling = {
            name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in SCALING
        }
        self.networks = []
        for number in range(self.params.nets):
            network = self._build_network()
            load_weights(network, folder, f"net_{number}.")
            self.networks.append(network)


def _numeric_features(matrix: FeatureMatrix, panel: Panel) -> Floats:
    """A copy of the features without the static ones, which the network embeds by code."""
    columns = [
        column for column, name in enumerate(matrix.names) if name not in panel.static_features
    ]
    return np.asarray(matrix.features[..., columns])

"""LightGBM on all series: one Tweedie model forecasts every step of the horizon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.demand.base import Forecaster, ForecasterParams, clip_forecasts
from batch_predictions.models.demand.data.demand_features import FeatureMatrix, build_features
from batch_predictions.models.demand.data.panel import Panel

TREES_FILE = "trees.txt"
CHUNK_SERIES = 2000
"""Series whose features are computed at a time."""
MAX_TRAINING_ROWS = 400_000
"""Rows of training data; with more of them, only every k-th series is used."""
MAX_TRAINING_COLUMNS = 730
"""Newest columns from which origins are taken."""
LIGHTGBM_PREFIX = "lgb_"
LIGHTGBM_DEFAULTS = {
    "objective": "tweedie",
    "tweedie_variance_power": 1.2,
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "cat_smooth": 50,
    "lambda_l2": 1.0,
    "max_bin": 127,
}
LIGHTGBM_FIXED = {
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
"""Parameters that make equal data give equal trees."""


@dataclass(frozen=True)
class GBDTForecasterParams(ForecasterParams):
    """Parameters of the forecaster `GBDTForecaster`.

    Attributes:
        horizon: steps that are learned; None: two seasons.
        every: columns between the origins of the training data.
        least_seasons: seasons before the first origin.
        half_life: age in columns at which an origin has half the weight of the newest one.
        rounds: boosting rounds.
        seed: seed of LightGBM.
        lightgbm: further parameters of LightGBM by name; in settings also as `lgb_<name>`.
    """

    horizon: int | None = None
    every: int = 5
    least_seasons: int = 6
    half_life: float = 180.0
    rounds: int = 200
    seed: int = 0
    lightgbm: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def names(cls) -> list[str]:
        """Names of the parameters, and the pattern of LightGBM's."""
        return [*super().names(), f"{LIGHTGBM_PREFIX}*"]

    @classmethod
    def accepts(cls, name: str) -> bool:
        """Returns whether a name is a parameter: of this class, or `lgb_` and one of LightGBM's."""
        return super().accepts(name) or name.startswith(LIGHTGBM_PREFIX)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Parameters by name; `lgb_<name>` sets a parameter of LightGBM."""
        lightgbm = dict(values.get("lightgbm", {}))
        plain: dict[str, object] = {}
        for name, value in values.items():
            if name.startswith(LIGHTGBM_PREFIX):
                lightgbm[name.removeprefix(LIGHTGBM_PREFIX)] = value
            else:
                plain[name] = value
        return super().from_mapping({**plain, "lightgbm": lightgbm})

    def to_mapping(self) -> dict[str, object]:
        """Values that differ from the defaults; LightGBM's as `lgb_<name>`."""
        values = super().to_mapping()
        lightgbm = values.pop("lightgbm", {})
        return {**values, **{LIGHTGBM_PREFIX + name: value for name, value in lightgbm.items()}}


class GBDTForecaster(Forecaster):
    """Forecast = level of the last four seasons × exp(sum of trees)."""

    kind: ClassVar[str] = "lightgbm"
    params_class: ClassVar[type[ForecasterParams]] = GBDTForecasterParams
    params: GBDTForecasterParams

    def __init__(
        self, params: GBDTForecasterParams | None = None, *, name: str | None = None
    ) -> None:
        super().__init__(params, name=name)
        self.booster: Any = None

    def fit(self, panel: Panel) -> Self:
        """Learns from past origins, weighted by their age."""
        import lightgbm as lgb

        horizon = self.params.horizon or 2 * panel.period
        origins = self._training_origins(panel, horizon)
        stride = max(1, round(len(panel) * len(origins) * horizon / MAX_TRAINING_ROWS))
        panel = panel.take(np.arange(0, len(panel), stride)) if len(panel) > stride else panel
        matrix = build_features(panel, origins, horizon)
        is_known = np.isfinite(matrix.targets)
        shape = matrix.targets.shape
        log_level = np.broadcast_to(np.log(matrix.level)[:, :, None], shape)
        age = panel.n_columns - np.asarray(origins, float)
        weights = np.broadcast_to((0.5 ** (age / self.params.half_life))[None, :, None], shape)
        data = lgb.Dataset(
            matrix.features[is_known],
            matrix.targets[is_known],
            weight=weights[is_known],
            init_score=log_level[is_known],
            feature_name=list(matrix.names),
            categorical_feature=sorted(panel.static_features),
            free_raw_data=True,
        )
        lightgbm_params = {
            **LIGHTGBM_DEFAULTS,
            **self.params.lightgbm,
            "seed": self.params.seed,
            **LIGHTGBM_FIXED,
        }
        self.booster = lgb.train(lightgbm_params, data, self.params.rounds)
        return self

    def _training_origins(self, panel: Panel, horizon: int) -> list[int]:
        """Origins from the newest back; at least one, also where the panel is short."""
        newest = panel.n_columns - horizon
        oldest = max(
            self.params.least_seasons * panel.period, panel.n_columns - MAX_TRAINING_COLUMNS
        )
        return list(range(newest, oldest, -self.params.every)) or [max(newest, 1)]

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """Forecasts from the features at the end of the panel."""
        forecasts = np.empty((len(panel), horizon))
        for start in range(0, len(panel), CHUNK_SERIES):
            rows = np.arange(start, min(start + CHUNK_SERIES, len(panel)))
            matrix = build_features(panel.take(rows), [panel.n_columns], horizon)
            forecasts[rows] = self._predict(matrix)
        return clip_forecasts(forecasts)

    def _predict(self, matrix: FeatureMatrix) -> Doubles:
        """Forecasts of one origin, (n, horizon)."""
        n, _, horizon, n_features = matrix.features.shape
        rows = matrix.features.reshape(-1, n_features)
        scores = self.booster.predict(rows, raw_score=True, num_threads=1).reshape(n, horizon)
        return np.asarray(matrix.level * np.exp(scores))

    def save_state(self, folder: Path) -> None:
        """Writes the trees in LightGBM's text format."""
        (folder / TREES_FILE).write_text(self.booster.model_to_string())

    def load_state(self, folder: Path) -> None:
        """Reads the trees from LightGBM's text file in a folder."""
        import lightgbm as lgb

        self.booster = lgb.Booster(model_str=(folder / TREES_FILE).read_text())

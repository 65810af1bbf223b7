"""One LightGBM for all series: Tweedie, every step of the horizon from the same trees."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from batch_predictions.models.demand.base import Forecaster, impute
from batch_predictions.models.demand.features import FeatureMatrix, build_features
from batch_predictions.models.demand.panel import Doubles, Panel

FILE = "trees.txt"
PART = 2000
"""Series whose rows are made at once."""
ROWS = 400_000
"""Rows that are learned from, at most; series and origins are thinned evenly."""


class GBDTForecaster(Forecaster):
    """Forecast = recent level × exp(sum of trees)."""

    kind: ClassVar[str] = "lightgbm"

    def __init__(self, name: str | None = None, **params: Any) -> None:
        super().__init__(name, **params)
        self.booster: Any = None

    def fit(self, panel: Panel) -> Self:
        """Learns from past origins, `every` columns apart, of the last `seasons`."""
        import lightgbm as lgb

        horizon = int(self.params.setdefault("horizon", 2 * panel.period))
        every = int(self.params.get("every", 5))
        first = max(int(self.params.get("least_seasons", 6)) * panel.period, panel.columns - 730)
        origins = list(range(panel.columns - horizon, first, -every)) or [
            max(panel.columns - horizon, 1)
        ]
        thin = max(1, round(len(panel) * len(origins) * horizon / ROWS))
        panel = panel.take(np.arange(0, len(panel), thin)) if len(panel) > thin else panel
        made = build_features(panel, origins, horizon)
        use = np.isfinite(made.targets)
        offsets = np.broadcast_to(np.log(made.level)[:, :, None], made.targets.shape)
        age = panel.columns - np.asarray(origins, float)
        half_life = float(self.params.get("half_life", 180.0))
        weights = np.broadcast_to(0.5 ** (age / half_life)[None, :, None], made.targets.shape)
        seed = int(self.params.get("seed", 7))
        data = lgb.Dataset(
            made.features[use],
            made.targets[use],
            weight=weights[use],
            init_score=offsets[use],
            feature_name=list(made.names),
            categorical_feature=sorted(panel.static),
            free_raw_data=True,
        )
        options = {
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
            **{k[4:]: v for k, v in self.params.items() if k.startswith("lgb_")},
            "seed": seed,
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        self.booster = lgb.train(options, data, int(self.params.get("rounds", 200)))
        return self

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """From the newest origin."""
        found = np.empty((len(panel), horizon))
        for start in range(0, len(panel), PART):
            rows = np.arange(start, min(start + PART, len(panel)))
            found[rows] = self._of(build_features(panel.take(rows), [panel.columns], horizon))
        return impute(found)

    def _of(self, made: FeatureMatrix) -> Doubles:
        n, _, horizon, width = made.features.shape
        flat = made.features.reshape(-1, width)
        raw = self.booster.predict(flat, raw_score=True, num_threads=1).reshape(n, horizon)
        return np.asarray(made.level * np.exp(raw))

    def _write(self, folder: Path) -> None:
        (folder / FILE).write_text(self.booster.model_to_string())

    def _read(self, folder: Path) -> None:
        import lightgbm as lgb

        self.booster = lgb.Booster(model_str=(folder / FILE).read_text())

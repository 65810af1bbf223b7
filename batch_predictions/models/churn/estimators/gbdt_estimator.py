"""LightGBM: the mean of several models that differ in the rows and features they sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.churn.base import (
    ChurnEstimator,
    ChurnEstimatorSpec,
    FitInputs,
    read_manifest,
)
from batch_predictions.models.churn.data.churn_examples import Examples
from batch_predictions.models.churn.data.churn_features import ALL_COLUMNS, ChurnFeatures
from batch_predictions.models.churn.estimators.average import AverageEstimator
from batch_predictions.models.forest.quickscorer import Rows, build_predictor

FIXED_LIGHTGBM_PARAMS: dict[str, object] = {
    "objective": "binary",
    "verbose": -1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
}
MIN_LEAVES = 50
"""With few rows, `min_data_in_leaf` is lowered until this many leaves have enough rows …"""
MIN_ROWS_IN_LEAF = 5
"""… but not below this number."""


@dataclass(frozen=True)
class LightGBMParams:
    """LightGBM's parameters, under LightGBM's names; the defaults suit some thousands of rows."""

    learning_rate: float = 0.05
    num_leaves: int = 7
    min_data_in_leaf: int = 100
    feature_fraction: float = 0.5
    bagging_fraction: float = 0.7
    bagging_freq: int = 1
    lambda_l2: float = 10.0


@dataclass(frozen=True)
class GBDTParams:
    """Parameters of the candidate `lightgbm`.

    Attributes:
        rounds: boosting rounds of each model.
        n_models: models that are averaged. The ranking of a single one depends on its sample.
        lightgbm: parameters of each model.
    """

    rounds: int = 150
    n_models: int = 5
    lightgbm: LightGBMParams = field(default_factory=LightGBMParams)


@dataclass(frozen=True)
class GBDTEstimator(ChurnEstimator):
    """One LightGBM model of all features; an unknown value is a missing value of LightGBM's.

    Attributes:
        features: the features, not logged.
        text: the model in LightGBM's text format.
    """

    kind: ClassVar[str] = "trees"
    features: ChurnFeatures
    text: str

    @classmethod
    def fit(cls, examples: Examples, params: GBDTParams, seed: int) -> Self:
        """Fits one model; `seed` decides which rows and features its trees sample."""
        import lightgbm

        features = ChurnFeatures.fit(ALL_COLUMNS, examples.rows)
        rows_in_leaf = min(params.lightgbm.min_data_in_leaf, len(examples) // MIN_LEAVES)
        lightgbm_params = {
            **FIXED_LIGHTGBM_PARAMS,
            **asdict(params.lightgbm),
            "min_data_in_leaf": max(MIN_ROWS_IN_LEAF, rows_in_leaf),
            "seed": seed,
        }
        dataset = lightgbm.Dataset(
            features.transform(examples.rows),
            examples.churned,
            feature_name=_lightgbm_names(features.names),
        )
        booster = lightgbm.train(lightgbm_params, dataset, params.rounds)
        return cls(features, booster.model_to_string())

    @cached_property
    def _predict(self) -> Callable[[Rows], Doubles]:
        return build_predictor(self.text)

    def decision_function(self, rows: pa.Table | pa.RecordBatch) -> Doubles:
        """Returns LightGBM's raw scores, which are log-odds, (rows,)."""
        matrix = self.features.transform(rows)
        if not len(matrix):
            return np.zeros(0)
        return self._predict(matrix)

    def save(self, folder: Path, name: str) -> None:
        """Writes `<name>.json` with the features and `<name>.txt` with LightGBM's text."""
        self.write_manifest(
            folder, name, columns=self.features.columns, genders=self.features.genders
        )
        (folder / f"{name}.txt").write_text(self.text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Reads what `save` wrote."""
        manifest = read_manifest(folder, name)
        text = (folder / f"{name}.txt").read_text("utf-8")
        features = ChurnFeatures(tuple(manifest["columns"]), tuple(manifest["genders"]))
        return cls(features, text)


def fit_lightgbm(inputs: FitInputs, params: GBDTParams) -> AverageEstimator:
    """The mean of `n_models` models, fitted with consecutive seeds."""
    seeds = range(inputs.seed, inputs.seed + params.n_models)
    return AverageEstimator(
        tuple(GBDTEstimator.fit(inputs.examples, params, seed) for seed in seeds)
    )


def _lightgbm_names(names: list[str]) -> list[str]:
    """Names with `_` in place of characters that LightGBM's text format does not allow."""
    return ["".join(c if c.isalnum() or c in "_=" else "_" for c in name) for name in names]


lightgbm_average = ChurnEstimatorSpec("lightgbm", fit_lightgbm, GBDTParams(), order=40)

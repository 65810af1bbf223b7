"""What orders customers: margins (log-odds before calibration) of linear models and of trees.

A row's margin has the same bits whatever rows come with it: linear models add columns one by one,
trees go row by row.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import pyarrow as pa

from batch_predictions.models.churn.features import EVERYTHING, ChurnFeatures, Doubles
from batch_predictions.models.forest.quickscorer import Rows, predictor


class ChurnEstimator(Protocol):
    """A fitted model, before calibration."""

    def margins(self, rows: pa.Table | pa.RecordBatch) -> Doubles:
        """One number a row; the higher, the likelier to churn."""
        ...

    def save(self, folder: Path, name: str) -> None:
        """Writes files whose names begin with `name`."""
        ...


@dataclass(frozen=True)
class LogisticEstimator:
    """Logistic regression over standardised columns; unknown values count as the median."""

    kind: ClassVar[str] = "logistic"
    design: ChurnFeatures
    medians: Doubles
    means: Doubles
    scales: Doubles
    weights: Doubles
    intercept: float

    @classmethod
    def fit(
        cls, rows: pa.Table, churned: Doubles, columns: tuple[str, ...], strength: float
    ) -> Self:
        """Fits with an L2 penalty of inverse `strength`."""
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        design = ChurnFeatures.of(columns, rows)
        matrix = design.logged(design.matrix(rows))
        there = ~np.isnan(matrix).all(axis=0)
        medians = np.zeros(matrix.shape[1])
        medians[there] = np.nanmedian(matrix[:, there], axis=0)
        matrix = np.where(np.isnan(matrix), medians, matrix)
        means, scales = matrix.mean(axis=0), matrix.std(axis=0)
        scales = np.where(scales > 0, scales, 1.0)
        with threadpool_limits(1):
            fitted = LogisticRegression(C=strength, max_iter=2000, tol=1e-6).fit(
                (matrix - means) / scales, churned
            )
        weights = np.asarray(fitted.coef_[0], np.float64)
        return cls(design, medians, means, scales, weights, float(fitted.intercept_[0]))

    def margins(self, rows: pa.Table | pa.RecordBatch) -> Doubles:
        """Intercept and weighted columns, added one by one."""
        matrix = self.design.logged(self.design.matrix(rows))
        out = np.full(matrix.shape[0], self.intercept)
        for n in range(matrix.shape[1]):
            column = np.where(np.isnan(matrix[:, n]), self.medians[n], matrix[:, n])
            out += (column - self.means[n]) / self.scales[n] * self.weights[n]
        return out

    def save(self, folder: Path, name: str) -> None:
        """`<name>.json` with the columns, `<name>.npy` with their numbers."""
        about = {
            "kind": self.kind,
            "columns": self.design.columns,
            "genders": self.design.genders,
            "intercept": self.intercept,
            "rows": ["median", "mean", "scale", "weight"],
        }
        (folder / f"{name}.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
        numbers = np.stack([self.medians, self.means, self.scales, self.weights])
        np.save(folder / f"{name}.npy", numbers, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Reads what `save` wrote."""
        about = json.loads((folder / f"{name}.json").read_text("utf-8"))
        numbers = np.load(folder / f"{name}.npy", allow_pickle=False)
        design = ChurnFeatures(tuple(about["columns"]), tuple(about["genders"]))
        medians, means, scales, weights = numbers
        return cls(design, medians, means, scales, weights, about["intercept"])


TREES: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 7,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "verbose": -1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
}
ROUNDS = 150
SEEDS = 5
"""Samplings of rows and columns whose margins are averaged: one forest's order is partly luck."""


@dataclass(frozen=True)
class GBDTEstimator:
    """LightGBM, as its text, over the numbers as they are; unknown values are its own branch."""

    kind: ClassVar[str] = "trees"
    design: ChurnFeatures
    text: str

    @classmethod
    def fit(cls, rows: pa.Table, churned: Doubles, seed: int) -> Self:
        """Small trees, many of them: some thousands of rows bear no more."""
        import lightgbm

        design = ChurnFeatures.of(EVERYTHING, rows)
        least = max(5, min(TREES["min_data_in_leaf"], len(churned) // 50))
        data = lightgbm.Dataset(design.matrix(rows), churned, feature_name=_safe(design.names))
        chosen = {**TREES, "min_data_in_leaf": least, "seed": seed}
        return cls(design, lightgbm.train(chosen, data, ROUNDS).model_to_string())

    @cached_property
    def _margins(self) -> Callable[[Rows], Doubles]:
        return predictor(self.text)

    def margins(self, rows: pa.Table | pa.RecordBatch) -> Doubles:
        """Log-odds of the trees."""
        matrix = self.design.matrix(rows)
        if not len(matrix):
            return np.zeros(0)
        return self._margins(matrix)

    def save(self, folder: Path, name: str) -> None:
        """`<name>.json` with the columns, `<name>.txt` in LightGBM's own text."""
        about = {
            "kind": self.kind,
            "columns": self.design.columns,
            "genders": self.design.genders,
        }
        (folder / f"{name}.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
        (folder / f"{name}.txt").write_text(self.text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Reads what `save` wrote."""
        about = json.loads((folder / f"{name}.json").read_text("utf-8"))
        text = (folder / f"{name}.txt").read_text("utf-8")
        design = ChurnFeatures(tuple(about["columns"]), tuple(about["genders"]))
        return cls(design, text)


@dataclass(frozen=True)
class AverageEstimator:
    """The mean margin of several models."""

    kind: ClassVar[str] = "average"
    parts: tuple[ChurnEstimator, ...]

    def margins(self, rows: pa.Table | pa.RecordBatch) -> Doubles:
        """The parts' margins, added in their order."""
        out = np.zeros(rows.num_rows)
        for part in self.parts:
            out += part.margins(rows)
        return out / len(self.parts)

    def save(self, folder: Path, name: str) -> None:
        """`<name>.json` with the number of parts, and their files."""
        about = {"kind": self.kind, "parts": len(self.parts)}
        (folder / f"{name}.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
        for n, part in enumerate(self.parts):
            part.save(folder, f"{name}-{n}")

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Reads what `save` wrote."""
        parts = json.loads((folder / f"{name}.json").read_text("utf-8"))["parts"]
        return cls(tuple(load_estimator(folder, f"{name}-{n}") for n in range(parts)))


def forests(rows: pa.Table, churned: Doubles, seed: int) -> AverageEstimator:
    """The mean of `SEEDS` forests that differ in what they sampled."""
    return AverageEstimator(tuple(GBDTEstimator.fit(rows, churned, seed + n) for n in range(SEEDS)))


def load_estimator(folder: Path, name: str) -> ChurnEstimator:
    """A model of whatever kind."""
    kind = json.loads((folder / f"{name}.json").read_text("utf-8"))["kind"]
    kinds: dict[str, type[LogisticEstimator] | type[GBDTEstimator] | type[AverageEstimator]] = {
        each.kind: each for each in (LogisticEstimator, GBDTEstimator, AverageEstimator)
    }
    return kinds[kind].load(folder, name)


def _safe(names: list[str]) -> list[str]:
    """LightGBM's text takes no such characters in names."""
    return ["".join(c if c.isalnum() or c in "_=" else "_" for c in name) for name in names]

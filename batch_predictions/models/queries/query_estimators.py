"""Estimators of predictive queries: gradient-boosted trees, linear models, and one column alone.

Estimators of means predict values, all others predict log-odds, which are calibrated later. Those
of the time to the first event predict the log-odds of the event in each interval of the window if
it has not happened before (discrete-time hazards; Singer and Willett 1993, "It's About Time"): the
number of the interval is the last column of their matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.forest.quickscorer import build_predictors

Objective = Literal["regression", "tweedie", "binary", "quantile"]
MAX_ROUNDS = 400
STOPPING_ROUNDS = 30
"""Boosting ends when the later examples have not gained for this many rounds."""
N_SEEDS = 3
"""Models that are averaged: the sampling of one decides part of its predictions."""
TREE_PARAMS = {
    "learning_rate": 0.05,
    "num_leaves": 15,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "tweedie_variance_power": 1.5,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbose": -1,
}
MIN_OFFSET_SHARE = 0.01
"""Share of the mean that offsets are not below."""
MAX_LOG_MEAN = 30.0
"""Largest logarithm of a mean that trees may predict."""


@dataclass(frozen=True, eq=False)
class ExampleMatrix:
    """Features and targets.

    Attributes:
        features: (n, features); nan where unknown.
        target: (n,).
        names: of the features.
    """

    features: Doubles
    target: Doubles
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True)
class TreeEstimator:
    """The mean of several LightGBM models, scored by the platform's own engine.

    Attributes:
        texts: the models in LightGBM's text format.
        offset: predicts means, which the trees multiply by the exponential of their score; None:
            the trees predict means or log-odds themselves.
        gains: share of each feature in the gain of all splits, (features,).
    """

    kind: ClassVar[str] = "trees"
    texts: tuple[str, ...]
    offset: LinearEstimator | None = None
    gains: tuple[float, ...] = ()

    @classmethod
    def fit(
        cls,
        fitted: ExampleMatrix,
        later: ExampleMatrix | None,
        objective: Objective,
        seed: int,
        *,
        n_seeds: int = N_SEEDS,
        alpha: float = 0.5,
        offset: LinearEstimator | None = None,
    ) -> TreeEstimator:
        """Fits trees; later examples decide how many.

        Args:
            fitted: examples that the trees are fitted on.
            later: examples of a later day; None: 150 rounds.
            objective: LightGBM's.
            seed: of the first model; the others have the following ones.
            n_seeds: number of models.
            alpha: the quantile, 0 to 1, with the objective `quantile`.
            offset: what the trees correct, with the objective `tweedie`.
        """
        import lightgbm

        def dataset(examples: ExampleMatrix, **options: Any) -> lightgbm.Dataset:
            start = None if offset is None else log_means(offset, examples.features)
            return lightgbm.Dataset(examples.features, examples.target, init_score=start, **options)

        names = [f"f{number}" for number in range(fitted.features.shape[1])]
        leaf = max(5, min(100, len(fitted) // 50))
        texts, gains = [], np.zeros(len(names))
        for number in range(n_seeds):
            train = dataset(fitted, feature_name=names)
            options: dict[str, Any] = {"num_boost_round": 150}
            if later is not None:
                valid = dataset(later, reference=train)
                stop = lightgbm.early_stopping(STOPPING_ROUNDS, verbose=False)
                options = {"num_boost_round": MAX_ROUNDS, "valid_sets": [valid]}
                options["callbacks"] = [stop]
            params = {
                **TREE_PARAMS,
                "objective": objective,
                "alpha": alpha,
                "min_data_in_leaf": leaf,
                "seed": seed + number,
            }
            booster = lightgbm.train(params, train, **options)
            gains += booster.feature_importance("gain", iteration=booster.best_iteration or None)
            texts.append(booster.model_to_string(num_iteration=booster.best_iteration or None))
        shares = gains / (gains.sum() or 1.0)
        return cls(tuple(texts), offset, tuple(map(float, shares)))

    @cached_property
    def _predict(self) -> Callable[[Doubles], Doubles]:
        return build_predictors(self.texts)

    def predict(self, features: Doubles) -> Doubles:
        """Means or log-odds, (n,)."""
        if not len(features):
            return np.zeros(0)
        raw = np.asarray(self._predict(features).mean(axis=0), np.float64)
        if self.offset is None:
            return raw
        return np.exp(np.minimum(raw + log_means(self.offset, features), MAX_LOG_MEAN))

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        offset = self.offset and self.offset.to_json()
        return {"texts": self.texts, "offset": offset, "gains": self.gains}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TreeEstimator:
        """Reads what `to_json` returned."""
        offset = values["offset"] and LinearEstimator.from_json(values["offset"])
        return cls(tuple(values["texts"]), offset, tuple(values["gains"]))


@dataclass(frozen=True)
class LinearEstimator:
    """A ridge regression, or a logistic regression of log(1 + x), of a few columns.

    Attributes:
        columns: places of the columns in the matrix.
        centers, scales: of the columns, after the transformation.
        coefficients: of the standardised columns, then of each interval but the first.
        intercept: the mean, or the log-odds, at the centers.
        is_logistic: whether it predicts log-odds.
        intervals: number of intervals of the last column of the matrix; 0 where there is none.
        bounds: smallest and largest value of each column while fitting, which others are clipped
            to.
    """

    kind: ClassVar[str] = "linear"
    columns: tuple[int, ...]
    centers: tuple[float, ...]
    scales: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float
    is_logistic: bool
    intervals: int = 0
    bounds: tuple[tuple[float, float], ...] = ()

    @classmethod
    def fit(
        cls,
        examples: ExampleMatrix,
        columns: Sequence[int],
        *,
        is_logistic: bool,
        intervals: int = 0,
    ) -> LinearEstimator:
        """Fits the coefficients; unknown values count as the mean of a column."""
        values = _transform(examples.features[:, list(columns)], is_logistic)
        known = np.isfinite(values)
        counts = np.maximum(known.sum(axis=0), 1)
        centers = np.where(known, values, 0).sum(axis=0) / counts
        deviations = np.where(known, values - centers, 0.0)
        scales = np.sqrt((deviations**2).sum(axis=0) / counts)
        scales[scales == 0] = 1.0
        bounds = [(float(c.min()), float(c.max())) for c in (deviations / scales).T]
        design = np.column_stack(
            [deviations / scales, _interval_columns(examples.features, intervals)]
        )
        if is_logistic:
            coefficients, intercept = _fit_logistic(design, examples.target)
        else:
            intercept = float(examples.target.mean())
            gram = design.T @ design + 1e-3 * len(design) * np.eye(design.shape[1])
            coefficients = np.linalg.solve(gram, design.T @ (examples.target - intercept))
        return cls(
            columns=tuple(columns),
            centers=tuple(map(float, centers)),
            scales=tuple(map(float, scales)),
            coefficients=tuple(map(float, coefficients)),
            intercept=float(intercept),
            is_logistic=is_logistic,
            intervals=intervals,
            bounds=tuple(bounds),
        )

    def predict(self, features: Doubles) -> Doubles:
        """Means or log-odds, (n,)."""
        values = _transform(features[:, list(self.columns)], self.is_logistic)
        deviations = (values - np.array(self.centers)) / np.array(self.scales)
        low, high = np.array(self.bounds).reshape(-1, 2).T
        design = np.clip(np.where(np.isfinite(deviations), deviations, 0.0), low, high)
        design = np.column_stack([design, _interval_columns(features, self.intervals)])
        total = np.full(len(design), self.intercept)
        for column, coefficient in zip(design.T, self.coefficients, strict=True):
            total += column * coefficient  # Column by column: equal to the bit in any batch.
        return total

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LinearEstimator:
        """Reads what `to_json` returned."""
        read: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**read)


@dataclass(frozen=True)
class ColumnEstimator:
    """One column as the prediction: what happened before happens again.

    Attributes:
        column: place of the column in the matrix.
        missing: prediction where the column is unknown.
    """

    kind: ClassVar[str] = "column"
    column: int
    missing: float

    def predict(self, features: Doubles) -> Doubles:
        """The column, (n,)."""
        values = features[:, self.column]
        return np.where(np.isfinite(values), values, self.missing)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ColumnEstimator:
        """Reads what `to_json` returned."""
        return cls(**values)


@dataclass(frozen=True)
class AverageOfEstimators:
    """The mean of what several estimators predict.

    Attributes:
        members: the estimators.
    """

    kind: ClassVar[str] = "average"
    members: tuple[QueryEstimator, ...]

    def predict(self, features: Doubles) -> Doubles:
        """The mean, (n,)."""
        total = np.zeros(len(features))
        for member in self.members:
            total += member.predict(features)
        return total / len(self.members)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"members": [estimator_to_json(member) for member in self.members]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> AverageOfEstimators:
        """Reads what `to_json` returned."""
        return cls(tuple(estimator_from_json(member) for member in values["members"]))


QueryEstimator: TypeAlias = TreeEstimator | LinearEstimator | ColumnEstimator | AverageOfEstimators
_CLASSES: dict[str, type[QueryEstimator]] = {
    cls.kind: cls for cls in (TreeEstimator, LinearEstimator, ColumnEstimator, AverageOfEstimators)
}


def estimator_to_json(estimator: QueryEstimator) -> dict[str, Any]:
    """JSON values of any estimator, with its kind."""
    return {"kind": estimator.kind, **estimator.to_json()}


def estimator_from_json(values: Mapping[str, Any]) -> QueryEstimator:
    """Reads what `estimator_to_json` returned."""
    inner = {key: value for key, value in values.items() if key != "kind"}
    return _CLASSES[values["kind"]].from_json(inner)


def trees_in(estimator: QueryEstimator | None) -> TreeEstimator | None:
    """The trees of an estimator, or of its members; None without any."""
    members = estimator.members if isinstance(estimator, AverageOfEstimators) else (estimator,)
    return next((member for member in members if isinstance(member, TreeEstimator)), None)


@dataclass(frozen=True)
class QueryCandidate:
    """A candidate or a baseline of a training.

    Attributes:
        name: in `evaluation.model_metrics`.
        fit: fits it on examples, with those of a later day.
        is_baseline: whether candidates must beat it.
    """

    name: str
    fit: Callable[[ExampleMatrix, ExampleMatrix], QueryEstimator]
    is_baseline: bool = field(default=False)


def log_means(offset: LinearEstimator, features: Doubles) -> Doubles:
    """Logarithms of the offset's means, none of them smaller than a hundredth of its center's."""
    floor = max(MIN_OFFSET_SHARE * offset.intercept, 1e-12)
    return np.log(np.maximum(offset.predict(features), floor))


def _transform(values: Doubles, is_logistic: bool) -> Doubles:
    return np.sign(values) * np.log1p(np.abs(values)) if is_logistic else values


def _interval_columns(features: Doubles, intervals: int) -> Doubles:
    """Indicators of each interval but the first, (n, intervals - 1)."""
    if not intervals:
        return np.zeros((len(features), 0))
    return (features[:, -1:] == np.arange(1, intervals)).astype(np.float64)


def _fit_logistic(design: Doubles, outcomes: Doubles) -> tuple[Doubles, float]:
    """Coefficients and intercept, by Newton's method with a small ridge."""
    n, width = design.shape
    design = np.column_stack([design, np.ones(n)])
    rate = np.clip(outcomes.mean(), 1e-6, 1 - 1e-6)
    beta = np.zeros(width + 1)
    beta[-1] = np.log(rate / (1 - rate))
    ridge = np.diag([*([1.0] * width), 1e-6])
    for _ in range(30):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (p - outcomes) + ridge @ beta
        hessian = (design * (p * (1 - p))[:, None]).T @ design + ridge
        step = np.linalg.solve(hessian, gradient)
        beta -= step
        if np.abs(step).max() < 1e-8:
            break
    return beta[:-1], float(beta[-1])

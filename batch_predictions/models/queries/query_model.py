"""The model of a predictive query that serves, stored as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Doubles, Int32s
from batch_predictions.models.common.calibration import PlattCalibration
from batch_predictions.models.forest.banzhaf import build_banzhaf_explainer
from batch_predictions.models.queries.feature_encoder import FeatureEncoder
from batch_predictions.models.queries.first_events import event_days, interval_ends, survival
from batch_predictions.models.queries.linear_estimators import (
    ExampleMatrix,
    LinearEstimator,
    log_means,
)
from batch_predictions.models.queries.query_estimators import (
    QueryEstimator,
    estimator_from_json,
    estimator_to_json,
    trees_in,
)
from batch_predictions.models.queries.tree_estimator import TreeEstimator
from batch_predictions.settings.predictive_query import PredictiveQuery

MODEL_FILE = "query.json"
SHOWN_REASONS = 2
COVERAGE = 0.8
"""Share of values that are within their intervals."""


@dataclass(frozen=True)
class PredictionInterval:
    """An 80 % interval: two quantile models, moved so that it contains 80 % of later values.

    Conformalized quantile regression (Romano, Patterson and Candès 2019). Values of 0 or more are
    divided by what a simple estimator expects, since trees alone cannot go beyond what they saw.

    Attributes:
        lower, upper: models of the 10 % and the 90 % quantile.
        shift: by which both ends are moved outwards; negative: inwards.
        offset: expects the values by which these are multiplied; None: by 1.
    """

    lower: TreeEstimator
    upper: TreeEstimator
    shift: float
    offset: LinearEstimator | None

    @classmethod
    def fit(
        cls,
        fitted: ExampleMatrix,
        later: ExampleMatrix,
        offset: LinearEstimator | None,
        seed: int,
    ) -> PredictionInterval:
        """Fits the quantiles on examples, and the shift on those of a later day.

        Args:
            fitted, later: examples.
            offset: see the class.
            seed: of the trees.
        """
        target = fitted.target / _scale(offset, fitted.features)
        scaled = ExampleMatrix(fitted.features, target)
        lower, upper = (
            TreeEstimator.fit(scaled, None, "quantile", seed, n_seeds=1, alpha=alpha)
            for alpha in (0.1, 0.9)
        )
        seen = later.target / _scale(offset, later.features)
        excess = np.maximum(
            lower.predict(later.features) - seen, seen - upper.predict(later.features)
        )
        level = min(1.0, COVERAGE * (1 + 1 / len(later)))
        return cls(lower, upper, float(np.quantile(excess, level)), offset)

    def predict(self, features: Doubles) -> tuple[Doubles, Doubles]:
        """Lower and upper ends, (n,) each; with an offset, 0 or more."""
        scale = _scale(self.offset, features)
        lower = (self.lower.predict(features) - self.shift) * scale
        upper = np.maximum((self.upper.predict(features) + self.shift) * scale, lower)
        if self.offset is not None:
            lower, upper = np.maximum(lower, 0.0), np.maximum(upper, 0.0)
        return lower, upper

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "lower": self.lower.to_json(),
            "upper": self.upper.to_json(),
            "shift": self.shift,
            "offset": self.offset and self.offset.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PredictionInterval:
        """Reads what `to_json` returned."""
        lower, upper = (TreeEstimator.from_json(values[end]) for end in ("lower", "upper"))
        offset = values["offset"] and LinearEstimator.from_json(values["offset"])
        return cls(lower, upper, values["shift"], offset)


@dataclass(frozen=True)
class QueryModel:
    """Predicts what a query asks for, of rows of the entities' history.

    Attributes:
        query: what is predicted.
        encoder: the features.
        estimator: predicts means or log-odds; None where there was too little data.
        calibration: of log-odds to probabilities; None for means.
        floor: smallest value that is possible; None: any.
        interval: of means; None for other tasks.
        words: of the features, in reasons.
        unserved_reason: why there is no estimator; None where there is one.
    """

    query: PredictiveQuery
    encoder: FeatureEncoder = field(default_factory=lambda: FeatureEncoder(()))
    estimator: QueryEstimator | None = None
    calibration: PlattCalibration | None = None
    floor: float | None = None
    interval: PredictionInterval | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    unserved_reason: str | None = None

    @property
    def interval_ends(self) -> Int32s:
        """Last day of each interval of the time to the first event."""
        return interval_ends(self.query.days)

    def means(self, features: Doubles) -> Doubles:
        """Expected values, (n,)."""
        assert self.estimator is not None
        values = self.estimator.predict(features)
        return values if self.floor is None else np.maximum(values, self.floor)

    def probabilities(self, features: Doubles) -> Doubles:
        """Calibrated probabilities, (n,); of first events, hazards of an interval."""
        assert self.estimator is not None and self.calibration is not None
        return self.calibration.probabilities(self.estimator.predict(features))

    def survival(self, features: Doubles) -> Doubles:
        """Probability that no event has come by the end of each interval, (n, intervals)."""
        return survival(self.probabilities, features, len(self.interval_ends))

    def predict(self, rows: pa.Table | pa.RecordBatch) -> dict[str, Doubles]:
        """The columns of the predictions by name, without reasons, (n,) each; nan: not known."""
        features = self.encoder.transform(rows)
        task = self.query.target.task
        if task == "mean":
            columns = {"value": self.means(features)}
            if self.interval is not None:
                lower, upper = self.interval.predict(features)
                columns["lower"] = np.minimum(lower, columns["value"])
                columns["upper"] = np.maximum(upper, columns["value"])
            return columns
        if task == "first":
            survived = self.survival(features)
            lower, value, upper = event_days(survived, self.interval_ends).T
            columns = {"probability": 1 - survived[:, -1]}
            return {**columns, "value": value, "lower": lower, "upper": upper}
        return {"probability": self.probabilities(features)}

    @property
    def _trees(self) -> TreeEstimator:
        trees = trees_in(self.estimator)
        assert trees is not None
        return trees

    @cached_property
    def _groups(self) -> tuple[list[str], list[int]]:
        """A representative feature of each group, and the group of each feature.

        Features of one measure are a group: what they say is alike.
        """
        names = self.encoder.names
        gains = dict(zip(names, self._trees.gains, strict=False))
        measures = [self.words.get(name, name).split(" in ")[0] for name in names]
        groups = list(dict.fromkeys(measures))
        best: dict[str, str] = {}
        for name, measure in zip(names, measures, strict=True):
            best[measure] = max(best.get(measure, name), name, key=gains.__getitem__)
        players = [groups.index(measure) for measure in measures]
        extra = len(self._trees.gains) - len(names)
        return [best[group] for group in groups], players + [len(groups)] * extra

    @cached_property
    def _explain(self) -> Any:
        return build_banzhaf_explainer(self._trees.texts[0], self._groups[1])

    def reasons(self, rows: pa.Table | pa.RecordBatch) -> list[str | None]:
        """Why each prediction is high or low: the features that move it most, in words, (n,)."""
        if trees_in(self.estimator) is None or not rows.num_rows:
            return [None] * rows.num_rows
        features = self.encoder.transform(rows)
        matrix = features
        if self.query.target.task == "first":
            matrix = np.column_stack([features, np.zeros(len(features))])
        representatives = self._groups[0]
        places = [self.encoder.names.index(name) for name in representatives]
        effects = self._explain(matrix)[:, : len(representatives)]
        if (offset := self._trees.offset) and offset.columns:
            # What the trees multiply comes first.
            effects = np.column_stack([effects, _certain(offset, features)])
            places.append(offset.columns[0])
        order = np.argsort(-np.abs(effects), axis=1, kind="stable")[:, :SHOWN_REASONS]
        texts = [_value_texts(self.encoder, place, features[:, place]) for place in places]
        words = [self.describe(self.encoder.names[place]) for place in places]
        reasons: list[str | None] = []
        for row, groups in enumerate(order):
            parts = [
                f"{words[group]}: {texts[group][row]} "
                f"({'raises' if effects[row, group] > 0 else 'lowers'} it)"
                for group in groups
                if effects[row, group] != 0
            ]
            reasons.append("; ".join(parts) or None)
        return reasons

    def describe(self, feature: str) -> str:
        """Words of a feature: those of its measure, or the name of an attribute."""
        name = feature.partition("[")[2].rstrip("]") or feature
        return self.words.get(feature, name.replace("_", " "))

    def save(self, folder: Path) -> None:
        """Writes `query.json`."""
        estimator, calibration, interval = self.estimator, self.calibration, self.interval
        content = {
            "query": self.query.model_dump(mode="json"),
            "encoder": self.encoder.to_json(),
            "estimator": estimator and estimator_to_json(estimator),
            "calibration": calibration and [calibration.slope, calibration.intercept],
            "floor": self.floor,
            "interval": interval and interval.to_json(),
            "words": dict(self.words),
            "unserved_reason": self.unserved_reason,
        }
        (folder / MODEL_FILE).write_text(json.dumps(content, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            ValueError: an earlier version of the platform wrote the model.
        """
        path = folder / MODEL_FILE
        if not path.exists():
            raise ValueError(
                f"{folder.name} was trained by an earlier version of the platform: train it again "
                f"with `batch-predictions models train {folder.name.split('-')[0]} --force`"
            )
        content = json.loads(path.read_text("utf-8"))
        estimator, calibration = content["estimator"], content["calibration"]
        interval = content["interval"]
        return cls(
            PredictiveQuery(**content["query"]),
            FeatureEncoder.from_json(content["encoder"]),
            estimator and estimator_from_json(estimator),
            calibration and PlattCalibration(*calibration),
            content["floor"],
            interval and PredictionInterval.from_json(interval),
            content["words"],
            content["unserved_reason"],
        )


def _scale(offset: LinearEstimator | None, features: Doubles) -> Doubles:
    """The scale of each value: what an offset expects, above 0, or 1 without one, (n,)."""
    return np.ones(len(features)) if offset is None else np.exp(log_means(offset, features))


def _certain(offset: LinearEstimator, features: Doubles) -> Doubles:
    """Infinite effects of an offset: above its mean, or below it, (n,)."""
    return np.where(offset.predict(features) >= offset.intercept, np.inf, -np.inf)


def _value_texts(encoder: FeatureEncoder, place: int, values: Doubles) -> list[str]:
    """Values of a feature as people read them, (n,)."""
    number = place - len(encoder.numbers)
    words = encoder.texts[number].values if 0 <= number < len(encoder.texts) else ()
    if words:
        named = (*words, "another")
        return [named[int(value)] if np.isfinite(value) else "unknown" for value in values]
    return [f"{value:,.4g}" if np.isfinite(value) else "unknown" for value in values]

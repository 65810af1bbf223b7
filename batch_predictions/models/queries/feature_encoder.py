"""Turns rows of an entity's history into a matrix of numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.core.arrays import Doubles

MAX_VALUES = 64
"""Values of a text that have a number of their own, the most frequent ones."""
MIN_VALUE_EXAMPLES = 20
"""Examples that have a text at least."""
MIN_VALUE_USERS = 3
"""Users whose examples have a text at least: of pairs, one user has many."""
MAX_ATTRIBUTES = 40
"""Keys of a source's further columns that are read, the most frequent ones."""
WEEKDAY = "weekday"
"""Feature with the weekday of the day of the prediction, 0 for Monday."""


@dataclass(frozen=True)
class TextFeature:
    """A text column, or one key of a map of texts, as a number.

    Attributes:
        column: of the rows.
        key: of the map; None for a column of texts.
        values: texts by falling frequency, whose places are the numbers; empty: the texts are
            numbers themselves.
    """

    column: str
    key: str | None = None
    values: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the feature: the column, with the key in brackets."""
        return self.column if self.key is None else f"{self.column}[{self.key}]"

    def transform(self, rows: pa.Table | pa.RecordBatch) -> Doubles:
        """A number per row, (rows,); nan where the text is not known."""
        texts = _texts(rows, self.column, self.key)
        if self.values:
            codes = pc.index_in(texts, pa.array(self.values)).cast(pa.float64())
            is_other = pc.and_(pc.is_null(codes), pc.is_valid(texts))
            return _numpy(pc.if_else(is_other, float(len(self.values)), codes))
        encoded = texts.dictionary_encode()
        numbers = pa.array([_number(text) for text in encoded.dictionary.to_pylist()], pa.float64())
        return _numpy(numbers.take(encoded.indices))


@dataclass(frozen=True)
class FeatureEncoder:
    """The features that a model reads, in the order of its matrix.

    Attributes:
        numbers: columns of numbers.
        texts: texts as numbers.
        has_weekday: whether the day of the week is a feature.
    """

    numbers: tuple[str, ...]
    texts: tuple[TextFeature, ...] = ()
    has_weekday: bool = False

    @classmethod
    def fit(
        cls,
        rows: pa.Table,
        numbers: Sequence[str],
        texts: Sequence[str],
        *,
        has_weekday: bool,
        without: Sequence[str] = (),
    ) -> FeatureEncoder:
        """Selects the features that differ between rows.

        Args:
            rows: examples.
            numbers: columns of numbers.
            texts: columns of texts, or of maps of texts.
            has_weekday: whether the rows have the column `weekday`.
            without: names of features that are left out.
        """
        varying = []
        for name in numbers:
            values = _numpy(rows[name])
            known = values[np.isfinite(values)]
            if len(known) and (len(known) < len(values) or known.min() < known.max()):
                varying.append(name)
        features = [feature for name in texts for feature in _text_features(rows, name)]
        return cls(
            tuple(name for name in varying if name not in without),
            tuple(feature for feature in features if feature.name not in without),
            has_weekday,
        )

    @property
    def names(self) -> list[str]:
        """Names of the matrix's columns."""
        texts = [feature.name for feature in self.texts]
        return [*self.numbers, *texts, *([WEEKDAY] if self.has_weekday else [])]

    def transform(self, rows: pa.Table | pa.RecordBatch) -> Doubles:
        """The features, (rows, features); nan where a value is unknown."""
        columns = [_numpy(rows[name]) for name in self.numbers]
        columns += [feature.transform(rows) for feature in self.texts]
        columns += [_numpy(rows[WEEKDAY])] if self.has_weekday else []
        if not columns:
            return np.zeros((rows.num_rows, 0))
        return np.ascontiguousarray(np.column_stack(columns))

    def to_json(self) -> dict[str, Any]:
        """The encoder as JSON values."""
        texts = [[feature.column, feature.key, list(feature.values)] for feature in self.texts]
        return {"numbers": list(self.numbers), "texts": texts, "has_weekday": self.has_weekday}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FeatureEncoder:
        """Reads what `to_json` returned."""
        texts = (TextFeature(column, key, tuple(words)) for column, key, words in values["texts"])
        return cls(tuple(values["numbers"]), tuple(texts), values["has_weekday"])


def _text_features(rows: pa.Table, column: str) -> list[TextFeature]:
    if not pa.types.is_map(rows.schema.field(column).type):
        return _text_feature(rows, column, None)
    counts = Counter(key for entry in rows[column].to_pylist() for key, _ in entry or ())
    keys = sorted(counts, key=lambda key: (-counts[key], key))[:MAX_ATTRIBUTES]
    return [feature for key in keys for feature in _text_feature(rows, column, key)]


def _text_feature(rows: pa.Table, column: str, key: str | None) -> list[TextFeature]:
    texts, counts = pa.table({"text": _texts(rows, column, key)}), [("text", "count")]
    if "user_id" in rows.column_names:
        texts = texts.append_column("user", rows["user_id"])
        counts.append(("user", "count_distinct"))
    counted = texts.drop_null().group_by("text").aggregate(counts).to_pylist()
    if len(counted) < 2:
        return []
    if all(np.isfinite(_number(entry["text"])) for entry in counted):
        return [TextFeature(column, key)]
    # A model keeps its values: those of a single user would outlive the user's erasure.
    shared = {
        entry["text"]: entry["text_count"]
        for entry in counted
        if entry["text_count"] >= MIN_VALUE_EXAMPLES
        and entry.get("user_count_distinct", MIN_VALUE_USERS) >= MIN_VALUE_USERS
    }
    values = sorted(shared, key=lambda value: (-shared[value], value))[:MAX_VALUES]
    return [TextFeature(column, key, tuple(values))] if values else []


def _texts(rows: pa.Table | pa.RecordBatch, column: str, key: str | None) -> pa.Array:
    array = rows[column]
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if key is not None:
        array = pc.map_lookup(array, pa.scalar(key), "first")
    return array.cast(pa.string())


def _number(text: str | None) -> float:
    try:
        return float(text) if text is not None else np.nan
    except ValueError:
        return np.nan


def _numpy(column: pa.Array | pa.ChunkedArray) -> Doubles:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)

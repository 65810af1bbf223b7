"""Reads files of labelled reviews for `batch-predictions benchmark sentiment`.

A file is Parquet, CSV or TSV with a column of texts, a column of ratings or labels and perhaps one
of titles, which are put before the texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import numpy as np

from batch_predictions.models.sentiment.text.labelled_reviews import (
    CLASSES,
    UNLABELLED,
    Reviews,
    build_reviews,
    class_index,
)
from batch_predictions.settings import SentimentSettings, SettingsError
from batch_predictions.warehouse.path_sql import escape_pattern

Columns: TypeAlias = dict[str, tuple[Any, ...]]
"""Values of a file's columns by name."""

TEXT_COLUMNS = ("text", "review_text", "review", "verified_reviews", "sentence", "body", "content")
TITLE_COLUMNS = ("title", "summary", "headline", "review_title")
RATING_COLUMNS = ("rating", "stars", "overall", "score")
LABEL_COLUMNS = ("label", "sentiment", "class", "polarity")
_CLASS_OF_LABEL = {
    **dict.fromkeys(("negative", "neg", "-1"), 0),
    **dict.fromkeys(("neutral", "neu", "0"), 1),
    **dict.fromkeys(("positive", "pos", "1"), 2),
}


@dataclass(frozen=True)
class LabelledFile:
    """The labelled reviews of a file.

    Attributes:
        reviews: their labels are indices of `classes`.
        classes: names of the classes that occur.
        left_out: rows without a text or a label.
    """

    reviews: Reviews
    classes: tuple[str, ...]
    left_out: int


def read_labelled_file(path: Path, settings: SentimentSettings, group: str | None) -> LabelledFile:
    """Reads the labelled reviews of a file.

    Args:
        path: Parquet, CSV or TSV.
        settings: which ratings are negative and positive.
        group: column of groups, such as the product, that folds do not split.

    Raises:
        SettingsError: the file or a column is missing, or there are fewer than two classes.
    """
    columns = _read_columns(path)
    if group is not None and group not in columns:
        raise SettingsError(f"{path} has no column {group}: it has {', '.join(columns)}")
    text_column = _find_column(columns, TEXT_COLUMNS)
    if text_column is None:
        raise _missing_column(path, "text", columns)
    texts = ["" if value is None else str(value) for value in columns[text_column]]
    title_column = _find_column(columns, TITLE_COLUMNS)
    if title_column is not None:
        # As in `raw.reviews`; a title without a text is no review.
        texts = [
            f"{title}. {text}" if title and text else text
            for title, text in zip(columns[title_column], texts, strict=True)
        ]
    labels = _read_labels(path, columns, settings)
    groups = [str(value) for value in columns[group]] if group else None
    reviews = build_reviews(texts, labels, groups)
    present = np.unique(reviews.labels)
    if len(present) < 2:
        raise SettingsError(f"{path} has labels of fewer than two classes: add texts of another")
    renumbered = Reviews(
        reviews.documents,
        np.searchsorted(present, reviews.labels),
        reviews.groups,
        reviews.days,
    )
    classes = tuple(CLASSES[k] for k in present)
    return LabelledFile(renumbered, classes, len(texts) - len(reviews))


def _read_columns(path: Path) -> Columns:
    """The columns of a file by name."""
    if not path.is_file():
        raise SettingsError(f"there is no file {path}")
    with duckdb.connect(":memory:") as db:
        source = "read_parquet(?)" if path.suffix == ".parquet" else "read_csv(?, all_varchar=true)"
        result = db.execute(f"select * from {source}", [escape_pattern(path)])
        names = [column[0] for column in result.description or []]
        rows = result.fetchall()
    return {name: tuple(row[n] for row in rows) for n, name in enumerate(names)}


def _read_labels(path: Path, columns: Columns, settings: SentimentSettings) -> list[int]:
    """Class of every row, from the column of labels, else from that of ratings."""
    label_column = _find_column(columns, LABEL_COLUMNS)
    if label_column is not None:
        labels = [str(value).strip().lower() for value in columns[label_column]]
        # 0 and 1 alone are negative and positive; with -1, 0 is neutral.
        is_binary = set(labels) <= {"0", "1"}
        class_of_label = {**_CLASS_OF_LABEL, "0": 0} if is_binary else _CLASS_OF_LABEL
        return [class_of_label.get(label, UNLABELLED) for label in labels]
    rating_column = _find_column(columns, RATING_COLUMNS)
    if rating_column is None:
        raise _missing_column(path, "rating or label", columns)
    return [
        class_index(_parse_number(value), None, settings.negative_up_to, settings.positive_from)
        for value in columns[rating_column]
    ]


def _parse_number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _find_column(columns: Columns, candidates: Sequence[str]) -> str | None:
    """The first candidate that is a column, ignoring case and blanks."""
    by_folded_name = {name.strip().lower().replace(" ", "_"): name for name in columns}
    return next((by_folded_name[name] for name in candidates if name in by_folded_name), None)


def _missing_column(path: Path, purpose: str, columns: Columns) -> SettingsError:
    return SettingsError(f"{path} has no column for {purpose}: it has {', '.join(columns)}")

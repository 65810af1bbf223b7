"""`batch-predictions benchmark sentiment`: compares models on a file of labelled reviews.

The file is Parquet, CSV or TSV with a column of texts, a column of ratings or labels and perhaps
one of titles, which are put before the texts. Models are tested on another file, or by
cross-validation with folds of whole groups; no text is in both training and test rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import numpy as np

from batch_predictions.models.common.torch_threads import one_torch_thread
from batch_predictions.models.sentiment.arrays import Floats
from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.data import (
    CLASSES,
    UNLABELLED,
    Labels,
    Reviews,
    build_reviews,
    class_index,
    deduplicate,
    group_folds,
    number_distinct,
)
from batch_predictions.models.sentiment.fold_cache import FoldCache, hash_inputs
from batch_predictions.models.sentiment.metrics import ACCURACY, MACRO_F1, EvaluatedClassifier
from batch_predictions.models.sentiment.models.base import ModelTraining
from batch_predictions.models.sentiment.registry import validate_names
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.training import ClassifierTrainer
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
        raise SettingsError(f"{path} has labelled texts of fewer than two classes")
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


def benchmark(
    file: Path,
    settings: SentimentSettings,
    *,
    test: Path | None,
    fold_count: int,
    group: str | None,
    models: Sequence[str],
    progress: Callable[[str], None],
    cache_folder: Path | None = None,
) -> dict[str, Any]:
    """Compares models: accuracy and macro-F1 with intervals, F1 by class, reviews per second.

    Intervals resample whole groups if `group` is given, else single reviews. Speed is that of one
    thread, tokenisation included.

    Args:
        file: labelled reviews, see `read_labelled_file`.
        settings: seed, options and files of the models.
        test: another file, on which the models are tested; None: cross-validation.
        fold_count: folds of the cross-validation.
        group: column of groups.
        models: names of classifiers.
        progress: receives log lines.
        cache_folder: predictions of finished folds, which are not computed again.

    Raises:
        SettingsError: a file, a column or a model is missing, or the files have other classes.
    """
    validate_names(models)
    data = read_labelled_file(file, settings, group)
    test_data = read_labelled_file(test, settings, group) if test else None
    if test_data and test_data.classes != data.classes:
        raise SettingsError(
            f"{file} has the classes {data.classes}, and {test} has {test_data.classes}"
        )
    cache = None
    if cache_folder:
        input_hash = _hash_of_inputs(data, test_data, fold_count, group, settings)
        cache = FoldCache(cache_folder, input_hash)
    run = _BenchmarkRun(models, data.classes, settings, cache, progress)
    with one_torch_thread():
        folds = _splits(data.reviews, test_data, fold_count, settings.seed)
        for fold, (train_reviews, test_reviews) in enumerate(folds):
            run.add_fold(fold, train_reviews, test_reviews, by_group=group is not None)
    report = run.report()
    return {
        "default": settings.default if settings.default in report else models[-1],
        "reviews": len(data.reviews),
        "judged": len(run.clusters),
        "left_out": data.left_out,
        "folds": None if test else fold_count,
        "models": report,
    }


class _BenchmarkRun:
    """Collects the predictions of all models over the folds.

    Args:
        models: names of classifiers.
        classes: names of the classes.
        settings: seed, options and files of the models.
        cache: of finished folds.
        progress: receives log lines.
    """

    def __init__(
        self,
        models: Sequence[str],
        classes: Sequence[str],
        settings: SentimentSettings,
        cache: FoldCache | None,
        progress: Callable[[str], None],
    ) -> None:
        self.classes = classes
        self.training = ModelTraining(
            classes=len(classes),
            seed=settings.seed,
            vectors=settings.vectors,
            encoder=settings.encoder,
            options=dict(settings.options),
            progress=progress,
        )
        self.cache = cache
        self.truth: list[Labels] = []
        self.clusters: list[str] = []
        self.predicted: dict[str, list[Labels]] = {name: [] for name in models}
        self.seconds = dict.fromkeys(models, 0.0)

    def add_fold(self, fold: int, train: Reviews, test: Reviews, by_group: bool) -> None:
        """Predicts the test reviews of a fold with all models.

        Args:
            fold: its number.
            train, test: its reviews.
            by_group: whether bootstraps draw whole groups, else single reviews.
        """
        self.truth.append(test.labels)
        self.clusters += test.groups if by_group else [f"{fold} {row}" for row in range(len(test))]
        trainer = ClassifierTrainer(deduplicate(train), self.training)
        for name in self.predicted:
            probabilities, seconds = self._predict(name, fold, trainer, test)
            self.seconds[name] += seconds
            predicted = probabilities.argmax(axis=1)
            self.predicted[name].append(predicted)
            accuracy = float((predicted == test.labels).mean())
            self.training.progress(
                f"fold {fold + 1}: {name} has accuracy {accuracy:.4f} on {len(test):,} reviews"
            )

    def _predict(
        self, name: str, fold: int, trainer: ClassifierTrainer, test: Reviews
    ) -> tuple[Floats, float]:
        """Probabilities and the seconds they took, from the cache where it has them."""
        cached = self.cache.read(name, fold) if self.cache else None
        if cached is not None:
            return cached
        probabilities, seconds = _score(trainer.fit(name), test)
        if self.cache:
            self.cache.write(name, fold, probabilities, seconds, test.labels)
        return probabilities, seconds

    def report(self) -> dict[str, dict[str, Any]]:
        """The figures of every model, rounded."""
        truth, clusters = np.concatenate(self.truth), number_distinct(self.clusters)
        report = {}
        for name, predicted in self.predicted.items():
            evaluated = EvaluatedClassifier(
                truth, np.concatenate(predicted), clusters, len(self.classes)
            )
            intervals = evaluated.intervals(self.training.seed)
            accuracy, f1 = intervals[ACCURACY], intervals[MACRO_F1]
            report[name] = {
                "accuracy": round(accuracy.mean, 4),
                "accuracy_lower": round(accuracy.lower, 4),
                "accuracy_upper": round(accuracy.upper, 4),
                "macro_f1": round(f1.mean, 4),
                "lower": round(f1.lower, 4),
                "upper": round(f1.upper, 4),
                "f1": dict(zip(self.classes, evaluated.f1().round(4).tolist(), strict=True)),
                "reviews_per_second": round(len(truth) / max(self.seconds[name], 1e-9)),
            }
        return report


def _score(classifier: Classifier, reviews: Reviews) -> tuple[Floats, float]:
    """Probabilities (reviews, classes), and the seconds they took, tokenisation included."""
    started = time.perf_counter()
    probabilities = classifier.probabilities(Documents(reviews.documents))
    return probabilities, time.perf_counter() - started


def _hash_of_inputs(
    data: LabelledFile,
    test_data: LabelledFile | None,
    fold_count: int,
    group: str | None,
    settings: SentimentSettings,
) -> str:
    """Hash of everything that the predictions of the folds depend on, except the code."""
    names = ("seed", "options", "vectors", "encoder", "negative_up_to", "positive_from")
    parameters = {name: getattr(settings, name) for name in names}
    parameters |= {"folds": None if test_data else fold_count, "group": group}
    return hash_inputs([file.reviews for file in (data, test_data) if file], parameters)


def _splits(
    reviews: Reviews, test_data: LabelledFile | None, fold_count: int, seed: int
) -> Iterator[tuple[Reviews, Reviews]]:
    """Training and test reviews of each fold; the test file is a single one."""
    if test_data is None:
        for split in group_folds(reviews, fold_count, seed):
            yield reviews.take(split.train), reviews.take(split.test)
        return
    test_texts = {" ".join(tokens) for tokens in test_data.reviews.documents.tokens}
    unshared = [
        row
        for row, tokens in enumerate(reviews.documents.tokens)
        if " ".join(tokens) not in test_texts
    ]
    yield reviews.take(np.array(unshared, np.int64)), test_data.reviews

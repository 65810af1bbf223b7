"""`batch-predictions benchmark sentiment`: every model on a file of labelled reviews.

The file is Parquet, CSV or TSV with a text column, perhaps one of titles, which are put before the
texts, and a rating or label column. Models are judged on another file, or by folds of whole groups
with no text on both sides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from batch_predictions.models.common.torch_threads import one_torch_thread
from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.data import (
    CLASSES,
    UNLABELLED,
    Reviews,
    distinct,
    folds,
    label_of,
    of_rows,
)
from batch_predictions.models.sentiment.fold_cache import FoldCache, basis_of
from batch_predictions.models.sentiment.metrics import (
    ACCURACY,
    MACRO_F1,
    EvaluatedClassifier,
    clusters_of,
)
from batch_predictions.models.sentiment.models.base import Floats, ModelTraining
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.training import ClassifierTrainer
from batch_predictions.settings import SentimentSettings, SettingsError

TEXTS = ("text", "review_text", "review", "verified_reviews", "sentence", "body", "content")
TITLES = ("title", "summary", "headline", "review_title")
RATINGS = ("rating", "stars", "overall", "score")
LABELS = ("label", "sentiment", "class", "polarity")
_NAMED = {
    **dict.fromkeys(("negative", "neg", "-1"), 0),
    **dict.fromkeys(("neutral", "neu", "0"), 1),
    **dict.fromkeys(("positive", "pos", "1"), 2),
}


@dataclass(frozen=True)
class Read:
    """A file's labelled reviews: classes that occur, by name, and rows that were left out."""

    reviews: Reviews
    classes: tuple[str, ...]
    left_out: int


def read(path: Path, settings: SentimentSettings, group: str | None) -> Read:
    """Labelled reviews of a file; `group` is a column whose values are not parted by folds.

    Raises:
        SettingsError: the file, or a column of it, is missing.
    """
    if not path.is_file():
        raise SettingsError(f"there is no file {path}")
    with duckdb.connect(":memory:") as db:
        source = "read_parquet(?)" if path.suffix == ".parquet" else "read_csv(?, all_varchar=true)"
        found = db.execute(f"select * from {source}", [str(path)])
        names = [column[0] for column in found.description or []]
        text = _pick(names, TEXTS, path, "text")
        label = _pick(names, LABELS, path, None)
        rating = _pick(names, RATINGS, path, None if label else "rating or label")
        if group is not None and group not in names:
            raise SettingsError(f"{path} has no column {group}: it has {', '.join(names)}")
        columns = dict(zip(names, zip(*found.fetchall(), strict=True), strict=False))
    assert text is not None
    texts = ["" if each is None else str(each) for each in columns[text]]
    title = _pick(names, TITLES, path, None)
    if title is not None:
        # A title stands before its text, as in `raw.reviews`; a title alone is no review.
        texts = [
            f"{head}. {body}" if head and body else body
            for head, body in zip(columns[title], texts, strict=True)
        ]
    labels = _labels(columns, label, rating, settings)
    groups = [str(each) for each in columns[group]] if group else None
    reviews = of_rows(texts, labels, groups)
    present = np.unique(reviews.labels)
    if len(present) < 2:
        raise SettingsError(f"{path} has labelled texts of fewer than two classes")
    codes = np.searchsorted(present, reviews.labels)
    compact = Reviews(reviews.documents, codes, reviews.groups, reviews.days)
    return Read(compact, tuple(CLASSES[each] for each in present), len(texts) - len(reviews))


def _labels(
    columns: dict[str, tuple[Any, ...]],
    label: str | None,
    rating: str | None,
    settings: SentimentSettings,
) -> list[int]:
    if label is not None:
        values = [str(each).strip().lower() for each in columns[label]]
        # 0 and 1 alone are negative and positive; -1, 0 and 1 have a middle.
        names = {**_NAMED, "0": 0} if set(values) <= {"0", "1"} else _NAMED
        return [names.get(each, UNLABELLED) for each in values]
    assert rating is not None
    low, high = settings.negative_up_to, settings.positive_from
    return [label_of(_number(each), None, low, high) for each in columns[rating]]


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _pick(
    names: Sequence[str], wanted: Sequence[str], path: Path, needed: str | None
) -> str | None:
    folded = {name.strip().lower().replace(" ", "_"): name for name in names}
    for each in wanted:
        if each in folded:
            return folded[each]
    if needed:
        raise SettingsError(f"{path} has no column for {needed}: it has {', '.join(names)}")
    return None


def benchmark(
    file: Path,
    settings: SentimentSettings,
    *,
    test: Path | None,
    folds_: int,
    group: str | None,
    models: Sequence[str],
    progress: Callable[[str], None],
    keep: Path | None = None,
) -> dict[str, Any]:
    """Figures of every model: accuracy and macro-F1 with interval, F1 by class, reviews a second.

    Intervals resample whole groups where `group` is given, else reviews. Speed is of one thread,
    tokenising included. Finished folds are kept in the folder `keep`, and not fitted again.
    """
    here = read(file, settings, group)
    there = read(test, settings, group) if test else None
    if there and there.classes != here.classes:
        raise SettingsError(f"{file} has {here.classes}, and {test} has {there.classes}")
    training = ModelTraining(
        classes=len(here.classes),
        seed=settings.seed,
        vectors=settings.vectors,
        encoder=settings.encoder,
        options=dict(settings.options),
        progress=progress,
    )
    kept = FoldCache(keep, _basis(here, there, folds_, group, settings)) if keep else None
    truth: list[Any] = []
    clusters: list[str] = []
    guesses: dict[str, list[Any]] = {name: [] for name in models}
    seconds = dict.fromkeys(models, 0.0)
    with one_torch_thread():
        for number, (train, judged) in enumerate(_splits(here.reviews, there, folds_, settings)):
            fitter = ClassifierTrainer(distinct(train), training)
            truth.append(judged.labels)
            clusters += judged.groups if group else [f"{number} {n}" for n in range(len(judged))]
            for name in models:
                found = kept.read(name, number) if kept else None
                if found is None:
                    found = _timed(fitter.fit(name), judged)
                    if kept:
                        kept.write(name, number, *found, judged.labels)
                seconds[name] += found[1]
                guesses[name].append(found[0].argmax(axis=1))
                right = float((guesses[name][-1] == judged.labels).mean())
                progress(f"fold {number + 1}: {name} {right:.4f} of {len(judged):,} right")
    labels = np.concatenate(truth)
    report = {}
    for name in models:
        judged_ = EvaluatedClassifier(
            labels, np.concatenate(guesses[name]), clusters_of(clusters), len(here.classes)
        )
        intervals = judged_.intervals(settings.seed)
        accuracy, f1 = intervals[ACCURACY], intervals[MACRO_F1]
        report[name] = {
            "accuracy": round(accuracy.mean, 4),
            "accuracy_lower": round(accuracy.lower, 4),
            "accuracy_upper": round(accuracy.upper, 4),
            "macro_f1": round(f1.mean, 4),
            "lower": round(f1.lower, 4),
            "upper": round(f1.upper, 4),
            "f1": dict(zip(here.classes, judged_.f1().round(4).tolist(), strict=True)),
            "reviews_per_second": round(len(labels) / max(seconds[name], 1e-9)),
        }
    return {
        "default": settings.default if settings.default in report else models[-1],
        "reviews": len(here.reviews),
        "judged": len(labels),
        "left_out": here.left_out,
        "folds": None if test else folds_,
        "models": report,
    }


def _timed(classifier: Classifier, judged: Reviews) -> tuple[Floats, float]:
    """Probabilities (n, classes), and the seconds they took, tokenising included."""
    began = time.perf_counter()
    return classifier.probabilities(Documents(judged.documents)), time.perf_counter() - began


def _basis(
    here: Read, there: Read | None, number: int, group: str | None, settings: SentimentSettings
) -> str:
    """Hash of what the predictions of the folds depend on."""
    chosen = {
        name: getattr(settings, name)
        for name in ("seed", "options", "vectors", "encoder", "negative_up_to", "positive_from")
    }
    return basis_of(
        [each.reviews for each in (here, there) if each],
        {**chosen, "folds": None if there else number, "group": group},
    )


def _splits(
    reviews: Reviews, test: Read | None, number: int, settings: SentimentSettings
) -> Iterator[tuple[Reviews, Reviews]]:
    if test is not None:
        judged = test.reviews
        texts = {" ".join(each) for each in judged.documents.tokens}
        clean = [
            n for n, each in enumerate(reviews.documents.tokens) if " ".join(each) not in texts
        ]
        yield reviews.take(np.array(clean, np.int64)), judged
        return
    for split in folds(reviews, number, settings.seed):
        yield reviews.take(split.train), reviews.take(split.test)

"""`batch-predictions benchmark sentiment`: compares models on a file of labelled reviews.

Models are tested on another file, or by cross-validation with folds of whole groups; no text is in
both training and test rows.

With fewer distinct texts than `sentiment.small_reviews` the training part of every fold chooses a
model as the weekly training does; the report counts the choices as `chosen`, and its default is the
most frequent one, unless `sentiment.default` names one.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from batch_predictions.cli.benchmark.labelled_file import LabelledFile, read_labelled_file
from batch_predictions.cli.console.options import Home, Json, load_settings
from batch_predictions.cli.console.printing import print_table
from batch_predictions.core.arrays import Floats
from batch_predictions.models.common.torch_cpu import one_torch_thread
from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.fold_cache import FoldCache, hash_inputs
from batch_predictions.models.sentiment.models.base import ModelTraining, validate_names
from batch_predictions.models.sentiment.sentiment_metrics import (
    ACCURACY,
    MACRO_F1,
    EvaluatedClassifier,
)
from batch_predictions.models.sentiment.sentiment_selection import (
    FOLDS,
    NET_DEFAULT,
    choose_best,
    compare_on_folds,
    default_candidates,
)
from batch_predictions.models.sentiment.sentiment_training import BASELINE, ClassifierTrainer
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.labelled_reviews import (
    Labels,
    Reviews,
    deduplicate,
    group_folds,
    number_distinct,
    stratified_folds,
)
from batch_predictions.settings import SentimentSettings, SettingsError


def measure(
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
        models: names of classifiers; empty: those of the weekly training.
        progress: receives log lines.
        cache_folder: predictions of finished folds, which are not computed again.

    Raises:
        SettingsError: a file, a column or a model is missing, or the files have other classes.
    """
    validate_names(models)
    data = read_labelled_file(file, settings, group)
    is_small = len(deduplicate(data.reviews)) < settings.small_reviews
    models = models or _compared_models(settings, is_small, data.reviews)
    test_data = read_labelled_file(test, settings, group) if test else None
    if test_data and test_data.classes != data.classes:
        raise SettingsError(
            f"{file} has the classes {data.classes}, and {test} has {test_data.classes}"
        )
    cache = None
    if cache_folder:
        input_hash = _hash_of_inputs(data, test_data, fold_count, group, settings)
        cache = FoldCache(cache_folder, input_hash)
    run = _BenchmarkRun(models, data.classes, settings, cache, progress, is_small)
    with one_torch_thread():
        folds = _splits(data.reviews, test_data, fold_count, settings.seed)
        for fold, (train_reviews, test_reviews) in enumerate(folds):
            run.add_fold(fold, train_reviews, test_reviews, by_group=group is not None)
    report = run.report()
    default = settings.default or run.most_chosen() or NET_DEFAULT
    return {
        "default": default if default in report else models[-1],
        "chosen": dict(run.chosen),
        "reviews": len(data.reviews),
        "judged": len(run.clusters),
        "left_out": data.left_out,
        "folds": None if test else fold_count,
        "models": report,
    }


def _compared_models(settings: SentimentSettings, is_small: bool, reviews: Reviews) -> list[str]:
    """The models that the weekly training compares."""
    candidates = settings.candidates or default_candidates(
        reviews, is_small, settings.encoder is not None
    )
    return list(dict.fromkeys([BASELINE, *candidates]))


class _BenchmarkRun:
    """Collects the predictions of all models over the folds.

    Args:
        models: names of classifiers.
        classes: names of the classes.
        settings: seed, options and files of the models.
        cache: of finished folds.
        progress: receives log lines.
        is_small: whether classifiers are tuned on out-of-fold scores and one is chosen by them, as
            in the weekly training.

    Attributes:
        chosen: in how many folds each model was chosen, within the training part.
    """

    def __init__(
        self,
        models: Sequence[str],
        classes: Sequence[str],
        settings: SentimentSettings,
        cache: FoldCache | None,
        progress: Callable[[str], None],
        is_small: bool,
    ) -> None:
        self.classes = classes
        self.is_small = is_small
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
        self.chosen: Counter[str] = Counter()

    def add_fold(self, fold: int, train: Reviews, test: Reviews, by_group: bool) -> None:
        """Predicts the test reviews of a fold with all models.

        Args:
            fold: its number.
            train, test: its reviews.
            by_group: whether bootstraps draw whole groups, else single reviews.
        """
        self.truth.append(test.labels)
        self.clusters += test.groups if by_group else [f"{fold} {row}" for row in range(len(test))]
        unique = deduplicate(train)
        folds = stratified_folds(unique, FOLDS, self.training.seed) if self.is_small else ()
        trainer = ClassifierTrainer(unique, self.training, folds)
        for name in self.predicted:
            probabilities, seconds = self._predict(name, fold, trainer, test)
            self.seconds[name] += seconds
            predicted = probabilities.argmax(axis=1)
            self.predicted[name].append(predicted)
            accuracy = float((predicted == test.labels).mean())
            self.training.progress(
                f"fold {fold + 1}: {name} has accuracy {accuracy:.4f} on {len(test):,} reviews"
            )
        if folds and BASELINE in self.predicted:
            self.chosen[self._choose(fold, trainer)] += 1

    def most_chosen(self) -> str | None:
        """The model that most folds chose; None where none was chosen."""
        return max(self.predicted, key=lambda name: self.chosen[name]) if self.chosen else None

    def _choose(self, fold: int, trainer: ClassifierTrainer) -> str:
        """The model that the weekly training would choose from a fold's training part."""
        models = [*self.predicted]
        cached = self.cache.read_choice(models, fold) if self.cache else None
        if cached is not None:
            return cached
        name, why = choose_best(compare_on_folds(models, trainer))
        self.training.progress(f"fold {fold + 1}: within the training part {why}")
        if self.cache:
            self.cache.write_choice(models, fold, name)
        return name

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
    names = (
        "seed",
        "options",
        "vectors",
        "encoder",
        "negative_up_to",
        "positive_from",
        "small_reviews",
    )
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


def main(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Parquet, CSV or TSV: text, and rating or label.")],
    test: Annotated[Path | None, typer.Option(help="Test on this file instead of folds.")] = None,
    folds: Annotated[int, typer.Option(help="Folds of the file.", min=2)] = 5,
    group: Annotated[
        str | None,
        typer.Option(help="Column whose values stay within a fold, such as the product."),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(help="Names, with commas. [default: those of a training]"),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps finished folds, so that an interrupted run continues."
        ),
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Fit every sentiment model; print accuracy, macro-F1, F1 by class, reviews per second."""
    settings = load_settings(home, context).sentiment
    report = measure(
        file,
        settings,
        test=test,
        fold_count=folds,
        group=group,
        models=list(dict.fromkeys(models.split(","))) if models else (),
        progress=lambda text: typer.echo(text, err=True),
        cache_folder=keep,
    )
    if as_json:
        typer.echo(json.dumps(report))
        return
    rows = [
        {"model": name, **{k: v for k, v in metrics.items() if k != "f1"}}
        | {f"f1 {label}": value for label, value in metrics["f1"].items()}
        for name, metrics in report["models"].items()
    ]
    print_table(rows)

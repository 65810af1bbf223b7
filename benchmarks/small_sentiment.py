"""Sentiment models on small samples of public reviews: macro-F1, log loss, calibration error.

    python benchmarks/small_sentiment.py [--sets alexa clothing mr] [--sizes 1000 3700]
        [--samples 5] [--half report] [--models NAME …] [--frozen-encoder FOLDER] [--held-out]
        [--json]

The model `average_lexicon_lr` replaces `average_char_lr` among the
candidates where it is named. A frozen encoder is `sentiment.encoder` with the option `frozen`, for
the model `average_encoder`.

Every sample has the class shares of its set and is judged by cross-validation with five folds of
whole groups; within each training part the classifiers are tuned as in the weekly training.
Figures are means over the samples. Intervals resample the groups of the set, the same ones in all
samples, as samples of one set overlap; `gain` is the paired difference to tfidf_lr.

Further rows are choices between tfidf_lr and the platform's candidates for few texts, by inner
folds of the training part: `chosen` is the platform's rule (the highest macro-F1 if it is at least
.01 above that of tfidf_lr, else tfidf_lr); `highest` has no such margin; `significant` takes the
best that is significantly better than tfidf_lr, else tfidf_lr.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import log, machine, print_json
from small_reviews import HALVES, SETS, draw_sample, read_set, take_half

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.common.intervals import percentile_interval, resample_counts
from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.models.base import ModelTraining
from batch_predictions.models.sentiment.sentiment_metrics import f1_by_class
from batch_predictions.models.sentiment.sentiment_selection import (
    FOLDS,
    LEXICON_CANDIDATES,
    LINEAR_CANDIDATES,
    ClassifierComparison,
    choose_best,
    choose_significant,
    compare_on_folds,
)
from batch_predictions.models.sentiment.sentiment_training import BASELINE, ClassifierTrainer
from batch_predictions.models.sentiment.text.labelled_reviews import (
    Reviews,
    group_folds,
    number_distinct,
    stratified_folds,
)

DATA = Path(__file__).parents[2] / "shared" / "data" / "reviews"
OUTER_FOLDS = 5
MODELS = ("nb_lr", "char_lr", "average_char_lr")
RULES: dict[str, Callable[[ClassifierComparison], tuple[str, str]]] = {
    "chosen": choose_best,
    "highest": lambda comparison: choose_best(comparison, min_gain=0.0),
    "significant": choose_significant,
}


def main() -> None:
    """Prints a table, or one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 3700])
    parser.add_argument("--samples", type=int, default=5, help="samples of each set and size")
    parser.add_argument("--half", choices=HALVES, default="report", help="of each set's groups")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--frozen-encoder", type=Path, help="folder of the encoder")
    parser.add_argument(
        "--held-out",
        action="store_true",
        help="tune on a held-out tenth instead of out-of-fold scores; without the choices",
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.models = list(dict.fromkeys([BASELINE, *args.models]))
    results = [result for name in args.sets for result in measure_set(name, args)]
    if args.json:
        print_json({"machine": machine(), "arguments": vars(args), "results": results})
    else:
        print_table(results)


def measure_set(name: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """The figures of a set for each size."""
    file = read_set(name, args.data)
    reviews = take_half(file.reviews, args.half)
    log(f"{name}: {len(reviews):,} of {len(file.reviews):,} distinct texts ({args.half})")
    results = []
    for size in args.sizes:
        samples = args.samples if size < len(reviews) else 1
        runs = [
            SampleRun(reviews, draw_sample(reviews, size, seed), len(file.classes), seed, args)
            for seed in range(samples)
        ]
        summary = summarise(runs)
        results.append({"set": name, "texts": len(runs[0].rows), "samples": samples, **summary})
    return results


class SampleRun:
    """Cross-validates all models on a sample.

    Args:
        reviews: of the set.
        rows: indices of the sample.
        classes: number of classes.
        seed: of the sample and its folds.
        args: the command's arguments.

    Attributes:
        confusions: of every model, counts by group of the set, (groups, classes, classes).
        log_losses, errors: log loss and expected calibration error of every model.
        chosen: how often each rule chose each model.
        seconds: CPU seconds of all fits.
    """

    def __init__(
        self,
        reviews: Reviews,
        rows: npt.NDArray[np.int64],
        classes: int,
        seed: int,
        args: argparse.Namespace,
    ) -> None:
        self.rows, self.classes, self.models = rows, classes, args.models
        self.sample = reviews.take(rows)
        groups = number_distinct(reviews.groups)
        self.group_count, self.groups = int(groups.max()) + 1, groups[rows]
        encoder: Path | None = args.frozen_encoder
        options = {} if encoder is None else {"frozen": 1.0}
        self.training = ModelTraining(
            classes, seed=7, encoder=encoder, options=options, progress=lambda _: None
        )
        names = self.models if args.held_out else [*self.models, *RULES]
        self.probabilities = {name: np.zeros((len(rows), classes)) for name in names}
        self.calibrated = {name: np.zeros((len(rows), classes)) for name in names}
        self.chosen: dict[str, Counter[str]] = {rule: Counter() for rule in RULES}
        started = time.process_time()
        for fold in group_folds(self.sample, OUTER_FOLDS, seed):
            self._add_fold(fold.train, fold.test, args.held_out)
        self.seconds = time.process_time() - started
        labels = self.sample.labels
        self.confusions = {name: self._confusions(p) for name, p in self.probabilities.items()}
        self.log_losses = {
            name: float(-np.log(p[np.arange(len(labels)), labels]).mean())
            for name, p in self.calibrated.items()
        }
        self.errors = {
            name: expected_calibration_error(p, labels) for name, p in self.calibrated.items()
        }
        log(f"  sample {seed} of {len(rows):,} texts: {self.seconds:.0f} CPU seconds")

    def _add_fold(
        self, train: npt.NDArray[np.int64], test: npt.NDArray[np.int64], held_out: bool
    ) -> None:
        reviews = self.sample.take(train)
        folds = () if held_out else stratified_folds(reviews, FOLDS, self.training.seed)
        trainer = ClassifierTrainer(reviews, self.training, folds)
        names = {name: name for name in self.models}
        if not held_out:
            with_lexicon = LEXICON_CANDIDATES[-1] in self.models
            candidates = LEXICON_CANDIDATES if with_lexicon else LINEAR_CANDIDATES
            comparison = compare_on_folds(candidates, trainer)
            for rule, choose in RULES.items():
                names[rule], _ = choose(comparison)
                self.chosen[rule][names[rule]] += 1
        documents = self.sample.documents.take(test)
        for row, name in names.items():
            classifier: Classifier = trainer.fit(name)
            probabilities = classifier.probabilities(documents).astype(np.float64)
            self.probabilities[row][test] = probabilities
            self.calibrated[row][test] = classifier.undo_prior_shift(probabilities)

    def _confusions(self, probabilities: Doubles) -> Doubles:
        counts = np.zeros((self.group_count, self.classes, self.classes))
        predicted = probabilities.argmax(axis=1)
        np.add.at(counts, (self.groups, self.sample.labels, predicted), 1)
        return counts


def summarise(runs: list[SampleRun]) -> dict[str, Any]:
    """Means over the samples, with intervals over the groups of the set."""
    values, draws = {}, {}
    for name in runs[0].confusions:
        counts = np.stack([run.confusions[name] for run in runs])
        values[name] = float(f1_by_class(counts.sum(axis=1)).mean())
        draws[name] = np.concatenate(
            [
                np.einsum("bg,sgij->bsij", chunk, counts).reshape(-1, *counts.shape[2:])
                for chunk in resample_counts(counts.shape[1], seed=7)
            ]
        )
        draws[name] = f1_by_class(draws[name]).mean(axis=1).reshape(-1, len(runs)).mean(axis=1)
    models = {}
    for name, value in values.items():
        f1 = percentile_interval(value, draws[name], len(runs))
        gain = percentile_interval(
            value - values[BASELINE], draws[name] - draws[BASELINE], len(runs)
        )
        models[name] = {
            "macro_f1": [round(x, 4) for x in f1[:3]],
            "gain": [round(x, 4) for x in gain[:3]],
            "log_loss": round(float(np.mean([run.log_losses[name] for run in runs])), 4),
            "calibration_error": round(float(np.mean([run.errors[name] for run in runs])), 4),
        }
    chosen = {rule: sum((run.chosen[rule] for run in runs), Counter()) for rule in RULES}
    seconds = round(float(np.mean([run.seconds for run in runs])), 1)
    return {"models": models, "chosen": chosen, "cpu_seconds_per_sample": seconds}


def print_table(results: list[dict[str, Any]]) -> None:
    """Prints a line for each set, size and model."""
    line = "{:9} {:>5} {:>7} {:21} {:27} {:28} {:>8} {:>6}"
    print(line.format("set", "texts", "samples", "model", "macro-F1", "gain", "log loss", "ECE"))
    for result in results:
        for name, figures in result["models"].items():
            f1, gain = (
                "{:+.4f} ({:+.4f} to {:+.4f})".format(*figures[key]) for key in ("macro_f1", "gain")
            )
            print(
                line.format(
                    *(result[key] for key in ("set", "texts", "samples")),
                    *(name, f1.replace("+", ""), gain),
                    *(figures["log_loss"], figures["calibration_error"]),
                )
            )
        for rule, chosen in result["chosen"].items():
            if chosen:
                print(f"  {rule} chose {dict(chosen)}")


def expected_calibration_error(
    probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], bins: int = 10
) -> float:
    """Expected calibration error of the likeliest class (Naeini et al. 2015), 0 to 1.

    Args:
        probabilities: (reviews, classes).
        labels: class of each review.
        bins: of equal width, over the probability of the likeliest class.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    hits = probabilities.argmax(axis=1) == labels
    bin_of_review = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(bin_of_review, confidence - hits, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


if __name__ == "__main__":
    main()

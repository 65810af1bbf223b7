"""A classifier for each language of the reviews.

The main language is that of most reviews. Another language has a classifier of its own where there
are enough labelled reviews (`sentiment.min_language_reviews`); otherwise a multilingual encoder
scores it, where one is set and won; otherwise its reviews are not scored. A text whose language is
not known is scored by the classifier of the main language.

A training selects each of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles, Positions
from batch_predictions.models.common.intervals import Row
from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.item_aggregates import corrected_shares
from batch_predictions.models.sentiment.models.base import ModelTraining
from batch_predictions.models.sentiment.sentiment_selection import (
    UNTRAINED,
    SentimentSelection,
    select_sentiment,
)
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.labelled_reviews import Reviews
from batch_predictions.settings import SentimentSettings

MANIFEST = "languages.json"
MULTILINGUAL = "multilingual"


@dataclass(frozen=True)
class LanguageClassifiers:
    """The stored sentiment model: a classifier for each language of the reviews.

    Attributes:
        main: of the main language.
        language: the main language; None: unknown, then `main` scores every text.
        others: of further languages.
        multilingual: of all languages that have none.
    """

    main: Classifier
    language: str | None = None
    others: Mapping[str, Classifier] = field(default_factory=dict)
    multilingual: Classifier | None = None

    @property
    def languages(self) -> tuple[str, ...] | None:
        """The languages that can be scored, the main one first; None: any language."""
        if self.language is None or self.multilingual is not None:
            return None
        return (self.language, *sorted(self.others))

    @property
    def is_trained(self) -> bool:
        """Whether the classifier of the main language has a model."""
        return bool(self.main.models)

    def classifier_of(self, language: str | None) -> Classifier:
        """Returns the classifier that scores a language; None is an unknown one."""
        if language is None or language == self.language:
            return self.main
        return self.others.get(language) or self.multilingual or self.main

    def probabilities(self, documents: Documents, languages: Sequence[str | None]) -> Doubles:
        """Adjusted probabilities, each text by its language's classifier, (n, classes)."""
        result = np.zeros((len(documents), self.main.classes))
        for classifier, positions in self._groups(languages):
            texts = documents if len(positions) == len(documents) else documents.take(positions)
            result[positions] = classifier.probabilities(texts)
        return result

    def undo_prior_shift(self, probabilities: Doubles, languages: Sequence[str | None]) -> Doubles:
        """Probabilities without the adjustment for rare classes, (n, classes)."""
        result = np.zeros(probabilities.shape)
        for classifier, positions in self._groups(languages):
            result[positions] = classifier.undo_prior_shift(probabilities[positions])
        return result

    def corrected_shares(
        self, probabilities: Doubles, languages: Sequence[str | None], items: Positions, count: int
    ) -> Doubles:
        """Shares of the true classes of items, given the confusions of the classifiers.

        Args:
            probabilities: of reviews, (n, classes).
            languages: of the reviews.
            items: the item of each review, 0 to count - 1, (n,).
            count: number of items; each has a review.

        Returns:
            Shares, (count, classes): the mean over an item's languages, weighted by reviews.
        """
        classes = probabilities.shape[1]
        sums, totals = np.zeros((count, classes)), np.zeros(count)
        for classifier, positions in self._groups(languages):
            group_items = items[positions]
            counts = np.bincount(group_items, minlength=count).astype(np.float64)
            means = np.zeros((count, classes))
            for k in range(classes):
                column = probabilities[positions, k]
                means[:, k] = np.bincount(group_items, column, minlength=count)
            means /= np.maximum(counts, 1.0)[:, np.newaxis]
            confusion = np.eye(classes) if classifier.confusion is None else classifier.confusion
            shares = corrected_shares(means, counts, confusion, classifier.prior)
            sums += shares * counts[:, np.newaxis]
            totals += counts
        return sums / np.maximum(totals, 1.0)[:, np.newaxis]

    def _groups(
        self, languages: Sequence[str | None]
    ) -> Iterator[tuple[Classifier, npt.NDArray[np.int64]]]:
        """Classifiers with the positions of the texts that they score."""
        by_classifier: dict[int, tuple[Classifier, list[int]]] = {}
        for position, language in enumerate(languages):
            classifier = self.classifier_of(language)
            by_classifier.setdefault(id(classifier), (classifier, []))[1].append(position)
        for classifier, positions in by_classifier.values():
            yield classifier, np.array(positions, np.int64)

    def to_device(self, device: str) -> Self:
        """Moves all models to a device, in its fastest precision."""
        for classifier in (self.main, *(classifier for _, classifier in self._named())):
            classifier.to_device(device)
        return self

    def save(self, folder: Path) -> None:
        """Writes the main classifier, a folder for each other one, and `languages.json`."""
        self.main.save(folder)
        manifest = {
            "main": self.language,
            "others": sorted(self.others),
            "multilingual": self.multilingual is not None,
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")
        for name, classifier in self._named():
            subfolder = folder / f"language-{name}"
            subfolder.mkdir()
            classifier.save(subfolder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote, or a folder that has a main classifier only."""
        path = folder / MANIFEST
        if not path.exists():
            return cls(Classifier.load(folder))
        manifest = json.loads(path.read_text("utf-8"))
        return cls(
            Classifier.load(folder),
            manifest["main"],
            {name: Classifier.load(folder / f"language-{name}") for name in manifest["others"]},
            Classifier.load(folder / f"language-{MULTILINGUAL}")
            if manifest["multilingual"]
            else None,
        )

    def _named(self) -> Iterator[tuple[str, Classifier]]:
        yield from sorted(self.others.items())
        if self.multilingual is not None:
            yield MULTILINGUAL, self.multilingual


ENCODER = "encoder"


@dataclass(frozen=True)
class LanguageSelection:
    """The result of the selections of all languages.

    Attributes:
        classifiers: that serve.
        main: the selection of the main language.
        why: the decisions in words.
        metrics: rows of `evaluation.model_metrics`; candidates of other languages end with their
            language, such as `average_cnn:de`.
    """

    classifiers: LanguageClassifiers
    main: SentimentSelection
    why: str
    metrics: list[Row]


def select_by_language(
    by_language: Mapping[str | None, Reviews],
    language: str | None,
    all_reviews: Reviews,
    training: ModelTraining,
    config: SentimentSettings,
) -> LanguageSelection:
    """Selects the classifier of the main language, and of others with enough labelled reviews.

    Args:
        by_language: labelled reviews by language.
        language: the main language.
        all_reviews: the reviews of all languages.
        training: seed, options and files.
        config: candidates and the numbers of reviews that are needed.

    Raises:
        SettingsError: a candidate or an option is unknown.
    """
    main = select_sentiment(by_language[language], training, config)
    why, metrics = main.why, list(main.metrics)
    classifiers: dict[str, Classifier] = {}
    left_out = []
    other_config = config.model_copy(update={"min_reviews": config.min_language_reviews})
    for other, reviews in sorted(by_language.items(), key=lambda entry: str(entry[0])):
        if other is None or other == language:
            continue
        training.progress(f"reviews in {other}: {len(reviews)} labelled texts")
        selection = select_sentiment(reviews, training, other_config)
        if selection.candidate == UNTRAINED:
            left_out.append(f"{other} ({len(reviews)})")
            continue
        classifiers[other] = selection.classifier
        why += f". In {other}: {selection.why}"
        metrics += _renamed(selection.metrics, other)
    multilingual = None
    if config.multilingual and config.encoder is not None:
        encoder_config = config.model_copy(update={"candidates": [ENCODER]})
        selection = select_sentiment(all_reviews, training, encoder_config)
        metrics += _renamed(selection.metrics, MULTILINGUAL)
        why += f". In further languages: {selection.why}"
        if selection.candidate == ENCODER:
            multilingual = selection.classifier
    if left_out and multilingual is None:
        why += (
            f". Not scored, because there are fewer than {config.min_language_reviews} labelled "
            f"texts (sentiment.min_language_reviews): {', '.join(left_out)}"
        )
    return LanguageSelection(
        LanguageClassifiers(main.classifier, language, classifiers, multilingual),
        main,
        why,
        metrics,
    )


def _renamed(metrics: list[Row], suffix: str) -> list[Row]:
    return [{**row, "candidate": f"{row['candidate']}:{suffix}"} for row in metrics]

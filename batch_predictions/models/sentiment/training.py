"""Classifiers by name: which parts a name stands for, and how one is fitted and decided."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.data import Labels, Reviews
from batch_predictions.models.sentiment.models.base import (
    ModelTraining,
    SentimentModel,
    is_imbalanced,
    priors,
)
from batch_predictions.models.sentiment.text.documents import Documents

BASELINE = "tfidf_lr"
NB, AVERAGE, ENCODER = "nb_lr", "average", "encoder"
NETS = ("cnn", "lstm", "gru")
HELD_SHARE = 0.1


def names_known() -> tuple[str, ...]:
    """Every name that can be fitted; `average_<part>` is a net, or the encoder, with `nb_lr`, and
    where classes are of unlike sizes with `tfidf_lr` too, which is good at rare ones.

    With option `nets` an average has so many nets, each of its own seed, the first of them the one
    that the net's own name stands for; together they weigh what a linear model weighs.
    """
    return (BASELINE, NB, *NETS, ENCODER, *(f"{AVERAGE}_{each}" for each in (*NETS, ENCODER)))


class ClassifierTrainer:
    """Fits classifiers on the same reviews; what several share is fitted once."""

    def __init__(self, reviews: Reviews, training: ModelTraining) -> None:
        self.training = training
        self.reviews = reviews
        self.prior = priors(reviews.labels, training.classes)
        self._parts: dict[tuple[str, int], tuple[SentimentModel, SentimentModel]] = {}
        random = np.random.default_rng(training.seed)
        shuffled = random.permutation(len(reviews))
        size = max(training.classes, int(len(reviews) * training.option("held_share", HELD_SHARE)))
        self.held = self._pair(np.sort(shuffled[:size]))
        self.rest = self._pair(np.sort(shuffled[size:]))

    def _pair(self, places: np.ndarray) -> tuple[Documents, Labels]:
        return self.reviews.documents.take(places), self.reviews.labels[places]

    def fit(self, name: str) -> Classifier:
        """A classifier of a name.

        A tenth of the reviews is held out for early stopping, temperature and decision; after
        that the linear parts, which need no stopping, are fitted on all of them.
        """
        weights = None
        if not name.startswith(f"{AVERAGE}_"):
            pairs = [self._part(name)]
        else:
            one = name.removeprefix(f"{AVERAGE}_")
            nets = max(1, int(self.training.option("nets", 1))) if one in NETS else 1
            both = self.training.option("average_tfidf", float(is_imbalanced(self.prior)))
            linear = (NB, BASELINE) if both else (NB,)
            pairs = [self._part(one, number) for number in range(nets)]
            pairs += [self._part(each) for each in linear]
            weights = (*[1 / nets] * nets, *[1.0] * len(linear)) if nets > 1 else None
        classifier = Classifier(
            [tuned for tuned, _ in pairs], self.training.classes, self.prior, weights=weights
        )
        # The baseline is the textbook's: classes of one mass.
        classifier.tune(*self.held, textbook=name == BASELINE)
        return replace(classifier, parts=[final for _, final in pairs])

    def _part(self, name: str, number: int = 0) -> tuple[SentimentModel, SentimentModel]:
        """A part fitted without the held-out tenth, and the one that serves.

        Args:
            number: adds to the seed; nets of other numbers begin and are shuffled differently.
        """
        if (name, number) not in self._parts:
            new = build_model(name)
            self.training.progress(f"fitting {name} on {len(self.reviews):,} reviews")
            training = replace(self.training, seed=self.training.seed + number)
            first = new.fit(*self.rest, self.held, training)
            last = first
            if name in (BASELINE, NB):
                everything = (self.reviews.documents, self.reviews.labels)
                last = build_model(name).fit(*everything, self.held, self.training)
            self._parts[name, number] = (first, last)
        return self._parts[name, number]


def build_model(name: str) -> SentimentModel:
    from batch_predictions.models.sentiment.models.encoder import EncoderModel
    from batch_predictions.models.sentiment.models.linear import LinearModel
    from batch_predictions.models.sentiment.models.nets import NetModel

    if name in (BASELINE, NB):
        return LinearModel(presence=name == NB)
    if name in NETS:
        return NetModel(name)
    if name == ENCODER:
        return EncoderModel()
    raise ValueError(f"there is no model {name!r}: there are {', '.join(names_known())}")

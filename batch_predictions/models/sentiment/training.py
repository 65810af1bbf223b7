"""Fits classifiers by name: single models, and averages of a net or the encoder with linear ones.

An average `average_<name>` has the net or encoder `<name>` and `nb_lr`; where the classes are
imbalanced it also has `tfidf_lr`, which recognises rare classes well. With the option `nets` it has
several nets with different seeds, which together weigh as much as one linear model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from batch_predictions.models.sentiment.arrays import Ints
from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.data import Labels, Reviews
from batch_predictions.models.sentiment.models.base import ModelTraining, SentimentModel
from batch_predictions.models.sentiment.models.parameters import parameter_names
from batch_predictions.models.sentiment.models.probabilities import class_shares, is_imbalanced
from batch_predictions.models.sentiment.registry import (
    averaged_name,
    build_model,
    model_specs,
    option_names,
    validate_names,
)
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.settings import SettingsError

BASELINE, NB_LR = "tfidf_lr", "nb_lr"


@dataclass(frozen=True)
class TrainerParameters:
    """Parameters of `ClassifierTrainer`.

    Attributes:
        held_share: share of the reviews that is held out for early stopping and for tuning
            temperature and tau.
        nets: nets in an average.
        average_tfidf: whether averages have `tfidf_lr`; None: where the classes are imbalanced.
    """

    held_share: float = 0.1
    nets: int = 1
    average_tfidf: bool | None = None


class FittedModel(NamedTuple):
    """A model in two states.

    Attributes:
        without_held_out: fitted without the held-out reviews, on which its classifier is tuned.
        final: the model that scores.
    """

    without_held_out: SentimentModel
    final: SentimentModel


class ClassifierTrainer:
    """Fits classifiers on the same reviews. Models that several classifiers have are fitted once.

    Args:
        reviews: training reviews.
        training: seed, options and files.

    Raises:
        SettingsError: an option is unknown; the message lists the known ones.
    """

    def __init__(self, reviews: Reviews, training: ModelTraining) -> None:
        validate_options(training.options)
        self.training = training
        self.parameters = training.parameters(TrainerParameters)
        self.reviews = reviews
        self.prior = class_shares(reviews.labels, training.classes)
        self._fitted: dict[tuple[str, int], FittedModel] = {}
        permutation = np.random.default_rng(training.seed).permutation(len(reviews))
        held_out_count = max(training.classes, int(len(reviews) * self.parameters.held_share))
        self.held_out = self._take(np.sort(permutation[:held_out_count]))
        self.remaining = self._take(np.sort(permutation[held_out_count:]))

    def _take(self, indices: Ints) -> tuple[Documents, Labels]:
        return self.reviews.documents.take(indices), self.reviews.labels[indices]

    def fit(self, name: str) -> Classifier:
        """Fits a model or an average, and tunes it on the held-out reviews.

        Afterwards linear models, which need no early stopping, are fitted again on all reviews.

        Args:
            name: one of `registry.classifier_names`.

        Raises:
            SettingsError: the name is unknown.
        """
        validate_names([name])
        averaged = averaged_name(name)
        weights = None
        if averaged is None:
            members = [self._fit_model(name)]
        else:
            members, weights = self._fit_average(averaged)
        classifier = Classifier(
            [member.without_held_out for member in members],
            self.training.classes,
            self.prior,
            weights=weights,
        )
        # The baseline is used as usual: balanced class weights, nothing tuned.
        classifier.tune(*self.held_out, equal_priors=name == BASELINE)
        return replace(classifier, models=[member.final for member in members])

    def _fit_average(self, name: str) -> tuple[list[FittedModel], tuple[float, ...] | None]:
        """The models of an average, and their weights; None if these are equal."""
        net_count = max(1, self.parameters.nets) if model_specs()[name].role == "net" else 1
        with_tfidf = self.parameters.average_tfidf
        if with_tfidf is None:
            with_tfidf = is_imbalanced(self.prior)
        linear = (NB_LR, BASELINE) if with_tfidf else (NB_LR,)
        members = [self._fit_model(name, number) for number in range(net_count)]
        members += [self._fit_model(linear_name) for linear_name in linear]
        if net_count == 1:
            return members, None
        return members, (*[1 / net_count] * net_count, *[1.0] * len(linear))

    def _fit_model(self, name: str, number: int = 0) -> FittedModel:
        """Fits a model.

        Args:
            name: of a model.
            number: added to the seed; outside averages it is 0.
        """
        if (name, number) not in self._fitted:
            self.training.progress(f"fitting {name} on {len(self.reviews):,} reviews")
            training = replace(self.training, seed=self.training.seed + number)
            without_held_out = build_model(name).fit(*self.remaining, self.held_out, training)
            final = without_held_out
            if model_specs()[name].role == "linear":
                all_reviews = (self.reviews.documents, self.reviews.labels)
                final = build_model(name).fit(*all_reviews, self.held_out, self.training)
            self._fitted[name, number] = FittedModel(without_held_out, final)
        return self._fitted[name, number]


def validate_options(options: Mapping[str, float]) -> None:
    """Checks the names of `sentiment.options`.

    Raises:
        SettingsError: a name is no parameter of the trainer or of a model.
    """
    valid = {*parameter_names(TrainerParameters), *option_names()}
    unknown = [name for name in options if name not in valid]
    if unknown:
        raise SettingsError(
            f"sentiment.options has unknown names: {', '.join(unknown)}. Known are "
            f"{', '.join(sorted(valid))}"
        )

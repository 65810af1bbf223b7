"""Fits classifiers by name: single models, and averages of a net or the encoder with linear ones.

An average `average_<name>` has the model `<name>` and `nb_lr`; where the classes are imbalanced it
also has `tfidf_lr`, which recognises rare classes well. With the option `nets` it has several nets
with different seeds, which together weigh as much as one linear model.

Temperature and tau are tuned on held-out reviews, or, with folds, on out-of-fold scores of all
reviews: a tenth of a few thousand texts has too few of a rare class for a choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from batch_predictions.core.arrays import Floats
from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.models.base import (
    ModelTraining,
    SentimentModel,
    averaged_name,
    build_model,
    class_shares,
    is_imbalanced,
    log_softmax,
    model_specs,
    option_names,
    parameter_names,
    validate_names,
)
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.labelled_reviews import Labels, Reviews, ReviewSplit
from batch_predictions.models.sentiment.text.token_ids import Ints
from batch_predictions.settings import SettingsError

BASELINE, NB_LR = "tfidf_lr", "nb_lr"


@dataclass(frozen=True)
class TrainerParameters:
    """Parameters of the class `ClassifierTrainer`.

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
    """A model, and what its classifier is tuned on.

    Attributes:
        final: the model that scores.
        scores: log-probabilities of the tuning reviews by models that were not fitted on them,
            (reviews, classes).
    """

    final: SentimentModel
    scores: Floats


class ClassifierTrainer:
    """Fits classifiers on the same reviews. Models that several classifiers have are fitted once.

    Args:
        reviews: training reviews.
        training: seed, options and files.
        folds: of all reviews, for out-of-fold scores; without folds, `held_share` of the reviews
            is held out for tuning.

    Raises:
        SettingsError: an option is unknown; the message lists the known ones.
    """

    def __init__(
        self, reviews: Reviews, training: ModelTraining, folds: Sequence[ReviewSplit] = ()
    ) -> None:
        validate_options(training.options)
        self.training = training
        self.parameters = training.parameters(TrainerParameters)
        self.reviews = reviews
        self.folds = tuple(folds)
        self.prior = class_shares(reviews.labels, training.classes)
        self._fitted: dict[tuple[str, int], FittedModel] = {}
        self.remaining, self.held_out = self._hold_out(np.arange(len(reviews)))

    def _take(self, indices: Ints) -> tuple[Documents, Labels]:
        return self.reviews.documents.take(indices), self.reviews.labels[indices]

    def _hold_out(self, rows: Ints) -> tuple[tuple[Documents, Labels], tuple[Documents, Labels]]:
        """The texts and labels of these rows in two parts: for training, and held out."""
        permutation = np.random.default_rng(self.training.seed).permutation(len(rows))
        count = max(self.training.classes, int(len(rows) * self.parameters.held_share))
        return (
            self._take(np.sort(rows[permutation[count:]])),
            self._take(np.sort(rows[permutation[:count]])),
        )

    def fit(self, name: str) -> Classifier:
        """Fits a model or an average, and tunes it.

        Args:
            name: one of `registry.classifier_names`.

        Raises:
            SettingsError: the name is unknown.
        """
        classifier, scores = self._fit_untuned(name)
        labels = self.reviews.labels if self.folds else self.held_out[1]
        self._tune(name, classifier, scores, labels)
        return classifier

    def cross_validate(self, name: str) -> Floats:
        """Adjusted out-of-fold probabilities of all reviews, (reviews, classes).

        A review's models were fitted on the other folds. Temperature and tau were tuned on the
        scores of the other folds' reviews, by models that may have seen this review.

        Args:
            name: one of `registry.classifier_names`.

        Raises:
            SettingsError: the name is unknown.
        """
        untuned, scores = self._fit_untuned(name)
        probabilities = np.zeros_like(scores)
        for fold in self.folds:
            labels = self.reviews.labels[fold.train]
            classifier = replace(untuned, prior=class_shares(labels, self.training.classes))
            self._tune(name, classifier, scores[fold.train], labels)
            probabilities[fold.test] = classifier.adjusted_probabilities(scores[fold.test])
        return probabilities

    def _tune(self, name: str, classifier: Classifier, scores: Floats, labels: Labels) -> None:
        # The baseline predicts as usual: balanced class weights, no tau. Out-of-fold scores are
        # those of all reviews, enough for Platt scaling.
        classifier.tune(scores, labels, equal_priors=name == BASELINE, platt=bool(self.folds))

    def _fit_untuned(self, name: str) -> tuple[Classifier, Floats]:
        """A classifier without temperature and tau, and the scores to tune it on."""
        validate_names([name])
        averaged = averaged_name(name)
        weights = None
        if averaged is None:
            members = [self._fit_model(name)]
        else:
            members, weights = self._fit_average(averaged)
        models = [member.final for member in members]
        classifier = Classifier(models, self.training.classes, self.prior, weights=weights)
        return classifier, classifier.average([member.scores for member in members])

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
        """Fits a sentiment model by its name and number, each at most once.

        Args:
            name: of a model.
            number: added to the seed; outside averages it is 0.
        """
        if (name, number) not in self._fitted:
            self.training.progress(f"fitting {name} on {len(self.reviews):,} reviews")
            training = replace(self.training, seed=self.training.seed + number)
            is_linear = model_specs()[name].role == "linear"
            if is_linear:
                all_reviews = (self.reviews.documents, self.reviews.labels)
                final = build_model(name).fit(*all_reviews, self.held_out, training)
            else:
                final = build_model(name).fit(*self.remaining, self.held_out, training)
            if self.folds:
                scores = self._out_of_fold_scores(name, training)
            else:
                without_held_out = final
                if is_linear:
                    without_held_out = build_model(name).fit(
                        *self.remaining, self.held_out, training
                    )
                scores = log_softmax(without_held_out.log_scores(self.held_out[0]))
            self._fitted[name, number] = FittedModel(final, scores)
        return self._fitted[name, number]

    def _out_of_fold_scores(self, name: str, training: ModelTraining) -> Floats:
        """Log-probabilities of all reviews by models of the other folds, (reviews, classes)."""
        scores = np.zeros((len(self.reviews), training.classes), np.float32)
        for fold in self.folds:
            remaining, held_out = self._hold_out(fold.train)
            if model_specs()[name].role == "linear":
                remaining = self._take(fold.train)
            model = build_model(name).fit(*remaining, held_out, training)
            scores[fold.test] = log_softmax(
                model.log_scores(self.reviews.documents.take(fold.test))
            )
        return scores


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

"""The stored classifier: one model, or several whose log-probabilities are averaged.

Models are fitted to the classes in the shares in which they occur, so a rare class is almost never
the likeliest. The classifier therefore divides probabilities by the class shares to the power tau
(Menon et al. 2021); tau is chosen for macro-F1 on held-out reviews. The sentiment is the likeliest
class after this adjustment; `undo_prior_shift` reverses it, for the shares of an item.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from batch_predictions.core.arrays import Doubles, Floats
from batch_predictions.models.sentiment.models.base import (
    SentimentModel,
    is_imbalanced,
    load_model,
    log_softmax,
)
from batch_predictions.models.sentiment.sentiment_metrics import (
    fit_platt,
    fit_temperature,
    macro_f1,
)
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.labelled_reviews import Labels

TAUS = tuple(np.round(np.arange(0, 1.21, 0.1), 1).tolist())
MACRO_F1_TOLERANCE = 0.005
"""Taus whose macro-F1 is this close to the best count as equally good."""
MIN_PRIOR = 1e-6


@dataclass
class Classifier:
    """Models, and what turns their scores into probabilities and a sentiment.

    Attributes:
        models: one or several; none if there were too few reviews to train on. A classifier
            without models cannot score.
        classes: number of classes.
        prior: share of every class in the training data, (classes,).
        temperature: divides the mean log-probabilities.
        tau: strength of the adjustment for rare classes; 0 is none.
        confusion: mean adjusted probabilities (columns) of held-out reviews by true class (rows).
        weights: of every model in the mean of log-probabilities; None: equal weights.
        intercepts: added to the scores of each class by Platt scaling, (classes,); None: 0.
    """

    models: Sequence[SentimentModel]
    classes: int
    prior: Doubles
    temperature: float = 1.0
    tau: float = 0.0
    confusion: Doubles | None = None
    weights: tuple[float, ...] | None = None
    intercepts: Doubles | None = None

    def probabilities(self, documents: Documents) -> Floats:
        """Adjusted probabilities, (documents, classes)."""
        if not len(documents):
            return np.zeros((0, self.classes), np.float32)
        return self.adjusted_probabilities(self.mean_scores(documents))

    def adjusted_probabilities(self, scores: Floats) -> Floats:
        """Adjusted probabilities from mean log-probabilities, (documents, classes)."""
        return np.exp(log_softmax(self._adjust(scores)))

    def mean_scores(self, documents: Documents) -> Floats:
        """Weighted mean of the models' log-probabilities, (documents, classes)."""
        return self.average([log_softmax(model.log_scores(documents)) for model in self.models])

    def average(self, log_probabilities: Sequence[Floats]) -> Floats:
        """Weighted mean of one array for each model, (documents, classes)."""
        return np.asarray(np.average(log_probabilities, axis=0, weights=self.weights), np.float32)

    def tune(
        self, scores: Floats, labels: Labels, *, equal_priors: bool = False, platt: bool = False
    ) -> None:
        """Sets temperature, intercepts, tau and confusion.

        Temperature and intercepts maximise the likelihood, tau the macro-F1.

        Args:
            scores: mean log-probabilities of reviews by models that were not fitted on them,
                (reviews, classes).
            labels: their classes.
            equal_priors: the sentiment is that of a logistic regression with balanced class
                weights: without `platt`, temperature and tau are 1; with it, the temperature alone
                is fitted.
            platt: fit intercepts too; needs more texts of a rare class than a temperature does.
        """
        if equal_priors:
            # tau is 1 / temperature, so that the likeliest class is that of the temperature 1.
            self.temperature = fit_temperature(scores, labels) if platt else 1.0
            self.tau = 1 / self.temperature
        else:
            if platt:
                self.temperature, self.intercepts = fit_platt(scores, labels)
            else:
                self.temperature = fit_temperature(scores, labels)
            # With balanced classes no adjustment is needed, and noise would choose one.
            if is_imbalanced(self.prior):
                self.tau = self._best_tau(scores, labels)
        probabilities = self.adjusted_probabilities(scores)
        self.confusion = np.stack(
            [
                probabilities[labels == k].mean(axis=0)
                if (labels == k).any()
                else np.eye(self.classes)[k]
                for k in range(self.classes)
            ]
        ).astype(np.float64)

    def _best_tau(self, scores: Floats, labels: Labels) -> float:
        """The middle of the taus whose macro-F1 is within MACRO_F1_TOLERANCE of the best."""
        f1_by_tau = {
            tau: macro_f1(labels, self._adjust(scores, tau).argmax(axis=1), self.classes)
            for tau in TAUS
        }
        best = max(f1_by_tau.values())
        near_best = [tau for tau, f1 in f1_by_tau.items() if f1 >= best - MACRO_F1_TOLERANCE]
        return float(near_best[len(near_best) // 2])

    def _adjust(self, scores: Floats, tau: float | None = None) -> Floats:
        """Subtracts tau times the logarithm of the prior from calibrated scores."""
        intercepts = 0.0 if self.intercepts is None else self.intercepts
        log_prior = np.log(np.maximum(self.prior, MIN_PRIOR))
        tau = self.tau if tau is None else tau
        return np.asarray(scores / self.temperature + intercepts - tau * log_prior, np.float32)

    def undo_prior_shift(self, probabilities: Doubles) -> Doubles:
        """Probabilities without the adjustment for rare classes, (n, classes)."""
        unadjusted = probabilities * np.maximum(self.prior, MIN_PRIOR) ** self.tau
        return np.asarray(unadjusted / unadjusted.sum(axis=1, keepdims=True))

    def to_device(self, device: str) -> Self:
        """Moves the models to a device, in its fastest precision."""
        for model in self.models:
            model.to_device(device)
        return self

    def save(self, folder: Path) -> None:
        """Writes `classifier.json`, and a folder for every model."""
        manifest = {
            "classes": self.classes,
            "prior": self.prior.tolist(),
            "temperature": self.temperature,
            "tau": self.tau,
            "confusion": None if self.confusion is None else self.confusion.tolist(),
            "parts": [model.kind for model in self.models],
            "weights": self.weights,
            "intercepts": None if self.intercepts is None else self.intercepts.tolist(),
        }
        (folder / "classifier.json").write_text(json.dumps(manifest, indent=1), "utf-8")
        for n, model in enumerate(self.models):
            model_folder = folder / f"part-{n}"
            model_folder.mkdir()
            model.save(model_folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        manifest = json.loads((folder / "classifier.json").read_text("utf-8"))
        confusion, weights = manifest["confusion"], manifest.get("weights")
        intercepts = manifest.get("intercepts")
        return cls(
            [load_model(kind, folder / f"part-{n}") for n, kind in enumerate(manifest["parts"])],
            manifest["classes"],
            np.array(manifest["prior"]),
            manifest["temperature"],
            manifest["tau"],
            None if confusion is None else np.array(confusion),
            None if weights is None else tuple(weights),
            None if intercepts is None else np.array(intercepts),
        )

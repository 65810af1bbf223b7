"""Linear models: TF-IDF with logistic regression, and NB-weighted logistic regression.

Both use words and pairs of words. `tfidf_lr`: 1 + log tf, times idf, rows of length 1, balanced
class weights. `nb_lr` (Wang and Manning 2012): presence of a term times the log-ratio of a naive
Bayes model, one regression for each class against the others.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from batch_predictions.core.arrays import Doubles, Floats
from batch_predictions.models.sentiment.models.base import (
    IMPOSSIBLE_LOGIT,
    ModelTraining,
    SentimentModel,
    SentimentModelSpec,
    class_shares,
    coefficients_by_class,
    log_softmax,
)
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.labelled_reviews import Labels
from batch_predictions.models.sentiment.text.ngrams import NGramIndex, frequent_ngrams

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MAX_FEATURES = 200_000


@dataclass(frozen=True)
class TfidfParameters:
    """Parameters of the model `tfidf_lr`.

    Attributes:
        tfidf_c: inverse strength of the L2 penalty.
    """

    tfidf_c: float = 3.0


@dataclass(frozen=True)
class NbParameters:
    """Parameters of the model `nb_lr`.

    Attributes:
        nb_c: inverse strength of the L2 penalty; None: 1, and 0.1 for long texts.
    """

    nb_c: float | None = None


class LinearModel(SentimentModel):
    """Weights of n-grams by class.

    Args:
        presence: true: `nb_lr`, a term counts once; false: `tfidf_lr`.
    """

    kind: ClassVar[str] = "linear"

    def __init__(self, presence: bool) -> None:
        self.presence = presence
        self.ngrams = NGramIndex(())
        self.weights: Floats = np.zeros((0, 0), np.float32)
        self.bias: Floats = np.zeros(0, np.float32)
        self.scale: Floats = np.zeros(0, np.float32)

    def fit(
        self,
        documents: Documents,
        labels: Labels,
        held_out: tuple[Documents, Labels],
        training: ModelTraining,
    ) -> Self:
        """Fits by L-BFGS, which is deterministic; `held_out` is not used."""
        # Terms that occur once carry no information about a class (min_df=2). In nb_lr their
        # log-ratio is small anyway, so that they are dropped only where memory matters.
        min_df = 1 if self.presence and len(documents) < 50_000 else 2
        frequencies = frequent_ngrams(documents.tokens, min_df, MAX_FEATURES)
        if not frequencies:
            frequencies = frequent_ngrams(documents.tokens, 1, MAX_FEATURES)
        self.ngrams = NGramIndex([ngram for ngram, _ in frequencies])
        features = self._features(documents)
        if self.presence:
            self._fit_nb(features, labels, training)
        else:
            df = np.array([count for _, count in frequencies], dtype=np.float64)
            idf = np.log((1 + len(documents)) / (1 + df)) + 1
            self._fit_tfidf(features, labels, idf, training)
        return self

    def log_scores(self, documents: Documents) -> Floats:
        """Log-probabilities up to a constant per row, (documents, classes)."""
        features = self._features(documents)
        if self.presence:
            logits = np.asarray(features @ self.weights) + self.bias
            # The logarithm of the sigmoid, without overflow.
            return np.asarray(-np.logaddexp(0, -logits), dtype=np.float32)
        norms = np.sqrt(np.asarray(features.power(2) @ (self.scale**2))).reshape(-1, 1)
        logits = np.asarray(features @ (self.weights * self.scale[:, np.newaxis]))
        return log_softmax(logits / np.maximum(norms, 1e-12) + self.bias)

    def _fit_tfidf(
        self, features: csr_matrix, labels: Labels, idf: Doubles, training: ModelTraining
    ) -> None:
        from scipy.sparse import diags
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import normalize

        self.scale = idf.astype(np.float32)
        model = LogisticRegression(
            C=training.parameters(TfidfParameters).tfidf_c,
            class_weight="balanced",
            max_iter=200,
            tol=1e-3,
        )
        model.fit(normalize(features @ diags(self.scale)), labels)
        weights, bias = coefficients_by_class(model, training.classes)
        # Balanced weights make the classes equally likely; scores must have the data's shares.
        bias = bias + np.log(np.maximum(class_shares(labels, training.classes), 1e-6))
        self.weights, self.bias = weights.T.astype(np.float32), bias.astype(np.float32)

    def _fit_nb(self, features: csr_matrix, labels: Labels, training: ModelTraining) -> None:
        self.scale = np.ones(len(self.ngrams), np.float32)
        strength = training.parameters(NbParameters).nb_c
        if strength is None:
            # The many terms of long texts overfit: they need a stronger penalty.
            strength = 1.0 if features.nnz < 60 * features.shape[0] else 0.1
        if training.classes == 2:
            weights, bias = _fit_nb_class(features, labels == 0, strength)
            columns, biases = [weights, -weights], [bias, -bias]
        else:
            fitted = [
                _fit_nb_class(features, labels == k, strength) for k in range(training.classes)
            ]
            columns, biases = [weights for weights, _ in fitted], [bias for _, bias in fitted]
        self.weights = np.stack(columns, axis=1).astype(np.float32)
        self.bias = np.array(biases, np.float32)

    def _features(self, documents: Documents) -> csr_matrix:
        """Presence, or 1 + log tf, of known n-grams, (documents, n-grams), columns in order."""
        from scipy.sparse import csr_matrix

        rows = self.ngrams.find(documents.token_ids)
        matrix = csr_matrix(
            (np.ones(len(rows.values), np.float32), rows.values, rows.bounds),
            shape=(len(documents), len(self.ngrams)),
        )
        matrix.sum_duplicates()
        if self.presence:
            matrix.data[:] = 1
        else:
            matrix.data = 1 + np.log(matrix.data)
        return matrix

    def save(self, folder: Path) -> None:
        """Writes n-grams as JSON, arrays as .npy."""
        manifest = {"presence": self.presence, "terms": self.ngrams.ngrams}
        (folder / "linear.json").write_text(json.dumps(manifest, ensure_ascii=False), "utf-8")
        for name in ("weights", "bias", "scale"):
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        manifest = json.loads((folder / "linear.json").read_text("utf-8"))
        model = cls(manifest["presence"])
        model.ngrams = NGramIndex(manifest["terms"])
        for name in ("weights", "bias", "scale"):
            setattr(model, name, np.load(folder / f"{name}.npy"))
        return model


def _fit_nb_class(
    features: csr_matrix, is_class: np.ndarray, strength: float
) -> tuple[Doubles, float]:
    """Weights (n-grams,) and intercept of one class against the others.

    Args:
        features: presence of n-grams, (documents, n-grams).
        is_class: which documents have the class.
        strength: inverse strength of the penalty.
    """
    from scipy.sparse import diags
    from sklearn.linear_model import LogisticRegression

    if not is_class.any():
        return np.zeros(features.shape[1]), IMPOSSIBLE_LOGIT
    in_class = 1 + np.asarray(features[is_class].sum(axis=0)).ravel()
    elsewhere = 1 + np.asarray(features[~is_class].sum(axis=0)).ravel()
    log_ratio = np.log(in_class / in_class.sum()) - np.log(elsewhere / elsewhere.sum())
    model = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
    model.fit(features @ diags(log_ratio.astype(np.float32)), is_class)
    return model.coef_.ravel() * log_ratio, float(model.intercept_[0])


tfidf_lr = SentimentModelSpec("tfidf_lr", lambda: LinearModel(False), "linear", TfidfParameters)
nb_lr = SentimentModelSpec("nb_lr", lambda: LinearModel(True), "linear", NbParameters)

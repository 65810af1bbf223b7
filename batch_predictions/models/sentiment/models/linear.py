"""The linear baselines: TF-IDF with logistic regression, and NB-weighted logistic regression.

Both count words and pairs of words. TF-IDF: 1 + log tf, times idf, rows of length 1, classes
weighted to equal mass. NB-weighted (Wang and Manning 2012): presence times the log-ratio of a
naive Bayes model, one regression a class against the others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from batch_predictions.models.sentiment.data import Labels
from batch_predictions.models.sentiment.models.base import (
    IMPOSSIBLE_LOGIT,
    Floats,
    ModelTraining,
    class_counts,
    log_softmax,
    priors,
)
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.ngrams import NGramIndex, frequent

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MOST_TERMS = 200_000


class LinearModel:
    """Weights of terms by class. `presence`: whether a term counts once (NB) or by TF-IDF."""

    kind: ClassVar[str] = "linear"

    def __init__(self, presence: bool) -> None:
        self.presence = presence
        self.terms = NGramIndex(())
        self.weights: Floats = np.zeros((0, 0), np.float32)
        self.bias: Floats = np.zeros(0, np.float32)

    def fit(
        self,
        documents: Documents,
        labels: Labels,
        held: tuple[Documents, Labels],
        training: ModelTraining,
    ) -> Self:
        """Fits by L-BFGS, which is deterministic."""
        # A word that stood once tells of a text, not of a class; NB's ratio holds it small.
        minimum = 1 if self.presence and len(documents) < 50_000 else 2
        kept = frequent(documents.tokens, minimum, MOST_TERMS)
        self.terms = NGramIndex([term for term, _ in kept])
        if self.presence:
            self._fit_nb(self._counts(documents), labels, training)
        else:
            n = np.array([number for _, number in kept], dtype=np.float64)
            idf = np.log((1 + len(documents)) / (1 + n)) + 1
            self._fit_tfidf(self._counts(documents), labels, idf, training)
        return self

    def log_scores(self, documents: Documents) -> Floats:
        """Log-probabilities, (n, classes)."""
        counts = self._counts(documents)
        if self.presence:
            z = np.asarray(counts @ self.weights) + self.bias
            # log sigmoid, without overflow
            return np.asarray(-np.logaddexp(0, -z), dtype=np.float32)
        lengths = np.sqrt(np.asarray(counts.power(2) @ (self.scale**2))).reshape(-1, 1)
        z = np.asarray(counts @ (self.weights * self.scale[:, np.newaxis]))
        return log_softmax(z / np.maximum(lengths, 1e-12) + self.bias)

    def _fit_tfidf(
        self, counts: csr_matrix, labels: Labels, idf: Any, training: ModelTraining
    ) -> None:
        from scipy.sparse import diags
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import normalize

        self.scale = idf.astype(np.float32)
        features = normalize(counts @ diags(self.scale))
        model = LogisticRegression(
            C=training.option("tfidf_c", 3.0), class_weight="balanced", max_iter=200, tol=1e-3
        )
        model.fit(features, labels)
        weights, bias = class_counts(model, training.classes)
        # Fitted as if classes were of one mass; the scores are to be those of the data.
        bias = bias + np.log(np.maximum(priors(labels, training.classes), 1e-6))
        self.weights, self.bias = weights.T.astype(np.float32), bias.astype(np.float32)

    def _fit_nb(self, counts: csr_matrix, labels: Labels, training: ModelTraining) -> None:
        from scipy.sparse import diags
        from sklearn.linear_model import LogisticRegression

        self.scale = np.ones(len(self.terms), np.float32)
        # Long texts say much by their number of terms alone: they are held more firmly.
        usual = 1.0 if counts.nnz < 60 * counts.shape[0] else 0.1
        strength = training.option("nb_c", usual)
        columns, biases = [], []
        for each in range(training.classes):
            mine = labels == each
            if not mine.any():
                columns.append(np.zeros(len(self.terms)))
                biases.append(IMPOSSIBLE_LOGIT)
                continue
            inside = 1 + np.asarray(counts[mine].sum(axis=0)).ravel()
            outside = 1 + np.asarray(counts[~mine].sum(axis=0)).ravel()
            ratio = np.log(inside / inside.sum()) - np.log(outside / outside.sum())
            model = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
            model.fit(counts @ diags(ratio.astype(np.float32)), mine)
            columns.append(model.coef_.ravel() * ratio)
            biases.append(float(model.intercept_[0]))
            if training.classes == 2:
                columns, biases = [columns[0], -columns[0]], [biases[0], -biases[0]]
                break
        self.weights = np.stack(columns, axis=1).astype(np.float32)
        self.bias = np.array(biases, np.float32)

    def _counts(self, documents: Documents) -> csr_matrix:
        """Presence or 1 + log tf of known terms, (n, terms) in CSR, columns in order."""
        from scipy.sparse import csr_matrix

        found = self.terms.find(documents.coded)
        matrix = csr_matrix(
            (np.ones(len(found.values), np.float32), found.values, found.bounds),
            shape=(len(documents), len(self.terms)),
        )
        matrix.sum_duplicates()
        if self.presence:
            matrix.data[:] = 1
        else:
            matrix.data = 1 + np.log(matrix.data)
        return matrix

    def save(self, folder: Path) -> None:
        """Terms as JSON, arrays as .npy."""
        about = {"presence": self.presence, "terms": self.terms.names}
        (folder / "linear.json").write_text(json.dumps(about, ensure_ascii=False), "utf-8")
        for name in ("weights", "bias", "scale"):
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        about = json.loads((folder / "linear.json").read_text("utf-8"))
        made = cls(about["presence"])
        made.terms = NGramIndex(about["terms"])
        for name in ("weights", "bias", "scale"):
            setattr(made, name, np.load(folder / f"{name}.npy"))
        return made

"""`char_lr`: TF-IDF of character n-grams with logistic regression.

Two to five characters within words, the blanks at both ends included: the forms of a word, its
misspellings and its parts share n-grams, which helps where most words occur in few texts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from batch_predictions.core.arrays import Floats
from batch_predictions.models.sentiment.models.base import (
    ModelTraining,
    SentimentModel,
    SentimentModelSpec,
    coefficients_by_class,
    log_softmax,
)
from batch_predictions.models.sentiment.text.documents import Documents, normalise
from batch_predictions.models.sentiment.text.labelled_reviews import Labels

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

NGRAM_LENGTHS = (2, 5)
"""Characters of the shortest and of the longest n-gram."""
MAX_FEATURES = 200_000


@dataclass(frozen=True)
class CharParameters:
    """Parameters of the model `char_lr`.

    Attributes:
        char_c: inverse strength of the L2 penalty.
    """

    char_c: float = 10.0


class CharNGramModel(SentimentModel):
    """Weights of character n-grams by class; the classes count in the shares of the texts."""

    kind: ClassVar[str] = "char"

    def __init__(self) -> None:
        self.vectorizer: TfidfVectorizer | None = None
        self.weights: Floats = np.zeros((0, 0), np.float32)
        """(features, classes)"""
        self.bias: Floats = np.zeros(0, np.float32)

    def fit(
        self,
        documents: Documents,
        labels: Labels,
        held_out: tuple[Documents, Labels],
        training: ModelTraining,
    ) -> Self:
        """Fits by L-BFGS, which is deterministic; `held_out` is not used."""
        from sklearn.linear_model import LogisticRegression

        features = self._fit_features(documents)
        model = LogisticRegression(
            C=training.parameters(CharParameters).char_c, max_iter=200, tol=1e-3
        )
        weights, bias = coefficients_by_class(model.fit(features, labels), training.classes)
        self.weights, self.bias = weights.T.astype(np.float32), bias.astype(np.float32)
        return self

    def log_scores(self, documents: Documents) -> Floats:
        """Computes log-probabilities, (documents, classes)."""
        return log_softmax(np.asarray(self._features(documents) @ self.weights) + self.bias)

    def _fit_features(self, documents: Documents) -> csr_matrix:
        """Fits what turns texts into features, and returns those of the texts."""
        self.vectorizer = _build_vectorizer(min_df=2)
        try:
            return self.vectorizer.fit_transform(documents)
        except ValueError:  # no n-gram occurs in two texts
            self.vectorizer = _build_vectorizer(min_df=1)
            return self.vectorizer.fit_transform(documents)

    def _features(self, documents: Documents) -> csr_matrix:
        """Features of texts, (documents, features)."""
        assert self.vectorizer is not None
        return self.vectorizer.transform(documents)

    def save(self, folder: Path) -> None:
        """Writes n-grams as JSON, arrays as .npy."""
        assert self.vectorizer is not None
        ngrams = self.vectorizer.get_feature_names_out().tolist()
        (folder / "char.json").write_text(
            json.dumps({"terms": ngrams}, ensure_ascii=False), "utf-8"
        )
        np.save(folder / "idf.npy", self.vectorizer.idf_)
        np.save(folder / "weights.npy", self.weights)
        np.save(folder / "bias.npy", self.bias)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        model = cls()
        ngrams = json.loads((folder / "char.json").read_text("utf-8"))["terms"]
        model.vectorizer = _build_vectorizer(vocabulary=ngrams)
        model.vectorizer.idf_ = np.load(folder / "idf.npy")
        model.weights = np.load(folder / "weights.npy")
        model.bias = np.load(folder / "bias.npy")
        return model


def _build_vectorizer(**parameters: object) -> TfidfVectorizer:
    """A vectorizer: 1 + log tf, times idf, rows of length 1."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        preprocessor=normalise,
        analyzer="char_wb",
        ngram_range=NGRAM_LENGTHS,
        max_features=MAX_FEATURES,
        sublinear_tf=True,
        dtype=np.float32,
        **parameters,
    )


char_lr = SentimentModelSpec("char_lr", CharNGramModel, "linear", CharParameters, averaged=True)

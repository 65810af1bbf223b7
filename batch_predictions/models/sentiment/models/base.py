"""The contract of what reads sentiment: fit on documents and labels, log-scores for batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from batch_predictions.models.sentiment.data import Labels
from batch_predictions.models.sentiment.text.documents import Documents

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

Floats: TypeAlias = npt.NDArray[np.float32]
Weights: TypeAlias = npt.NDArray[np.float64]
Progress: TypeAlias = Callable[[str], None]


@dataclass(frozen=True)
class ModelTraining:
    """What parts are fitted with.

    Attributes:
        classes: number of classes.
        seed: of everything random.
        vectors: file or folder of pretrained word vectors; None: from scratch.
        encoder: Hugging Face folder of the encoder part.
        options: further values by name, such as dimensions.
        progress: told what is going on.
    """

    classes: int
    seed: int
    vectors: Path | None = None
    encoder: Path | None = None
    options: dict[str, float] = field(default_factory=dict)
    progress: Progress = print

    def option(self, name: str, default: float) -> float:
        """A further value, or its default."""
        return self.options.get(name, default)


class SentimentModel(Protocol):
    """One model. A document's scores do not depend on the documents beside it."""

    kind: ClassVar[str]

    def fit(
        self,
        documents: Documents,
        labels: Labels,
        held: tuple[Documents, Labels],
        training: ModelTraining,
    ) -> Self:
        """Learns; `held` is for early stopping and is not learned from."""
        ...

    def log_scores(self, documents: Documents) -> Floats:
        """Log-probabilities up to a constant a row, (n, classes)."""
        ...

    def save(self, folder: Path) -> None:
        """Writes arrays as .npy and everything else as JSON."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        ...


def log_softmax(scores: npt.NDArray[np.floating]) -> Floats:
    """Scores as log-probabilities, row by row."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), np.float32)


def priors(labels: Labels, classes: int) -> npt.NDArray[np.float64]:
    """Share of every class, (classes,)."""
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    return np.asarray(counts / max(1.0, float(counts.sum())))


def is_imbalanced(prior: npt.NDArray[np.float64]) -> bool:
    """Whether classes are of unlike sizes, so that a rare one needs care."""
    return bool(prior.min() < 0.8 * prior.max())


IMPOSSIBLE_LOGIT = float(np.log(1e-6))
"""Log-odds of a class that no text of the training has."""


def class_counts(model: LogisticRegression, classes: int) -> tuple[Weights, Weights]:
    """Coefficients (classes, f) and intercepts (classes,) of a fitted model of scikit-learn, which
    has one row for two classes, the second against the first, and none of classes it never met."""
    rows, bias = model.coef_, model.intercept_
    if len(bias) == 1:
        rows, bias = np.vstack([-rows, rows]) / 2, np.append(-bias, bias) / 2
    weights, biases = np.zeros((classes, rows.shape[1])), np.full(classes, IMPOSSIBLE_LOGIT)
    weights[model.classes_], biases[model.classes_] = rows, bias
    return weights, biases

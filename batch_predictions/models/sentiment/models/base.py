"""The contract of sentiment models, and how one is declared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Self, TypeAlias, TypeVar

from batch_predictions.core.arrays import Floats
from batch_predictions.models.sentiment.models.net_parameters import build_parameters
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.labelled_reviews import Labels

Progress: TypeAlias = Callable[[str], None]
Role: TypeAlias = Literal["linear", "net", "encoder"]
"""How a model is trained and averaged; see `SentimentModelSpec`."""
Parameters = TypeVar("Parameters")


@dataclass(frozen=True)
class ModelTraining:
    """The configuration that all sentiment models are fitted with.

    Attributes:
        classes: number of classes.
        seed: of everything random.
        vectors: file or folder of pretrained word vectors; None: nets learn their own.
        encoder: Hugging Face folder of the encoder.
        options: `sentiment.options`: parameters of all models by name.
        progress: receives log lines.
    """

    classes: int
    seed: int
    vectors: Path | None = None
    encoder: Path | None = None
    options: Mapping[str, float] = field(default_factory=dict)
    progress: Progress = print

    def parameters(self, kind: type[Parameters]) -> Parameters:
        """Builds a model's dataclass of parameters from the options of the same names."""
        return build_parameters(kind, self.options)


class SentimentModel(ABC):
    """A sentiment model. The scores of a document do not depend on the other documents."""

    kind: ClassVar[str]
    """Names the class in stored classifiers; `registry.load_model` finds the class by it."""

    @abstractmethod
    def fit(
        self,
        documents: Documents,
        labels: Labels,
        held_out: tuple[Documents, Labels],
        training: ModelTraining,
    ) -> Self:
        """Fits the model. The same input gives the same weights.

        Args:
            documents, labels: training reviews.
            held_out: reviews for early stopping; the model must not learn from them.
            training: seed, options and files.
        """

    @abstractmethod
    def log_scores(self, documents: Documents) -> Floats:
        """Log-probabilities up to a constant per row, (documents, classes)."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes arrays as .npy files and everything else as JSON."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""

    def to_device(self, device: str) -> Self:
        """Moves the model to a device, in its fastest precision; by default does nothing.

        Args:
            device: `cpu`, `cuda` or `cuda:<number>`.
        """
        return self


@dataclass(frozen=True)
class NoParameters:
    """Parameters of a model that has none."""


@dataclass(frozen=True)
class SentimentModelSpec:
    """Declares a model at the top level of its module.

    Attributes:
        name: in `sentiment.candidates` and in `evaluation.model_metrics`.
        make: creates an unfitted model.
        role: `linear` models need no early stopping: after temperature and tau are tuned, they are
            fitted again on all reviews, the held-out ones included. `net` and `encoder` models can
            also be averaged with linear ones, as `average_<name>`; an average may have several
            nets with different seeds (option `nets`).
        parameters: dataclass of the model's parameters. The names of its fields are valid in
            `sentiment.options`; a name that two models have applies to both.
        averaged: whether a linear model has an average `average_<name>`, too.
    """

    name: str
    make: Callable[[], SentimentModel]
    role: Role
    parameters: type = NoParameters
    averaged: bool = False

"""The contract of sentiment models: how one is declared, configured, found and loaded.

Models are found in `models/` and in the modules of the setting `plugins`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    Self,
    TypeAlias,
    TypeVar,
    get_args,
    get_type_hints,
)

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles, Floats
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.labelled_reviews import Labels
from batch_predictions.settings import SettingsError
from batch_predictions.tables.discovery import class_of_kind, index_unique, instances, subclasses

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression


def parameter_names(kind: type) -> tuple[str, ...]:
    """Names of the fields of a dataclass of parameters."""
    return tuple(field.name for field in fields(kind))


def _convert(value: float, declared: Any) -> Any:
    """A number as the declared type: `int`, `float`, `bool`, or one of these `| None`."""
    plain = next((option for option in get_args(declared) if option is not type(None)), declared)
    return plain(value)


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
        """Builds a dataclass of parameters from the options; those without a field are ignored.

        Args:
            kind: a dataclass with fields of type int, float or bool, perhaps optional. A field
                without an option keeps its default.
        """
        types = get_type_hints(kind)
        names = [name for name in parameter_names(kind) if name in self.options]
        return kind(**{name: _convert(self.options[name], types[name]) for name in names})


class SentimentModel(ABC):
    """A sentiment model. The scores of a document do not depend on the other documents."""

    kind: ClassVar[str]
    """Names the class in stored classifiers; `load_model` finds the class by it."""

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


MODULES = "models/sentiment/models/*.py"
ROLES: tuple[Role, ...] = ("linear", "net", "encoder")
AVERAGE_PREFIX = "average_"
AVERAGED_ROLES: tuple[Role, ...] = ("net", "encoder")


def model_specs() -> dict[str, SentimentModelSpec]:
    """Every declared model by name, those of plugins included, in the order of ROLES.

    Raises:
        ValueError: two models have one name.
    """
    declared = instances(SentimentModelSpec, MODULES)
    in_order = sorted(declared, key=lambda spec: ROLES.index(spec.role))
    return index_unique(in_order, "sentiment models")


def classifier_names() -> tuple[str, ...]:
    """Names that `ClassifierTrainer.fit` knows: of models, and `average_<name>` of some."""
    specs = model_specs()
    averages = (
        name for name, spec in specs.items() if spec.averaged or spec.role in AVERAGED_ROLES
    )
    return (*specs, *(f"{AVERAGE_PREFIX}{name}" for name in averages))


def validate_names(names: Sequence[str]) -> None:
    """Checks names of classifiers.

    Raises:
        SettingsError: a name is unknown; the message lists the known ones.
    """
    valid = classifier_names()
    for name in names:
        if name not in valid:
            raise SettingsError(
                f"there is no sentiment model {name!r}: choose from {', '.join(valid)}"
            )


def averaged_name(name: str) -> str | None:
    """The model that an average is named after; None if the name is not an average's."""
    is_average = name.startswith(AVERAGE_PREFIX) and name not in model_specs()
    return name.removeprefix(AVERAGE_PREFIX) if is_average else None


def build_model(name: str) -> SentimentModel:
    """Makes an unfitted sentiment model.

    Raises:
        SettingsError: no model has this name.
    """
    specs = model_specs()
    if name not in specs:
        raise SettingsError(f"there is no sentiment model {name!r}: choose from {', '.join(specs)}")
    return specs[name].make()


def option_names() -> set[str]:
    """Names of the parameters of all models, which are valid in `sentiment.options`."""
    return {name for spec in model_specs().values() for name in parameter_names(spec.parameters)}


def load_model(kind: str, folder: Path) -> SentimentModel:
    """Loads a stored model.

    Args:
        kind: `SentimentModel.kind` of the class that wrote the folder.
        folder: what its `save` wrote.

    Raises:
        ValueError: no class has this kind.
    """
    classes = index_unique(
        subclasses(SentimentModel, MODULES), "classes of sentiment models", "kind"
    )
    model_class: type[SentimentModel] = class_of_kind(classes, kind, folder, "sentiment model")
    return model_class.load(folder)


IMPOSSIBLE_LOGIT = float(np.log(1e-6))
"""Log-odds of a class that no training text has."""


def log_softmax(scores: npt.NDArray[np.floating]) -> Floats:
    """Log-probabilities from scores, row by row, (n, classes)."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), np.float32)


def class_shares(labels: Labels, classes: int) -> Doubles:
    """Computes the share of every class, (classes,)."""
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    return np.asarray(counts / max(1.0, float(counts.sum())))


def is_imbalanced(shares: Doubles) -> bool:
    """Returns whether the rarest class has less than 0.8 of the largest one's share."""
    return bool(shares.min() < 0.8 * shares.max())


def coefficients_by_class(model: LogisticRegression, classes: int) -> tuple[Doubles, Doubles]:
    """Coefficients (classes, features) and intercepts (classes,) of a fitted regression.

    scikit-learn has a single row for two classes, the second against the first, and no row for a
    class that is not in the training data.
    """
    rows, intercepts = model.coef_, model.intercept_
    if len(intercepts) == 1:
        rows, intercepts = np.vstack([-rows, rows]) / 2, np.append(-intercepts, intercepts) / 2
    weights = np.zeros((classes, rows.shape[1]))
    biases = np.full(classes, IMPOSSIBLE_LOGIT)
    weights[model.classes_], biases[model.classes_] = rows, intercepts
    return weights, biases

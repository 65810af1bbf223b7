"""Finds sentiment models: a declaration by its name, a class by the `kind` in stored files.

Models are found in `models/` and in the modules of the setting `plugins`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from batch_predictions.models.sentiment.models.base import Role, SentimentModel, SentimentModelSpec
from batch_predictions.models.sentiment.models.net_parameters import parameter_names
from batch_predictions.settings import SettingsError
from batch_predictions.tables.discovery import class_of_kind, index_unique, instances, subclasses

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

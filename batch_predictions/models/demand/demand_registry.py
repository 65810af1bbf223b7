"""Finds forecasters by name, makes unfitted ones and loads stored ones.

The classes and variants are those that modules of `models/demand/forecasters/` and plugin modules
declare at their top level, so adding a forecaster is adding one file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batch_predictions.models.demand.base import (
    MANIFEST_FILE,
    EnsembleForecaster,
    Forecaster,
    ForecasterVariant,
)
from batch_predictions.tables.discovery import class_of_kind, index_unique, instances, subclasses

MODULES = "models/demand/forecasters/*.py"


def classes() -> dict[str, type[Forecaster]]:
    """Returns the class of every kind of forecaster.

    Raises:
        ValueError: two classes have the same kind.
    """
    return index_unique(subclasses(Forecaster, MODULES), "classes of forecasters", "kind")


def variants() -> dict[str, ForecasterVariant]:
    """Returns the declared variants of forecasters by name.

    Raises:
        ValueError: a name is taken already, or there is no class of a variant's kind.
    """
    kinds = classes()
    by_name = index_unique(instances(ForecasterVariant, MODULES), "forecasters")
    for name, variant in by_name.items():
        if variant.kind not in kinds:
            raise ValueError(f"the forecaster {name} has the unknown kind {variant.kind!r}")
        if name in kinds:
            raise ValueError(f"two forecasters have the name {name!r}: rename one")
    return by_name


def names() -> list[str]:
    """Names that `make` accepts."""
    kinds = [kind for kind, candidate in classes().items() if candidate.is_candidate]
    return kinds + list(variants())


def make(
    name: str,
    options: Mapping[str, Mapping[str, object]] | None = None,
    *,
    seed: int = 7,
    **shared: Any,
) -> Forecaster:
    """Makes an unfitted forecaster; an ensemble comes with its members.

    Args:
        name: a kind of forecaster or the name of a variant.
        options: parameters by the name of the forecaster (`demand.options`).
        seed: seed of forecasters that have a parameter `seed`.
        shared: further values for forecasters that have a parameter of the name, such as horizon.

    Raises:
        ValueError: the name or a parameter is unknown, or a parameter has the wrong type; the
            message lists the known ones.
    """
    all_names = names()
    if name not in all_names:
        raise ValueError(f"there is no forecaster {name!r}: choose of {', '.join(all_names)}")
    variant = variants().get(name) or ForecasterVariant(name, kind=name)
    forecaster_class = classes()[variant.kind]
    accepted = forecaster_class.params_class.accepts
    defaults = {"seed": seed, **shared}
    values = {
        **{parameter: value for parameter, value in defaults.items() if accepted(parameter)},
        **variant.params.to_mapping(),
        **(options or {}).get(name, {}),
    }
    try:
        params = forecaster_class.params_class.from_mapping(values)
    except ValueError as error:
        raise ValueError(f"demand.options of the forecaster {name}: {error}") from error
    forecaster = forecaster_class(params, name=name)
    if isinstance(forecaster, EnsembleForecaster):
        forecaster.members = [
            make(member, options, **defaults) for member in forecaster.member_names()
        ]
    return forecaster


def load(folder: Path) -> Forecaster:
    """Reads what the `save` of any forecaster wrote.

    Raises:
        ValueError: no class has the stored kind, such as one of a plugin that is not loaded.
    """
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    forecaster_class = class_of_kind(classes(), manifest["kind"], folder, "forecaster")
    forecaster = forecaster_class.from_manifest(manifest)
    if isinstance(forecaster, EnsembleForecaster):
        forecaster.load_members(folder, load)
    forecaster.load_state(folder)
    return forecaster

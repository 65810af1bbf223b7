"""The candidate generators: those declared in this folder, and those of plugins."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from batch_predictions.models.recommender.base import TrainableRecommender
from batch_predictions.models.recommender.data.recommender_manifest import read_manifest
from batch_predictions.models.recommender.generators.base import Generator
from batch_predictions.tables.discovery import class_of_kind, index_unique, instances, plugins


def generators() -> dict[str, Generator]:
    """Every declared generator by name, in their order.

    Raises:
        ValueError: two generators have one name.
    """
    return _generators(tuple(plugins()))


@cache
def _generators(plugin_modules: tuple[str, ...]) -> dict[str, Generator]:
    declared = instances(Generator, "models/recommender/generators/*.py")
    in_order = sorted(declared, key=lambda generator: (generator.order, generator.name))
    return index_unique(in_order, "generators")


def recommender_classes() -> dict[str, type[TrainableRecommender]]:
    """The class of every `kind` that a generator fits."""
    return {
        generator.recommender_class.kind: generator.recommender_class
        for generator in generators().values()
    }


def load_generator(folder: Path) -> TrainableRecommender:
    """Reads a generator's model.

    Raises:
        ValueError: its kind is not known; the message says which plugin may be missing.
    """
    kind = read_manifest(folder)["kind"]
    return class_of_kind(recommender_classes(), kind, folder, "recommender").load(folder)

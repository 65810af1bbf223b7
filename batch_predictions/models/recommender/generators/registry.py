"""The candidate generators: those declared in this folder, and those of plugins."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from batch_predictions.discovery import instances, plugins
from batch_predictions.models.recommender.base import TrainableRecommender
from batch_predictions.models.recommender.generators.declaration import Generator
from batch_predictions.models.recommender.manifest import read_manifest


def generators() -> dict[str, Generator]:
    """Every declared generator by name, in their order.

    Raises:
        ValueError: two generators have one name.
    """
    return _generators(tuple(plugins()))


@cache
def _generators(plugin_modules: tuple[str, ...]) -> dict[str, Generator]:
    declared = instances(Generator, "models/recommender/generators/*.py")
    by_name: dict[str, Generator] = {}
    for generator in sorted(declared, key=lambda generator: (generator.order, generator.name)):
        if by_name.setdefault(generator.name, generator) is not generator:
            raise ValueError(f"two generators are named {generator.name}: rename one")
    return by_name


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
    classes = recommender_classes()
    if kind not in classes:
        raise ValueError(
            f"{folder}: unknown kind of recommender {kind!r}; known are {', '.join(classes)}. If a "
            "plugin declares it, name its module in the setting plugins"
        )
    return classes[kind].load(folder)

"""A candidate generator, declared: which class, with which parameters, where it applies.

The generators are those declared in this folder, and those of plugins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from batch_predictions.models.recommender.base import (
    LinearRecommender,
    TrainableRecommender,
    override_params,
)
from batch_predictions.models.recommender.data.recommender_manifest import read_manifest
from batch_predictions.tables.discovery import class_of_kind, index_unique, instances, plugins

ReasonGroup: TypeAlias = Literal["own", "similar", "segment", "trend", "promotion"]
"""The reason given to a user for an item that a generator proposed."""

Requirement: TypeAlias = Literal[
    "repeats", "new_items", "history_items", "segments", "promotions", "times", "ratings"
]
"""Lists may repeat items or hold only new ones; they may hold items of the user's history, because
they may repeat items or because some events, such as views, do not bar an item; users have
segments; promotions are known ahead; interactions have times, or ratings."""


@dataclass(frozen=True)
class Generator:
    """A source of candidates, or of scores of others' candidates.

    Attributes:
        name: in settings, metrics and features.
        recommender_class: what is fitted.
        reason: given for its candidates.
        params_for_new_items: parameters where lists hold only new items, an instance of the
            class's `Params`; None: its defaults.
        params_for_repeats: parameters where lists may repeat items; None: the class's defaults.
        scales: of parameters, ascending values that a training may choose from where lists hold
            only new items: see `training/parameter_search.py`.
        requires: what must hold for it to be used.
        full_catalogue: it is fitted on all items; otherwise on the `max_items` most frequent ones.
        min_rows: rows of a training from which on it is used; a network learns nothing from few.
        is_candidate_source: its best items are candidates; otherwise it only scores others'.
        order: place among the generators: columns of the ranker, and candidates of equal rank,
            come in this order, then by name.
        must_gain: it takes minutes to train, and is used where lists gain by it beyond chance.
    """

    name: str
    recommender_class: type[TrainableRecommender]
    reason: ReasonGroup
    params_for_new_items: Any = None
    params_for_repeats: Any = None
    scales: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    requires: tuple[Requirement, ...] = ()
    full_catalogue: bool = False
    min_rows: int = 0
    is_candidate_source: bool = True
    order: int = 1000
    must_gain: bool = False

    def params(self, exclude_seen: bool, overrides: Mapping[str, Any]) -> Any:
        """Returns the generator's parameters, some of them overridden.

        Raises:
            ValueError: an override names no parameter.
        """
        declared = self.params_for_new_items if exclude_seen else self.params_for_repeats
        defaults = self.recommender_class.Params() if declared is None else declared
        return override_params(defaults, overrides, self.name)


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


def gains_by_gpu(folder: Path) -> bool:
    """Returns whether a GPU makes the recommender in a folder faster; its arrays are not read."""
    kind = read_manifest(folder)["kind"]
    recommender_class = recommender_classes().get(kind, TrainableRecommender)
    return issubclass(recommender_class, LinearRecommender) and recommender_class.gains_by_gpu

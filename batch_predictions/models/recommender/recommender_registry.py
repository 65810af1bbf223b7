"""The classes of all recommenders by `kind`, which read whatever a training stored."""

from __future__ import annotations

from pathlib import Path

from batch_predictions.models.recommender.base import LinearRecommender, Recommender
from batch_predictions.models.recommender.data.recommender_manifest import read_manifest
from batch_predictions.models.recommender.generators.base import load_generator, recommender_classes
from batch_predictions.models.recommender.ranker.two_stage import TwoStageRecommender


def load(folder: Path) -> Recommender:
    """Reads any recommender; its arrays stay on disk and are memory-mapped.

    Raises:
        ValueError: its kind is not known.
    """
    if is_two_stage(folder):
        return TwoStageRecommender.load(folder)
    return load_generator(folder)


def is_linear(folder: Path) -> bool:
    """Returns whether the recommender in a folder is a linear one, without reading its arrays."""
    kind = read_manifest(folder)["kind"]
    return issubclass(recommender_classes().get(kind, Recommender), LinearRecommender)


def is_two_stage(folder: Path) -> bool:
    """Returns whether the recommender in a folder ranks the candidates of several others."""
    return bool(read_manifest(folder)["kind"] == TwoStageRecommender.kind)

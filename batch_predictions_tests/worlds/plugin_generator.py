"""A plugin for the tests of workers: it declares a candidate generator that has no other source."""

from __future__ import annotations

from batch_predictions.models.recommender.generators.als import ALS
from batch_predictions.models.recommender.generators.base import Generator

plugin_als = Generator("plugin_als", ALS, "similar")

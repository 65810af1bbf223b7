"""Every kind of forecaster there is: an explicit list."""

from __future__ import annotations

from batch_predictions.models.demand.base import Forecaster
from batch_predictions.models.demand.simple import Mean28, SeasonalNaive
from batch_predictions.models.demand.trees import Trees

FAMILIES: tuple[type[Forecaster], ...] = (SeasonalNaive, Mean28, Trees)

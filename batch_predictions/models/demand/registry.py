"""Every kind of forecaster there is, and how one is made of a name: an explicit list."""

from __future__ import annotations

from typing import Any

from batch_predictions.models.demand.base import Forecaster
from batch_predictions.models.demand.forecasters.baselines import Mean28, SeasonalNaive
from batch_predictions.models.demand.forecasters.ensembles import (
    AverageForecaster,
    PerSeriesSelector,
)
from batch_predictions.models.demand.forecasters.gbdt import GBDTForecaster
from batch_predictions.models.demand.forecasters.gru import Gru
from batch_predictions.models.demand.forecasters.linear import LinearPromotions, LinearRegression
from batch_predictions.models.demand.forecasters.sarima import Sarima
from batch_predictions.models.demand.forecasters.smoothing import Naive2, Theta

FAMILIES: tuple[type[Forecaster], ...] = (
    SeasonalNaive,
    Mean28,
    Naive2,
    Theta,
    LinearRegression,
    LinearPromotions,
    Sarima,
    GBDTForecaster,
    Gru,
    AverageForecaster,
    PerSeriesSelector,
)
MEMBERS = ("lightgbm", "gru")
"""Of the average."""
NAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "arima": ("sarima", {"order": [1, 1, 1, 0, 0, 0]}),
    "sarima_promotions": ("sarima", {"regression": True}),
}
"""Names that are a family with parameters of its own."""


def make(name: str, options: dict[str, dict[str, Any]] | None = None, seed: int = 7) -> Forecaster:
    """An unfitted forecaster of a name.

    Args:
        name: of a family, `arima`, or `average`.
        options: parameters by name.
        seed: of what is random.

    Raises:
        ValueError: there is no such name.
    """
    given = dict((options or {}).get(name, {}))
    kind, params = NAMED.get(name, (name, {}))
    families = {each.kind: each for each in FAMILIES}
    if kind not in families or kind == PerSeriesSelector.kind:
        raise ValueError(f"there is no forecaster {name!r}: choose of {', '.join(names())}")
    if kind == AverageForecaster.kind:
        members = [make(each, options, seed) for each in given.get("members", MEMBERS)]
        return AverageForecaster(name, members)
    if kind in MEMBERS:
        given.setdefault("seed", seed)
    return families[kind](name, **{**params, **given})


def names() -> list[str]:
    """What `make` knows."""
    return [each.kind for each in FAMILIES if each is not PerSeriesSelector] + list(NAMED)

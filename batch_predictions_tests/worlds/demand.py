"""Small panels with known answers."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.demand.data.panel import Panel

MONDAY = dt.date(2023, 1, 2)


def daily_panel(y: Doubles, period: int = 7, **attributes: Any) -> Panel:
    """Daily series named s0, s1, … from a Monday on; `attributes` are further ones of `Panel`."""
    return Panel([f"s{row}" for row in range(len(y))], MONDAY, y, period=period, **attributes)


def promotion_panel(n: int = 40, days: int = 200, horizon: int = 14, seed: int = 3) -> Panel:
    """Poisson sales that double on Saturdays and triple with promotions, which are known ahead."""
    random = np.random.default_rng(seed)
    promotion = (random.random((n, days + horizon)) < 0.15).astype(float)
    level = np.exp(random.normal(1.0, 0.6, (n, 1)))
    weekday = 1 + (np.arange(days) % 7 == 5)
    y = random.poisson(level * weekday * 3 ** promotion[:, :days]).astype(float)
    y[0, :50] = np.nan
    return daily_panel(
        y,
        future_covariates={"promotion": promotion},
        static_features={"category": np.arange(n) % 3},
        holidays=np.zeros(days + horizon),
    )


def random_walks(n: int, length: int, period: int, seed: int = 1) -> Doubles:
    """Positive series whose level and season are random walks, with noise, (n, length)."""
    random = np.random.default_rng(seed)
    y = 40 + np.cumsum(random.normal(0, 0.3, (n, length)), axis=1)
    season = random.normal(0, 2, (n, period))
    for t in range(length):
        season[:, t % period] += random.normal(0, 0.2, n)
        y[:, t] += season[:, t % period]
    return np.asarray(y + random.normal(0, 1, (n, length)))

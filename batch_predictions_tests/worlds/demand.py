"""Small panels with known answers."""

from __future__ import annotations

import datetime as dt

import numpy as np

from batch_predictions.models.demand.panel import Doubles, Panel

MONDAY = dt.date(2023, 1, 2)


def panel(y: Doubles, period: int = 7, **more: object) -> Panel:
    """Series of days named s0, s1, …"""
    return Panel([f"s{n}" for n in range(len(y))], MONDAY, y, period=period, **more)  # type: ignore[arg-type]


def shop(n: int = 40, days: int = 200, horizon: int = 14, seed: int = 3) -> Panel:
    """Poisson sales: Saturdays sell double, promotions triple; promotions are known ahead."""
    random = np.random.default_rng(seed)
    promotion = (random.random((n, days + horizon)) < 0.15).astype(float)
    level = np.exp(random.normal(1.0, 0.6, (n, 1)))
    weekday = 1 + (np.arange(days) % 7 == 5)
    y = random.poisson(level * weekday * 3 ** promotion[:, :days]).astype(float)
    y[0, :50] = np.nan
    facts = {"category": np.arange(n) % 3}
    return panel(
        y,
        future_covariates={"promotion": promotion},
        static=facts,
        holidays=np.zeros(days + horizon),
    )


def wandering(n: int, length: int, period: int, seed: int = 1) -> Doubles:
    """Levels and seasons that wander, with noise; positive."""
    random = np.random.default_rng(seed)
    y = 40 + np.cumsum(random.normal(0, 0.3, (n, length)), axis=1)
    season = random.normal(0, 2, (n, period))
    for t in range(length):
        season[:, t % period] += random.normal(0, 0.2, n)
        y[:, t] += season[:, t % period]
    return np.asarray(y + random.normal(0, 1, (n, length)))

"""Writes a file of series that look like public ones: weekly (s = 52) or hourly (s = 24).

    python benchmarks/forecast_series.py weekly /tmp/weekly.parquet
    batch-predictions benchmark forecast /tmp/weekly.parquet --season 52 --horizon 13

Lengths, levels and seasons are spread as in the M4 competition's weekly and hourly sets, which are
not here: levels are random walks in logarithms, some with a drift; a part of the series has a
season; errors are related. It shows that the methods run and how long; how good they are, the
competition's own file says.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def main() -> None:
    """Makes the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=["weekly", "hourly"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--series", type=int, default=400)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    pq.write_table(table(args.kind, args.series, args.seed), args.file)


def table(kind: str, number: int, seed: int) -> pa.Table:
    """series, t, y, part."""
    random = np.random.default_rng(seed)
    horizon = 13 if kind == "weekly" else 48
    parts = []
    for each in range(number):
        length = int(random.choice([700, 960])) if kind == "hourly" else weekly_length(random)
        y = series(kind, length + horizon, random)
        names = np.repeat(["train", "test"], [length, horizon])
        parts.append(
            (np.repeat(f"{kind[0].upper()}{each + 1}", len(y)), np.arange(len(y)), y, names)
        )
    columns = [np.concatenate(each) for each in zip(*parts, strict=True)]
    return pa.table(dict(zip(("series", "t", "y", "part"), columns, strict=True)))


def weekly_length(random: np.random.Generator) -> int:
    """From 80 to 2,597, half of them about 900 or longer."""
    return int(
        np.clip(random.choice([random.uniform(80, 900), random.uniform(900, 2597)]), 80, 2597)
    )


def series(kind: str, length: int, random: np.random.Generator) -> np.ndarray:
    """One series of positive values."""
    times = np.arange(length)
    shocks = random.normal(0, random.choice([0.002, 0.01, 0.03]), length)
    shocks += random.normal(0, 0.0006)
    errors = random.normal(0, random.choice([0.005, 0.02, 0.08]), length)
    for t in range(1, length):
        errors[t] += 0.4 * errors[t - 1]
    if kind == "hourly":
        day, week = random.normal(0, 0.4, 24), random.normal(0, 0.15, 168)
        log = np.cumsum(shocks * 0.2) + smooth(day)[times % 24] + smooth(week)[times % 168]
    else:
        strength = random.choice([0.0, 0.0, 0.05, 0.2])
        log = np.cumsum(shocks) + smooth(random.normal(0, 1, 52))[times % 52] * strength
    return np.round(random.uniform(50, 10_000) * np.exp(log + errors), 2)


def smooth(values: np.ndarray) -> np.ndarray:
    """Around the circle."""
    return (np.roll(values, 1) + 2 * values + np.roll(values, -1)) / 3


if __name__ == "__main__":
    main()

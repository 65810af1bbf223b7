"""Writes a file of simulated weekly (season of 52) or hourly (season of 24) series.

    python benchmarks/forecast_series.py weekly /tmp/weekly.parquet
    batch-predictions benchmark forecast /tmp/weekly.parquet --season 52 --horizon 13

Lengths, levels and seasons vary as in the weekly and hourly sets of the M4 competition: levels are
random walks of logarithms, some with a drift; part of the series has a season; errors are
autocorrelated. The file shows that the methods run, and how long they take. Their accuracy on real
series is measured on the competition's own files.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.core.arrays import Doubles


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=["weekly", "hourly"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--series", type=int, default=400)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    pq.write_table(simulate_table(args.kind, args.series, args.seed), args.file)


def simulate_table(kind: str, n: int, seed: int) -> pa.Table:
    """A table of n series with the columns series, t, y and part."""
    random = np.random.default_rng(seed)
    horizon = 13 if kind == "weekly" else 48
    rows = []
    for number in range(1, n + 1):
        length = int(random.choice([700, 960])) if kind == "hourly" else weekly_length(random)
        y = simulate_series(kind, length + horizon, random)
        name = f"{kind[0].upper()}{number}"
        parts = np.repeat(["train", "test"], [length, horizon])
        rows.append((np.repeat(name, len(y)), np.arange(len(y)), y, parts))
    columns = [np.concatenate(arrays) for arrays in zip(*rows, strict=True)]
    return pa.table(dict(zip(("series", "t", "y", "part"), columns, strict=True)))


def weekly_length(random: np.random.Generator) -> int:
    """Between 80 and 2,597; half of the lengths are at least 900."""
    return int(
        np.clip(random.choice([random.uniform(80, 900), random.uniform(900, 2597)]), 80, 2597)
    )


def simulate_series(kind: str, length: int, random: np.random.Generator) -> Doubles:
    """One series of positive values, (length,)."""
    times = np.arange(length)
    shocks = random.normal(0, random.choice([0.002, 0.01, 0.03]), length)
    shocks += random.normal(0, 0.0006)
    errors = random.normal(0, random.choice([0.005, 0.02, 0.08]), length)
    for t in range(1, length):
        errors[t] += 0.4 * errors[t - 1]
    if kind == "hourly":
        day, week = random.normal(0, 0.4, 24), random.normal(0, 0.15, 168)
        log_level = np.cumsum(shocks * 0.2)
        log_level = log_level + smooth(day)[times % 24] + smooth(week)[times % 168]
    else:
        strength = random.choice([0.0, 0.0, 0.05, 0.2])
        log_level = np.cumsum(shocks) + smooth(random.normal(0, 1, 52))[times % 52] * strength
    return np.round(random.uniform(50, 10_000) * np.exp(log_level + errors), 2)


def smooth(values: Doubles) -> Doubles:
    """Circular moving average with the weights 1, 2, 1."""
    return (np.roll(values, 1) + 2 * values + np.roll(values, -1)) / 3


if __name__ == "__main__":
    main()

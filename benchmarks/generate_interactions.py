"""A data set of user and item pairs without times, of any size, with a planted truth.

    python benchmarks/generate_interactions.py FOLDER [--users 30000] [--items 40000]
        [--pairs 800000] [--seed 7]

Every user draws distinct items with odds of popularity (a power law) times exp(taste of the user .
place of the item), both on `TASTES` latent directions of falling weight; how many, is lognormal. So
there is what collaborative filtering looks for, and skew as shops have it. Writes
FOLDER/interactions.parquet (user_id, item_id) for `source.kind=files`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

TASTES = 32
STRENGTH = 2.0
"""Standard deviation over items of a user's log odds: 2 makes the best tenth 30 times the median's
odds."""
SKEW = 0.6
"""Popularity of the item at place r: r to the power of minus this."""
MIN_ITEMS = 5
BATCH = 256


def main() -> None:
    """Writes one data set."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--users", type=int, default=30_000)
    parser.add_argument("--items", type=int, default=40_000)
    parser.add_argument("--pairs", type=int, default=800_000)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    write_pairs(args.folder, draw_pairs(args.users, args.items, args.pairs, args.seed))


def draw_pairs(users: int, items: int, pairs: int, seed: int) -> tuple[npt.NDArray[Any], ...]:
    """User and item of distinct pairs, as numbers, (pairs,) each."""
    random = np.random.default_rng(seed)
    weight = np.arange(1, TASTES + 1) ** -0.5
    weight *= STRENGTH / np.sqrt((weight**2).sum())
    taste = (random.standard_normal((users, TASTES)) * weight).astype(np.float32)
    item_taste = random.standard_normal((items, TASTES)).astype(np.float32)
    popularity = (-SKEW * np.log(random.permutation(items) + 1.0)).astype(np.float32)
    numbers = _lengths(users, min(items, pairs), pairs, random)
    owners = np.repeat(np.arange(users), numbers)
    chosen: list[npt.NDArray[np.int64]] = []
    for start in range(0, users, BATCH):
        odds = taste[start : start + BATCH] @ item_taste.T + popularity
        # The largest values of odds + Gumbel noise are a sample without replacement.
        odds -= np.log(random.standard_exponential(odds.shape, dtype=np.float32))
        for row, number in zip(odds, numbers[start : start + BATCH], strict=True):
            chosen.append(np.argpartition(-row, number - 1)[:number])
    return owners, np.concatenate(chosen)


def _lengths(
    users: int, max_items: int, pairs: int, random: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Number of items per user, which add up to `pairs`."""
    share = random.lognormal(0.0, 0.9, users)
    share *= max(pairs - MIN_ITEMS * users, 0) / share.sum()
    numbers = np.minimum(MIN_ITEMS + np.floor(share).astype(np.int64), max_items)
    short = pairs - int(numbers.sum())
    numbers[random.permutation(users)[: max(short, 0)]] += 1
    return np.minimum(numbers, max_items)


def write_pairs(folder: Path, pairs: tuple[npt.NDArray[Any], ...]) -> None:
    """Writes interactions.parquet."""
    owners, items = pairs
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "user_id": [f"u{user:07d}" for user in owners.tolist()],
            "item_id": [f"i{item:07d}" for item in items.tolist()],
        }
    )
    pq.write_table(table, folder / "interactions.parquet")


if __name__ == "__main__":
    main()

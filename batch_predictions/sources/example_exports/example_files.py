"""Days, prices and CSV files, which all example exports share."""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path

FIRST_DAY = dt.date(2026, 1, 5)
LAST_DAY = dt.date(2026, 3, 15)
"""A Sunday, on which a training is possible."""


def price(number: int) -> float:
    """The price of a product."""
    return round(4.9 + number * 19.35, 2)


def decimal_comma(number: float) -> str:
    """A number as it is written in Germany: 1.164,60."""
    return f"{number:,.2f}".replace(",", " ").replace(".", ",").replace(" ", ".")


def write_csv(path: Path, rows: list[list[str]]) -> None:
    """Writes rows as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)

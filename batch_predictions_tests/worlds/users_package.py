"""The user's package that own_models.md teaches, and a shop's exports that its adapter reads."""

from __future__ import annotations

import csv
import datetime as dt
import re
from pathlib import Path

import numpy as np

from batch_predictions_tests.worlds.paths import ROOT

DOCS = ROOT / "docs" / "tutorials" / "own_models.md"
BLOCK = re.compile(r"\*\*`([\w/]+\.py)`\*\*\n+```python\n(.*?)```", re.DOTALL)
CUSTOMERS, SKUS = 60, 15


def code_blocks() -> dict[str, str]:
    """Path to text of the modules on the page."""
    return dict(BLOCK.findall(DOCS.read_text(encoding="utf-8")))


def write_package(folder: Path) -> None:
    """Writes the modules of the page."""
    for path, text in code_blocks().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    (folder / "my_shop" / "__init__.py").write_text("", encoding="utf-8")


def write_orders(folder: Path, last: dt.date, days: int = 230) -> None:
    """Orders of customers who buy for four weeks and pause for four weeks, in two groups.

    What a customer bought in the last 28 days says the opposite of the next 28, which the baselines
    cannot express.
    """
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "orders-2024.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        names = ["order_number", "line", "customer", "sku", "pieces", "total", "ordered_at"]
        writer.writerow(names)
        for age in range(days - 1, -1, -1):
            day = last - dt.timedelta(days=age)
            for customer in range(CUSTOMERS):
                is_buying = (age // 28 + customer) % 2 == 0
                if rng.random() >= (0.4 if is_buying else 0.03):
                    continue
                sku = int(rng.integers(SKUS))
                hour = int(rng.integers(8, 20))
                order = [f"{day}-{customer}", 1, f"c{customer:02}", f"s{sku:02}", 1, 2.5]
                writer.writerow([*order, f"{day}T{hour:02}:00:00Z"])
    with (folder / "products.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sku", "name", "department", "price"])
        for sku in range(SKUS):
            writer.writerow([f"s{sku:02}", f"Product {sku}", f"d{sku % 3}", 2.5])


def write_later_orders(folder: Path, days: list[dt.date]) -> None:
    """Orders of later days: each customer orders one product a day."""
    with (folder / f"orders-{days[0]}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["order_number", "line", "customer", "sku", "pieces", "total", "ordered_at"]
        )
        for day in days:
            for customer in range(CUSTOMERS):
                order = [f"{day}-{customer}", 1, f"c{customer:02}", f"s{customer % SKUS:02}"]
                writer.writerow([*order, 1, 2.5, f"{day}T12:00:00Z"])

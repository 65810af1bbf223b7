"""A tiny shop as CSV files that grows by a day at a time, and the variables of its runs."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path

FIRST_DAY = dt.date(2024, 1, 1)
"""A Monday."""
COLOURS = ("red", "blue")
TEXTS = (("good and soft, a joy to wear", 5), ("bad, it broke after a day", 1))


class TinyShop:
    """A source folder that grows by one file of interactions and one of reviews a day."""

    def __init__(self, folder: Path, users: int = 40, items: int = 24) -> None:
        self.folder, self.users, self.items = folder, users, items
        for name in ("interactions", "reviews"):
            (folder / name).mkdir(parents=True)
        rows = (f"u{n:02d},{20 + n},{'fm'[n % 2]},here" for n in range(users))
        _write(folder / "users.csv", "user_id,age,gender,location", rows)
        rows = (
            f"i{n:02d},{COLOURS[n % 2]} {n},{COLOURS[n % 2]},{1 + n / 4},true" for n in range(items)
        )
        _write(folder / "items.csv", "item_id,title,category,price,available", rows)

    def add_day(self, day: dt.date) -> None:
        """Writes the files of one day."""
        rows = (self._interaction(day, user) for user in range(self.users))
        header = "user_id,item_id,occurred_at,amount"
        _write(self.folder / "interactions" / f"{day}.csv", header, rows)
        rows = (self._review(day, number) for number in range(4))
        header = "review_id,user_id,item_id,written_at,rating,text"
        _write(self.folder / "reviews" / f"{day}.csv", header, rows)

    def _interaction(self, day: dt.date, user: int) -> str:
        number = (day - FIRST_DAY).days
        item = (2 * (number * 3 + user + number // 7) + user % 2) % self.items
        return f"u{user:02d},i{item:02d},{day}T{8 + user % 12:02d}:00:00,{1 + item / 4}"

    def _review(self, day: dt.date, number: int) -> str:
        text, rating = TEXTS[(day.day + number) % 2]
        item = (day.day + number) % self.items
        return f'{day}-{number},u{number:02d},i{item:02d},{day}T12:00:00,{rating},"{text}"'


def environment(root: Path, home: Path, **variables: str) -> dict[str, str]:
    """Variables of a process that works on a home with the source `<root>/source`."""
    return {
        **os.environ,
        "BATCH_PREDICTIONS_HOME": str(home),
        "BATCH_PREDICTIONS_SOURCE__KIND": "files",
        "BATCH_PREDICTIONS_SOURCE__PATH": str(root / "source"),
        "BATCH_PREDICTIONS_FALLBACK__MIN_USERS": "3",
        "BATCH_PREDICTIONS_RECOMMENDATIONS__K": "5",
        **variables,
    }


def _write(path: Path, header: str, rows: Iterator[str]) -> None:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")

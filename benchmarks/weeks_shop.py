"""The shop of `three_weeks.py`: CSV files that grow by a day, with what may be wrong with a day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import numpy as np

FIRST_DAY = dt.date(2024, 1, 1)
"""A Monday."""
BASE_DAYS = 63
"""Days that are there before the first night: churn needs 56 (four times its horizon)."""
USERS, ITEMS, GROUPS = 120, 48, 4
BUYERS = 80
"""Of the users, so many buy on a day."""
REVIEWS = 12
GOOD = ("soft", "lovely", "works well", "worth it", "great", "fits", "a joy", "perfect")
BAD = ("broke", "poor", "too loud", "useless", "cheap", "returned", "awful", "a pity")
THINGS = ("the handle", "its colour", "the lid", "a gift", "this box", "the motor", "the smell")
HEADERS = {
    "interactions": "user_id,item_id,occurred_at,quantity,amount",
    "reviews": "review_id,user_id,item_id,written_at,rating,text",
    "users": "user_id,age,gender,location",
    "items": "item_id,title,category,price,available",
}


def day_of(night: int) -> dt.date:
    """The newest day that the source should have in a night; night 0 is the first run."""
    return FIRST_DAY + dt.timedelta(days=BASE_DAYS - 1 + night)


class WeeksShop:
    """A folder of files. Users buy what their group likes: women or men, young or old."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("interactions", "reviews"):
            (folder / name).mkdir(parents=True)
        self.user_ids: list[str] = []
        self.add_users([f"u{number:03d}" for number in range(USERS)])
        items = [
            f"i{n:02d},{('Cup', 'Drill', 'Scarf', 'Lamp')[n % GROUPS]} {n},"
            f"{('kitchen', 'tools', 'clothes', 'lights')[n % GROUPS]},{2 + n / 4},true"
            for n in range(ITEMS)
        ]
        self._write("items.csv", "items", items)

    def add_users(self, ids: Sequence[str]) -> None:
        """Writes users.csv with further users, who have not bought anything yet."""
        self.user_ids += ids
        rows = [
            f"{user},{20 + 5 * (n // 2 % 8)},{'fm'[n % 2]},L{n % 3}"
            for n, user in enumerate(self.user_ids)
        ]
        self._write("users.csv", "users", rows)

    def write_day(self, day: dt.date, rows: Sequence[str] | None = None) -> None:
        """Writes the files of a day; `rows` replace its purchases."""
        purchases = self.purchases(day) if rows is None else rows
        self._write(f"interactions/{day}.csv", "interactions", purchases)
        self._write(f"reviews/{day}.csv", "reviews", self._reviews(day))

    def remove_day(self, day: dt.date) -> None:
        """Removes the files of a day, as of one that has not arrived."""
        for path in (self.interactions(day), self.folder / "reviews" / f"{day}.csv"):
            path.unlink(missing_ok=True)

    def interactions(self, day: dt.date) -> Path:
        """The file of a day's purchases."""
        return self.folder / "interactions" / f"{day}.csv"

    def purchases(self, day: dt.date, *, shuffled: bool = False) -> list[str]:
        """The rows of a day; shuffled: every purchase is written to another user."""
        random = np.random.default_rng([day.toordinal(), 1])
        number = (day - FIRST_DAY).days
        # A third of the users pauses for weeks, so that some customers churn.
        awake = [u for u in range(USERS) if u % 3 or (number + 5 * u) // 28 % 2]
        buyers = random.choice(awake, BUYERS, replace=False)
        rows = []
        for user in buyers:
            group = user % 2 + 2 * (user // 2 % 8 >= 4)
            is_usual = random.random() < 0.85
            # Half of a group's purchases are of its first three items: there is something to learn.
            rank = min(int(random.exponential(3.0)), ITEMS // GROUPS - 1)
            item = group + GROUPS * rank if is_usual else int(random.integers(ITEMS))
            second = int(random.integers(8 * 3600, 22 * 3600))
            time = f"{day}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
            quantity = int(random.integers(1, 4))
            rows.append((int(user), item, time, quantity))
        users = [row[0] for row in rows]
        if shuffled:
            users = [
                int(user) for user in np.random.default_rng(day.toordinal()).permutation(USERS)
            ]
        return [
            f"u{user:03d},i{item:02d},{time},{quantity},{quantity * (2 + item / 4)}"
            for user, (_, item, time, quantity) in zip(users, rows, strict=False)
        ]

    def _reviews(self, day: dt.date) -> list[str]:
        random = np.random.default_rng([day.toordinal(), 2])
        rows = []
        for number in range(REVIEWS):
            is_good = random.random() < 0.6
            words = random.choice(GOOD if is_good else BAD, 3, replace=False)
            text = f"{random.choice(THINGS)} {words[0]} and {words[1]} and {words[2]} no {number}"
            user, item = random.integers(USERS), random.integers(ITEMS)
            rating = 5 if is_good else 1
            rows.append(f'{day}-{number},u{user:03d},i{item:02d},{day}T12:00:00,{rating},"{text}"')
        return rows

    def _write(self, name: str, table: str, rows: Sequence[str]) -> None:
        text = "\n".join([HEADERS[table], *rows]) + "\n"
        (self.folder / name).write_text(text, encoding="utf-8")

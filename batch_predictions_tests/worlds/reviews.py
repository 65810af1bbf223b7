"""Reviews as files, whose sentiment is known: clear words among others, and a planted change."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FIRST = dt.date(2024, 1, 1)
TURNED, WEEK_OF_CHANGE = "p03", 7
GERMAN = "Das ist nicht gut und ich bin sehr enttäuscht von der Qualität"
_WORDS = {
    1: ("awful", "broken", "useless", "terrible taste", "leaking"),
    3: ("ok", "average", "nothing special"),
    5: ("great", "lovely", "perfect", "works well", "so tasty"),
}
_SAID = "the box came on time and i use it for my kitchen every day with a cup of tea"
_REST = _SAID.split()


def review(random: np.random.Generator, rating: int) -> str:
    """A text of a rating: one word of feeling among words that mean nothing."""
    words = [str(word) for word in random.choice(_REST, int(random.integers(4, 12)))]
    words.insert(int(random.integers(len(words))), str(random.choice(_WORDS[rating])))
    return " ".join(words)


def write_reviews(folder: Path, *, weeks: int = 8, items: int = 12, each: int = 9) -> None:
    """`each` reviews a week of every item; one item turns bad in week 7. One review in 120 is
    German, and one in 40 is another's copy."""
    random = np.random.default_rng(11)
    rows: list[dict[str, object]] = []
    for week in range(1, weeks + 1):
        for item in range(items):
            for _ in range(each):
                bad = f"p{item:02d}" == TURNED and week >= WEEK_OF_CHANGE
                shares = [0.95, 0.03, 0.02] if bad else [0.15, 0.1, 0.75]
                rating = int(random.choice([1, 3, 5], p=shares))
                text = review(random, rating)
                if rows and random.random() < 1 / 40:
                    text, rating = str(rows[-1]["text"]), int(str(rows[-1]["rating"]))
                day = FIRST + dt.timedelta(days=7 * (week - 1) + int(random.integers(7)))
                rows.append({"item_id": f"p{item:02d}", "rating": rating, "text": text, "day": day})
    for row in rows[::120]:
        row["text"] = GERMAN
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "reviews.parquet")

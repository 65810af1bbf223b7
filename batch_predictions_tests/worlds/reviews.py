"""Files of reviews whose sentiment is known, with one planted change."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FIRST_DAY = dt.date(2024, 1, 1)
CHANGED_ITEM, WEEK_OF_CHANGE = "p03", 7
GERMAN_TEXT = "Das ist nicht gut und ich bin sehr enttäuscht von der Qualität"
_WORDS_BY_RATING = {
    1: ("awful", "broken", "useless", "terrible taste", "leaking"),
    3: ("ok", "average", "nothing special"),
    5: ("great", "lovely", "perfect", "works well", "so tasty"),
}
_FILLING = "the box came on time and i use it for my kitchen every day with a cup of tea"
_FILLING_WORDS = _FILLING.split()


def review_text(random: np.random.Generator, rating: int) -> str:
    """A text with one word or phrase that fits the rating, among meaningless words."""
    words = [str(word) for word in random.choice(_FILLING_WORDS, int(random.integers(4, 12)))]
    words.insert(int(random.integers(len(words))), str(random.choice(_WORDS_BY_RATING[rating])))
    return " ".join(words)


def write_reviews(
    folder: Path, *, weeks: int = 8, items: int = 12, reviews_per_week: int = 9
) -> None:
    """Writes `reviews.parquet`: CHANGED_ITEM turns negative in WEEK_OF_CHANGE.

    Every 120th review is German, and one in 40 is a copy of the previous one.

    Args:
        folder: created if it does not exist.
        weeks: number of weeks from FIRST_DAY.
        items: number of items.
        reviews_per_week: reviews of each item in each week.
    """
    random = np.random.default_rng(11)
    rows: list[dict[str, object]] = []
    for week in range(1, weeks + 1):
        for item in range(items):
            for _ in range(reviews_per_week):
                is_bad = f"p{item:02d}" == CHANGED_ITEM and week >= WEEK_OF_CHANGE
                shares = [0.95, 0.03, 0.02] if is_bad else [0.15, 0.1, 0.75]
                rating = int(random.choice([1, 3, 5], p=shares))
                text = review_text(random, rating)
                if rows and random.random() < 1 / 40:
                    text, rating = str(rows[-1]["text"]), int(str(rows[-1]["rating"]))
                day = FIRST_DAY + dt.timedelta(days=7 * (week - 1) + int(random.integers(7)))
                rows.append({"item_id": f"p{item:02d}", "rating": rating, "text": text, "day": day})
    for row in rows[::120]:
        row["text"] = GERMAN_TEXT
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "reviews.parquet")

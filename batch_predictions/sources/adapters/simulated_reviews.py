"""Simulated reviews for the demo: its data, the Complete Journey, has no reviews.

Seeded templates write a review for about one purchase in sixty, and for one in three purchases of
the items that are reviewed often. Everything computed from them is marked as `simulated`. An item
has a fixed quality for each of its aspects, and in some weeks one of its aspects is bad. A text is
about one to three aspects, with negation, contrast, mixed opinions, asides and typing errors; the
rating follows the feelings, and one rating in nine deviates. The review is a function of the
purchase's id, the item, its department and the week: the same purchase always gets the same review.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import random
import uuid
from typing import TypeAlias

import duckdb
import pyarrow as pa

PURCHASES_PER_REVIEW = 60
OFTEN_REVIEWED_SHARE = 0.15
"""Share of items with many reviews: enough in a week for the words that say why."""
PURCHASES_PER_REVIEW_OFTEN = 3
SEED = "reviews-2"
BAD_WEEK_SHARE = 0.02
"""Share of an item's weeks in which one of its aspects is bad."""
NEUTRAL_SHARE = 0.12
"""Share of aspects about which a customer has no opinion."""

AspectWords: TypeAlias = tuple[str, tuple[str, ...], tuple[str, ...]]
"""Name of an aspect in a text, positive words, negative words."""
Aspects: TypeAlias = dict[str, AspectWords]

_FRESH_FOOD: Aspects = {
    "freshness": ("freshness", ("fresh", "crisp", "ripe"), ("stale", "wilted", "past its date")),
    "taste": ("taste", ("delicious", "full of flavour", "tasty"), ("bland", "bitter", "watery")),
    "price": ("price", ("a bargain", "fair", "cheap"), ("too high", "a rip-off", "steep")),
    "size": ("portion", ("generous", "just right", "big"), ("tiny", "smaller than before", "mean")),
}
_PACKAGED_FOOD: Aspects = {
    "taste": _FRESH_FOOD["taste"],
    "packaging": ("packaging", ("sturdy", "easy to open", "neat"), ("torn", "leaking", "flimsy")),
    "price": _FRESH_FOOD["price"],
    "quality": (
        "quality",
        ("excellent", "reliable", "consistent"),
        ("poor", "worse than before", "uneven"),
    ),
}
_NON_FOOD: Aspects = {
    "quality": _PACKAGED_FOOD["quality"],
    "packaging": _PACKAGED_FOOD["packaging"],
    "price": _FRESH_FOOD["price"],
    "use": ("handling", ("simple", "practical", "handy"), ("awkward", "useless", "fiddly")),
}
_FRESH_FOOD_DEPARTMENTS = (
    "PRODUCE",
    "MEAT",
    "MEAT-PCKGD",
    "SEAFOOD",
    "DELI",
    "PASTRY",
    "SALAD BAR",
)
_NON_FOOD_DEPARTMENTS = (
    "DRUG GM",
    "COSMETICS",
    "NUTRITION",
    "FLORAL",
    "GARDEN CENTER",
    "KIOSK-GAS",
)
_OPENINGS = {
    1: ("Love it. ", "So happy with this. ", "Would buy again! ", "", "", "Great find: "),
    0: ("It is ok. ", "Nothing special. ", "Average. ", "", "", "So so. "),
    -1: ("Never again. ", "Disappointed. ", "What a waste. ", "", "", "Sent it back. "),
}
_ASIDES = (
    " My kids were with me.",
    " Bought it on Tuesday.",
    " Second time I get this.",
    " The store was busy.",
    " We had guests.",
    " I wanted something good for the weekend.",
    " My sister hates shopping here.",
)
_NEUTRAL_PHRASES = (
    "it does the job",
    "it is what it is",
    "about what you would expect",
    "fine, I guess",
)


def is_reviewed(purchase_id: str, item_id: str) -> str:
    """SQL: whether a purchase gets a review.

    Args:
        purchase_id: SQL of the purchase's id.
        item_id: SQL of what was bought.
    """
    digest, item_digest = (
        f"('0x' || substr(md5({text}::VARCHAR || '{SEED}'), 1, 7))::BIGINT"
        for text in (purchase_id, item_id)
    )
    is_often = f"{item_digest} % 1000 < {round(1000 * OFTEN_REVIEWED_SHARE)}"
    return (
        f"{digest} % (case when {is_often} then {PURCHASES_PER_REVIEW_OFTEN} "
        f"else {PURCHASES_PER_REVIEW} end) = 0"
    )


def review(
    purchase_id: str, item_id: str, department: str | None, day: dt.date, first_day: dt.date
) -> tuple[int, str]:
    """Rating (1 to 5) and text of a purchase's review.

    Args:
        purchase_id: seeds the review.
        item_id: what was bought; it determines the quality.
        department: determines the aspects that a text can be about.
        day: day of the purchase.
        first_day: first day of the home. Weeks are counted from it, so that a replayed year has
            the same reviews whenever it is replayed.
    """
    generator = random.Random(_digest(purchase_id))  # noqa: S311 - a simulation, not a secret
    aspects = _aspects_of(department)
    names = generator.sample(sorted(aspects), generator.choices((1, 2, 3), (5, 4, 2))[0])
    week = (day - first_day).days // 7
    feelings = [_feeling(generator, item_id, name, week, sorted(aspects)) for name in names]
    mean = sum(feelings) / len(feelings)
    overall = 1 if mean > 0.34 else -1 if mean < -0.34 else 0
    phrases = [
        _phrase(generator, aspects[name], feeling)
        for name, feeling in zip(names, feelings, strict=True)
    ]
    text = generator.choice(_OPENINGS[overall]) + _join(generator, phrases, feelings)
    if generator.random() < 0.25:
        text += generator.choice(_ASIDES)
    ratings = {1: (4, 5, 5), 0: (3, 3, 3, 2, 4), -1: (1, 1, 2)}[overall]
    rating = generator.choice(ratings)
    if generator.random() < 1 / 9:
        rating = min(5, max(1, rating + generator.choice((-2, -1, 1, 2))))
    return rating, _add_typos(generator, text)


def create_table(db: duckdb.DuckDBPyConnection, purchases: pa.Table, first_day: dt.date) -> str:
    """Creates a temporary table of the reviews of purchases and returns its name.

    Args:
        db: connection in which the table is created.
        purchases: date, event_id, user_id, item_id, department, occurred_at, row_number.
        first_day: first day of the home.
    """
    names = ("event_id", "item_id", "department", "date")
    columns = (purchases[name].to_pylist() for name in names)
    reviews = [
        review(purchase_id, str(item_id), department, day, first_day)
        for purchase_id, item_id, department, day in zip(*columns, strict=True)
    ]
    ratings = pa.array([rating for rating, _ in reviews], pa.float64())
    texts = pa.array([text for _, text in reviews], pa.string())
    rows = purchases.append_column("rating", ratings).append_column("text", texts)
    name = f"simulated_{uuid.uuid4().hex}"
    db.register(f"{name}_rows", rows)
    db.execute(
        f"create temp table {name} as select date, 'review-' || event_id as review_id, user_id, "
        "item_id, rating, text, occurred_at as written_at, 'en' as language, "
        "'simulated' as source, row_number, struct_pack(event_id, rating, text) as row "
        f"from {name}_rows"
    )
    db.unregister(f"{name}_rows")
    return f"temp.{name}"


def _aspects_of(department: str | None) -> Aspects:
    """The aspects that reviews of a department can be about."""
    if department in _FRESH_FOOD_DEPARTMENTS:
        return _FRESH_FOOD
    return _NON_FOOD if department in _NON_FOOD_DEPARTMENTS else _PACKAGED_FOOD


def _feeling(
    generator: random.Random, item_id: str, aspect: str, week: int, aspects: list[str]
) -> int:
    """A customer's opinion of an aspect: 1 positive, -1 negative, 0 neutral."""
    quality = 0.35 + 0.6 * _uniform(item_id, aspect)
    if _uniform(item_id, "bad week", str(week)) < BAD_WEEK_SHARE:
        bad_aspect = aspects[int(_uniform(item_id, "which", str(week)) * len(aspects))]
        quality = 0.1 if aspect == bad_aspect else quality * 0.6
    if generator.random() < NEUTRAL_SHARE:
        return 0
    return 1 if generator.random() < quality else -1


def _phrase(generator: random.Random, words: AspectWords, feeling: int) -> str:
    """A phrase that expresses a feeling about an aspect."""
    name, positive, negative = words
    if feeling == 0:
        is_ok = generator.random() < 0.5
        return f"the {name} is ok" if is_ok else generator.choice(_NEUTRAL_PHRASES)
    matching, opposite = (positive, negative) if feeling > 0 else (negative, positive)
    style = generator.random()
    if style < 0.2:
        negation = generator.choice(("not", "never", "far from", "anything but"))
        return f"the {name} was {negation} {generator.choice(opposite)}"
    if style < 0.35:
        return f"{generator.choice(matching)}, that is the word for the {name}"
    intensifier = generator.choice(("", "", "very ", "really ", "so "))
    word = generator.choice(matching)
    if word.startswith(("a ", "past", "full", "too", "just")):
        intensifier = ""
    return f"the {name} {generator.choice(('is', 'was'))} {intensifier}{word}"


def _join(generator: random.Random, phrases: list[str], feelings: list[int]) -> str:
    """The phrases as a sentence; opposite feelings are joined by a contrast."""
    text = phrases[0]
    for previous, feeling, phrase in zip(feelings, feelings[1:], phrases[1:], strict=False):
        if previous * feeling < 0:
            text += generator.choice((", but ", ", although ", "; on the other hand ", ". Still, "))
        else:
            text += generator.choice((" and ", ", and ", ". Also, ", "; "))
        text += phrase
    end = generator.choice((".", ".", "!", "", "..."))
    return text[0].upper() + text[1:] + end


def _add_typos(generator: random.Random, text: str) -> str:
    """Swaps, drops or doubles a letter in one text of five; lowers the case of one in ten."""
    if generator.random() < 0.2 and len(text) > 12:
        n = generator.randrange(1, len(text) - 2)
        kind = generator.randrange(3)
        if kind == 0:
            text = text[:n] + text[n + 1] + text[n] + text[n + 2 :]
        elif kind == 1:
            text = text[:n] + text[n + 1 :]
        else:
            text = text[:n] + text[n] + text[n:]
    return text.lower() if generator.random() < 0.1 else text


def _uniform(*parts: str) -> float:
    """A number between 0 and 1 that depends on the parts only."""
    return _digest("|".join(parts)) / 2**64


def _digest(text: str) -> int:
    """A 64-bit hash of SEED and a text."""
    return int.from_bytes(hashlib.blake2b(f"{SEED}|{text}".encode(), digest_size=8).digest(), "big")

"""Reviews that nobody wrote: a seeded grammar over a day's purchases, for the demo.

The Complete Journey has no reviews. About one purchase in sixty gets one here, and everything made
of it says `simulated`. An item has a quality of its own for each of its aspects; some items have
weeks in which an aspect is bad. A text speaks of one to three aspects, with negation, contrast,
mixed opinions, asides and typing errors; the rating follows what was felt, and one in nine is off.
All of it is a function of the purchase's id and the item: the same purchase, the same review.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import random
import uuid

import duckdb
import pyarrow as pa

ONE_IN = 60
SEED = "reviews-1"
BAD_WEEKS = 0.02
"""Share of an item's weeks in which one of its aspects is bad."""

_FRESH = {
    "freshness": ("freshness", ("fresh", "crisp", "ripe"), ("stale", "wilted", "past its date")),
    "taste": ("taste", ("delicious", "full of flavour", "tasty"), ("bland", "bitter", "watery")),
    "price": ("price", ("a bargain", "fair", "cheap"), ("too high", "a rip-off", "steep")),
    "size": ("portion", ("generous", "just right", "big"), ("tiny", "smaller than before", "mean")),
}
_PACKED = {
    "taste": _FRESH["taste"],
    "packaging": ("packaging", ("sturdy", "easy to open", "neat"), ("torn", "leaking", "flimsy")),
    "price": _FRESH["price"],
    "quality": (
        "quality",
        ("excellent", "reliable", "consistent"),
        ("poor", "worse than before", "uneven"),
    ),
}
_GOODS = {
    "quality": _PACKED["quality"],
    "packaging": _PACKED["packaging"],
    "price": _FRESH["price"],
    "use": ("handling", ("simple", "practical", "handy"), ("awkward", "useless", "fiddly")),
}
_FRESH_KINDS = ("PRODUCE", "MEAT", "MEAT-PCKGD", "SEAFOOD", "DELI", "PASTRY", "SALAD BAR")
_GOODS_KINDS = ("DRUG GM", "COSMETICS", "NUTRITION", "FLORAL", "GARDEN CENTER", "KIOSK-GAS")
_OPEN = {
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
_PLAIN = ("it does the job", "it is what it is", "about what you would expect", "fine, I guess")


def is_reviewed(purchase: str) -> str:
    """SQL of whether a purchase of this id gets a review: one in sixty does."""
    return f"('0x' || substr(md5({purchase} || '{SEED}'), 1, 7))::BIGINT % {ONE_IN} = 0"


def review(
    purchase: str, item: str, kind: str | None, day: dt.date, first_day: dt.date
) -> tuple[int, str]:
    """Rating 1 to 5 and text of a purchase's review.

    Args:
        purchase: its id.
        item: what was bought; its quality is its own.
        kind: department, which says what people talk about.
        day: when; some weeks of an item are bad.
        first_day: first day of the home: weeks are counted from it, so that a replayed year has
            the same reviews whenever it is replayed.
    """
    draw = random.Random(_digest(purchase))  # noqa: S311 - a simulation, not a secret
    aspects = _FRESH if kind in _FRESH_KINDS else _GOODS if kind in _GOODS_KINDS else _PACKED
    names = draw.sample(sorted(aspects), draw.choices((1, 2, 3), (5, 4, 2))[0])
    week = (day - first_day).days // 7
    felt = {name: _feeling(draw, item, name, week, sorted(aspects)) for name in names}
    mean = sum(felt.values()) / len(felt)
    overall = 1 if mean > 0.34 else -1 if mean < -0.34 else 0
    phrases = [_phrase(draw, aspects[name], felt[name]) for name in names]
    text = draw.choice(_OPEN[overall]) + _joined(draw, phrases, [felt[name] for name in names])
    if draw.random() < 0.25:
        text += draw.choice(_ASIDES)
    stars = {1: (4, 5, 5), 0: (3, 3, 3, 2, 4), -1: (1, 1, 2)}[overall]
    rating = draw.choice(stars)
    if draw.random() < 1 / 9:
        rating = min(5, max(1, rating + draw.choice((-2, -1, 1, 2))))
    return rating, _typed(draw, text)


def table(db: duckdb.DuckDBPyConnection, purchases: pa.Table, first_day: dt.date) -> str:
    """A temporary table of the reviews of purchases, as an adapter's relation; its name.

    `purchases` has date, event_id, user_id, item_id, department, occurred_at, row_number.
    """
    names = ("event_id", "item_id", "department", "date")
    columns = (purchases[name].to_pylist() for name in names)
    made = [
        review(purchase, str(item), kind, day, first_day)
        for purchase, item, kind, day in zip(*columns, strict=True)
    ]
    purchases = purchases.append_column("rating", pa.array([r for r, _ in made], pa.float64()))
    purchases = purchases.append_column("text", pa.array([text for _, text in made], pa.string()))
    name = f"simulated_{uuid.uuid4().hex}"
    db.register(f"{name}_rows", purchases)
    db.execute(
        f"create temp table {name} as select date, 'review-' || event_id as review_id, user_id, "
        "item_id, rating, text, occurred_at as written_at, 'en' as language, "
        "'simulated' as source, row_number, struct_pack(event_id, rating, text) as row "
        f"from {name}_rows"
    )
    db.unregister(f"{name}_rows")
    return f"temp.{name}"


def _feeling(draw: random.Random, item: str, aspect: str, week: int, aspects: list[str]) -> int:
    """1 pleased, -1 displeased, 0 neither."""
    quality = 0.35 + 0.6 * _share(item, aspect)
    if _share(item, "bad week", str(week)) < BAD_WEEKS:
        bad = aspects[int(_share(item, "which", str(week)) * len(aspects))]
        quality = 0.1 if aspect == bad else quality * 0.6
    if draw.random() < 0.12:
        return 0
    return 1 if draw.random() < quality else -1


def _phrase(
    draw: random.Random, words: tuple[str, tuple[str, ...], tuple[str, ...]], felt: int
) -> str:
    name, good, bad = words
    if felt == 0:
        return f"the {name} is ok" if draw.random() < 0.5 else draw.choice(_PLAIN)
    own, other = (good, bad) if felt > 0 else (bad, good)
    style = draw.random()
    if style < 0.2:
        # By the opposite, negated.
        negation = draw.choice(("not", "never", "far from", "anything but"))
        return f"the {name} was {negation} {draw.choice(other)}"
    if style < 0.35:
        return f"{draw.choice(own)}, that is the word for the {name}"
    very = draw.choice(("", "", "very ", "really ", "so "))
    word = draw.choice(own)
    very = "" if word.startswith(("a ", "past", "full", "too", "just")) else very
    return f"the {name} {draw.choice(('is', 'was'))} {very}{word}"


def _joined(draw: random.Random, phrases: list[str], felt: list[int]) -> str:
    text = phrases[0]
    for before, now, phrase in zip(felt, felt[1:], phrases[1:], strict=False):
        if before * now < 0:
            text += draw.choice((", but ", ", although ", "; on the other hand ", ". Still, "))
        else:
            text += draw.choice((" and ", ", and ", ". Also, ", "; "))
        text += phrase
    end = draw.choice((".", ".", "!", "", "..."))
    return text[0].upper() + text[1:] + end


def _typed(draw: random.Random, text: str) -> str:
    """With a typing error in one text of five, and without capitals in one of ten."""
    if draw.random() < 0.2 and len(text) > 12:
        at = draw.randrange(1, len(text) - 2)
        kind = draw.randrange(3)
        if kind == 0:
            text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        elif kind == 1:
            text = text[:at] + text[at + 1 :]
        else:
            text = text[:at] + text[at] + text[at:]
    return text.lower() if draw.random() < 0.1 else text


def _share(*parts: str) -> float:
    """A number from 0 to 1 that is always the same for the same parts."""
    return _digest("|".join(parts)) / 2**64


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{SEED}|{text}".encode(), digest_size=8).digest(), "big")

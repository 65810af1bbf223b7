"""Why a product is liked or not: the words by which pleased and displeased reviews differ.

Log-odds of a term in pleased against displeased reviews with an informative prior (Monroe, Colaresi
and Quinn 2008). The prior is how often pleased and displeased reviews of all products say the term:
what a word means is known from all of them, and that it is said of this product, from its own
reviews. Reviews count with their probabilities, not with hard labels.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from batch_predictions.models.sentiment.text.documents import tokenise

PRIOR_REVIEWS = 10.0
LEAST_Z = 1.0
LEAST_SHARE = 0.02
_STOP_WORDS = (
    "a about after all also an and any are as at be been before but by can could did do does for "
    "from get got had has have he her here him his how i i'm i've if in into is it it's its just "
    "me more most my of on one only or other our out over own s she so some such than that the "
    "their them then there these they this those through to up us very was we were what when "
    "which while who will with would you your the der die das und ich ist ein eine es mit"
)
_STOP = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True)
class Aspect:
    """A term of a product: log-odds above 0 where the pleased say it."""

    term: str
    log_odds: float
    z: float
    reviews: int


def terms_of(text: str) -> set[str]:
    """Words that mean something, and neighbours of which at least one does."""
    tokens = tokenise(text)
    means = [len(t) > 1 and t not in _STOP and any(c.isalpha() for c in t) for t in tokens]
    word = [any(c.isalpha() for c in t) for t in tokens]
    found = {token for token, good in zip(tokens, means, strict=True) if good}
    for n in range(len(tokens) - 1):
        if word[n] and word[n + 1] and (means[n] and means[n + 1]):
            found.add(f"{tokens[n]} {tokens[n + 1]}")
    return found


def background(reviews: Iterable[tuple[str, float, float]]) -> dict[str, tuple[float, float]]:
    """Share of pleased and of displeased reviews that say each term, of (text, up, down)."""
    up: dict[str, float] = defaultdict(float)
    down: dict[str, float] = defaultdict(float)
    ups = downs = 0.0
    for text, pleased, displeased in reviews:
        ups, downs = ups + pleased, downs + displeased
        for term in terms_of(text):
            up[term] += pleased
            down[term] += displeased
    return {term: (up[term] / max(ups, 1.0), down[term] / max(downs, 1.0)) for term in up}


def aspects(
    reviews: Sequence[tuple[str, float, float]],
    usual: Mapping[str, tuple[float, float]],
    *,
    most: int,
    least_reviews: int,
) -> list[Aspect]:
    """The strongest terms of a product in each direction.

    Args:
        reviews: text, probability of pleased, probability of displeased.
        usual: shares of pleased and displeased reviews of all products that say a term.
        most: terms in each direction.
        least_reviews: reviews that a term stands in, at least.
    """
    pleased: dict[str, float] = defaultdict(float)
    displeased: dict[str, float] = defaultdict(float)
    count: Counter[str] = Counter()
    for text, up, down in reviews:
        for term in sorted(terms_of(text)):
            pleased[term] += up
            displeased[term] += down
            count[term] += 1
    ups = math.fsum(up for _, up, _ in reviews)
    downs = math.fsum(down for _, _, down in reviews)
    found = []
    for term, n in count.items():
        if n < least_reviews:
            continue
        shares = (min(max(share, LEAST_SHARE), 0.9) for share in usual.get(term, (0.0, 0.0)))
        prior_up, prior_down = (PRIOR_REVIEWS * share for share in shares)
        up, down = pleased[term] + prior_up, displeased[term] + prior_down
        odds = math.log(up / max(ups + PRIOR_REVIEWS - up, 0.1))
        odds -= math.log(down / max(downs + PRIOR_REVIEWS - down, 0.1))
        z = odds / math.sqrt(1 / up + 1 / down)
        if abs(z) >= LEAST_Z:
            found.append(Aspect(term, odds, z, n))
    chosen = []
    for sign in (1, -1):
        side = sorted(
            (each for each in found if each.log_odds * sign > 0),
            key=lambda each: (-abs(each.z), each.term),
        )
        chosen += _without_parts(side)[:most]
    return chosen


def _without_parts(side: list[Aspect]) -> list[Aspect]:
    """Leaves out a word whose stronger pair is there already, and a pair of a stronger word."""
    kept: list[Aspect] = []
    words: set[str] = set()
    for each in side:
        parts = set(each.term.split())
        if not (parts & words and len(parts) == 1) and not parts <= words:
            kept.append(each)
            words |= parts
    return kept

"""Terms by which the positive reviews of an item differ from its negative ones.

Log-odds of a term in positive against negative reviews, with an informative prior (Monroe, Colaresi
and Quinn 2008). The prior is how often positive and negative reviews of all items contain the
term. Reviews count with their probabilities of being positive and negative, not with hard labels.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from batch_predictions.models.sentiment.text.documents import tokenise

PRIOR_REVIEWS = 10.0
"""Weight of the prior, in reviews."""
MIN_ABS_Z = 1.0
MIN_PRIOR_SHARE, MAX_PRIOR_SHARE = 0.02, 0.9
_TEXT_OF_STOP_WORDS = (
    "a about after all also an and any are as at be been before but by can could did do does for "
    "from get got had has have he her here him his how i i'm i've if in into is it it's its just "
    "me more most my of on one only or other our out over own s she so some such than that the "
    "their them then there these they this those through to up us very was we were what when "
    "which while who will with would you your the "
    "aber als am an auch auf aus bei bin da das dass dem den der des die dies du ein eine einem "
    "einen einer er es für habe haben hat hier ich ihr im in ist ja kann man mein meine mich mir "
    "mit nach noch nur oder schon sein sich sie sind so über um und uns vom von vor war waren was "
    "wenn werden wie wir wird wurde zu zum zur"
)
STOP_WORDS = frozenset(_TEXT_OF_STOP_WORDS.split())

ScoredText: TypeAlias = tuple[str, float, float]
"""Text of a review, its probability of being positive, its probability of being negative."""


@dataclass(frozen=True)
class Aspect:
    """A term by which the positive and negative reviews of an item differ.

    Attributes:
        term: a word, or two neighbouring words.
        log_odds: above 0 where positive reviews contain it more often than negative ones.
        z: `log_odds` in standard errors.
        reviews: reviews that contain it.
    """

    term: str
    log_odds: float
    z: float
    reviews: int


def extract_terms(text: str) -> set[str]:
    """Words of a text that are not stop words, and pairs of neighbouring words of that kind."""
    tokens = tokenise(text)
    is_term = [
        len(token) > 1 and token not in STOP_WORDS and any(map(str.isalpha, token))
        for token in tokens
    ]
    terms = {token for token, selected in zip(tokens, is_term, strict=True) if selected}
    for n in range(len(tokens) - 1):
        if is_term[n] and is_term[n + 1]:
            terms.add(f"{tokens[n]} {tokens[n + 1]}")
    return terms


def background_shares(reviews: Iterable[ScoredText]) -> dict[str, tuple[float, float]]:
    """Share of the positive and of the negative reviews of all items that contain each term."""
    positive: dict[str, float] = defaultdict(float)
    negative: dict[str, float] = defaultdict(float)
    positive_total = negative_total = 0.0
    for text, p_positive, p_negative in reviews:
        positive_total += p_positive
        negative_total += p_negative
        for term in extract_terms(text):
            positive[term] += p_positive
            negative[term] += p_negative
    return {
        term: (
            positive[term] / max(positive_total, 1.0),
            negative[term] / max(negative_total, 1.0),
        )
        for term in positive
    }


def find_aspects(
    reviews: Sequence[ScoredText],
    background: Mapping[str, tuple[float, float]],
    *,
    max_terms: int,
    min_reviews: int,
) -> list[Aspect]:
    """The terms of an item with the largest |z|, the positive ones first.

    Args:
        reviews: the item's reviews.
        background: see `background_shares`.
        max_terms: terms in each direction.
        min_reviews: smallest number of reviews that contain a term.
    """
    positive: dict[str, float] = defaultdict(float)
    negative: dict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    for text, p_positive, p_negative in reviews:
        for term in sorted(extract_terms(text)):
            positive[term] += p_positive
            negative[term] += p_negative
            counts[term] += 1
    positive_total = math.fsum(p_positive for _, p_positive, _ in reviews)
    negative_total = math.fsum(p_negative for _, _, p_negative in reviews)
    candidates = []
    for term, count in counts.items():
        if count < min_reviews:
            continue
        prior = background.get(term, (0.0, 0.0))
        log_odds, z = _log_odds(
            positive[term], positive_total, negative[term], negative_total, prior
        )
        if abs(z) >= MIN_ABS_Z:
            candidates.append(Aspect(term, log_odds, z, count))
    aspects = []
    for sign in (1, -1):
        strongest_first = sorted(
            (aspect for aspect in candidates if aspect.log_odds * sign > 0),
            key=lambda aspect: (-abs(aspect.z), aspect.term),
        )
        aspects += _drop_redundant(strongest_first)[:max_terms]
    return aspects


def _log_odds(
    positive: float,
    positive_total: float,
    negative: float,
    negative_total: float,
    prior: tuple[float, float],
) -> tuple[float, float]:
    """Log-odds ratio with the prior's reviews added, and the ratio in standard errors."""
    shares = (min(max(share, MIN_PRIOR_SHARE), MAX_PRIOR_SHARE) for share in prior)
    prior_positive, prior_negative = (PRIOR_REVIEWS * share for share in shares)
    positive, negative = positive + prior_positive, negative + prior_negative
    log_odds = math.log(positive / max(positive_total + PRIOR_REVIEWS - positive, 0.1))
    log_odds -= math.log(negative / max(negative_total + PRIOR_REVIEWS - negative, 0.1))
    return log_odds, log_odds / math.sqrt(1 / positive + 1 / negative)


def _drop_redundant(strongest_first: list[Aspect]) -> list[Aspect]:
    """Drops a word that is part of a stronger term, and a pair if both of its words are."""
    selected: list[Aspect] = []
    covered: set[str] = set()
    for aspect in strongest_first:
        words = set(aspect.term.split())
        if not (words & covered and len(words) == 1) and not words <= covered:
            selected.append(aspect)
            covered |= words
    return selected

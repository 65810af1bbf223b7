"""Labelled reviews: labels from ratings, equal texts counted once, splits that do not leak."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from batch_predictions.models.sentiment.text.documents import Documents, normalise

NEGATIVE, NEUTRAL, POSITIVE = "negative", "neutral", "positive"
CLASSES = (NEGATIVE, NEUTRAL, POSITIVE)
Labels: TypeAlias = npt.NDArray[np.int64]
UNLABELLED = -1


def label_of(
    rating: float | None, label: str | None, negative_up_to: float, positive_from: float
) -> int:
    """0 negative, 1 neutral, 2 positive; -1 unlabelled. What a person said beats the stars."""
    if label is not None:
        return CLASSES.index(label)
    if rating is None or rating != rating:
        return UNLABELLED
    if rating <= negative_up_to:
        return 0
    return 2 if rating >= positive_from else 1


@dataclass(frozen=True)
class Reviews:
    """Labelled reviews. `groups` are products, `days` ordinals; days all 0 where none are known."""

    documents: Documents
    labels: Labels
    groups: tuple[str, ...]
    days: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: npt.NDArray[np.integer]) -> Reviews:
        """The reviews at some places."""
        return Reviews(
            self.documents.take(places),
            self.labels[places],
            tuple(self.groups[n] for n in places.tolist()),
            self.days[places],
        )

    def text_ids(self) -> npt.NDArray[np.int64]:
        """A number for every different text; equal texts have the same."""
        seen: dict[str, int] = {}
        texts = (normalise(text) for text in self.documents)
        return np.array([seen.setdefault(text, len(seen)) for text in texts], dtype=np.int64)


def of_rows(
    texts: Sequence[str],
    labels: Sequence[int],
    groups: Sequence[str | None] | None = None,
    days: Sequence[dt.date] | None = None,
) -> Reviews:
    """Reviews of columns, without those that have no label."""
    kept = [n for n, label in enumerate(labels) if label >= 0 and texts[n]]
    return Reviews(
        Documents(texts[n] for n in kept),
        np.array([labels[n] for n in kept], dtype=np.int64),
        tuple(str(groups[n]) if groups else str(n) for n in kept),
        np.array([days[n].toordinal() if days else 0 for n in kept], dtype=np.int64),
    )


def distinct(reviews: Reviews) -> Reviews:
    """Every different text once, with its most frequent label (of equals, the lower)."""
    ids = reviews.text_ids()
    if not len(ids):
        return reviews
    votes = np.zeros((int(ids.max()) + 1, int(reviews.labels.max()) + 1))
    np.add.at(votes, (ids, reviews.labels), 1)
    _, first = np.unique(ids, return_index=True)
    once = reviews.take(first)
    return Reviews(once.documents, votes.argmax(axis=1), once.groups, once.days)


@dataclass(frozen=True)
class Split:
    """Rows to learn from and rows to be judged on; no text stands on both sides."""

    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]
    kind: str


def holdout(reviews: Reviews, share: float, seed: int) -> Split:
    """The newest `share` of reviews by days, where they have several; else whole products."""
    days = np.unique(reviews.days)
    if len(days) > 1:
        ordered = np.sort(reviews.days)
        cut = ordered[int(len(ordered) * (1 - share))]
        cut = days[1] if cut == days[0] else cut
        later = reviews.days >= cut
        kind = f"time: from {dt.date.fromordinal(int(cut))}" if cut > 1 else "time"
        return _without_leaks(reviews, ~later, later, kind)
    return next(folds(reviews, max(2, round(1 / share)), seed))


def folds(reviews: Reviews, number: int, seed: int) -> Iterator[Split]:
    """Folds of whole products; equal texts of several products stay with the first's.

    Products are dealt to the folds by a seeded draw, largest first, so that folds are of a size.
    """
    ids = reviews.text_ids()
    names: dict[str, int] = {}
    codes = np.array([names.setdefault(each, len(names)) for each in reviews.groups], np.int64)
    if len(names) < number:
        # Too few products to hold some out: folds of whole texts.
        codes, kind = ids, "texts"
    else:
        kind = "products"
    sizes = np.bincount(codes)
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    load, place = np.zeros(number), np.zeros(len(sizes), dtype=np.int64)
    for group in order:
        place[group] = int(load.argmin())
        load[place[group]] += sizes[group]
    fold = place[codes]
    for each in range(number):
        yield _without_leaks(reviews, fold != each, fold == each, kind)


def _without_leaks(
    reviews: Reviews, train: npt.NDArray[np.bool_], test: npt.NDArray[np.bool_], kind: str
) -> Split:
    """Takes texts that are judged out of what is learned."""
    ids = reviews.text_ids()
    clean = train & ~np.isin(ids, ids[test])
    return Split(np.flatnonzero(clean), np.flatnonzero(test), kind)

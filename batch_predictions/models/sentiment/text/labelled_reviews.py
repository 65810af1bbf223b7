"""Labelled reviews: labels from ratings, deduplication, and splits without shared texts."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from batch_predictions.models.sentiment.text.documents import Documents, normalise
from batch_predictions.models.sentiment.text.token_ids import Ints

NEGATIVE, NEUTRAL, POSITIVE = "negative", "neutral", "positive"
CLASSES = (NEGATIVE, NEUTRAL, POSITIVE)
Labels: TypeAlias = npt.NDArray[np.int64]
"""Class indices, (reviews,)."""
UNLABELLED = -1


def class_index(
    rating: float | None, label: str | None, negative_up_to: float, positive_from: float
) -> int:
    """The class of a review: 0 negative, 1 neutral, 2 positive, -1 (UNLABELLED) unknown.

    Args:
        rating: stars; used only where there is no label.
        label: a name of CLASSES that a person gave.
        negative_up_to: highest negative rating.
        positive_from: lowest positive rating.
    """
    if label is not None:
        return CLASSES.index(label)
    if rating is None or rating != rating:
        return UNLABELLED
    if rating <= negative_up_to:
        return 0
    return 2 if rating >= positive_from else 1


@dataclass(frozen=True)
class Reviews:
    """Labelled reviews as columns.

    Attributes:
        documents: the texts.
        labels: class of each review.
        groups: product of each review; folds and bootstraps keep its reviews together.
        days: proleptic ordinal of each review's date; all 0 where dates are unknown.
    """

    documents: Documents
    labels: Labels
    groups: tuple[str, ...]
    days: Ints

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: npt.NDArray[np.integer]) -> Reviews:
        """Selects the reviews at these indices, in their order."""
        return Reviews(
            self.documents.take(indices),
            self.labels[indices],
            tuple(self.groups[n] for n in indices.tolist()),
            self.days[indices],
        )

    def text_ids(self) -> Ints:
        """A number for every distinct normalised text, (reviews,)."""
        return number_distinct([normalise(text) for text in self.documents])


def number_distinct(values: Sequence[str]) -> Ints:
    """Numbers distinct values in the order in which they first occur, (values,)."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


def build_reviews(
    texts: Sequence[str],
    labels: Sequence[int],
    groups: Sequence[str | None] | None = None,
    days: Sequence[dt.date] | None = None,
) -> Reviews:
    """Builds reviews from columns. Rows without a label or a text are dropped.

    Without `groups` every review is a group by itself.

    Args:
        texts: one per review.
        labels: class of each review, -1 (UNLABELLED) for none.
        groups: product of each review.
        days: date of each review; None: unknown.
    """
    rows = [n for n, label in enumerate(labels) if label >= 0 and texts[n]]
    return Reviews(
        Documents(texts[n] for n in rows),
        np.array([labels[n] for n in rows], dtype=np.int64),
        tuple(str(groups[n]) if groups else str(n) for n in rows),
        np.array([days[n].toordinal() if days else 0 for n in rows], dtype=np.int64),
    )


def deduplicate(reviews: Reviews) -> Reviews:
    """The first review of every distinct text, with the text's most frequent label.

    Ties go to the lower class.
    """
    ids = reviews.text_ids()
    if not len(ids):
        return reviews
    votes = np.zeros((int(ids.max()) + 1, int(reviews.labels.max()) + 1))
    np.add.at(votes, (ids, reviews.labels), 1)
    _, first = np.unique(ids, return_index=True)
    unique = reviews.take(first)
    return Reviews(unique.documents, votes.argmax(axis=1), unique.groups, unique.days)


@dataclass(frozen=True)
class ReviewSplit:
    """Row indices for training and for testing, without a text that is in both.

    Attributes:
        train, test: row indices.
        kind: how the rows were split: `time: from <date>`, `time`, `products` or `texts`.
    """

    train: Ints
    test: Ints
    kind: str


def split_holdout(reviews: Reviews, share: float, seed: int) -> ReviewSplit:
    """Holds out the newest `share` of reviews; whole products where there is only one date.

    Args:
        reviews: to split.
        share: of reviews to hold out, between 0 and 1.
        seed: of the folds of products, where there is only one date.
    """
    days = np.unique(reviews.days)
    if len(days) > 1:
        ordered = np.sort(reviews.days)
        cutoff = ordered[int(len(ordered) * (1 - share))]
        # At least the first day is left for training.
        cutoff = days[1] if cutoff == days[0] else cutoff
        is_test = reviews.days >= cutoff
        kind = f"time: from {dt.date.fromordinal(int(cutoff))}" if cutoff > 1 else "time"
        return _split_by_mask(reviews, ~is_test, is_test, kind)
    return next(group_folds(reviews, max(2, round(1 / share)), seed))


def group_folds(reviews: Reviews, fold_count: int, seed: int) -> Iterator[ReviewSplit]:
    """Yields cross-validation folds of whole products; with too few products, of whole texts.

    Groups go to the smallest fold, the largest group first and equal ones in a seeded order, so
    that folds have similar sizes. A text that products of several folds share is tested in each of
    these folds, and is left out of their training rows.

    Args:
        reviews: to split.
        fold_count: number of folds.
        seed: of the order of equally large groups.
    """
    group_ids, kind = number_distinct(reviews.groups), "products"
    if len(set(reviews.groups)) < fold_count:
        group_ids, kind = reviews.text_ids(), "texts"
    sizes = np.bincount(group_ids)
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold_sizes, fold_of_group = np.zeros(fold_count), np.zeros(len(sizes), dtype=np.int64)
    for group in order:
        fold_of_group[group] = int(fold_sizes.argmin())
        fold_sizes[fold_of_group[group]] += sizes[group]
    fold_of_review = fold_of_group[group_ids]
    for fold in range(fold_count):
        yield _split_by_mask(reviews, fold_of_review != fold, fold_of_review == fold, kind)


def stratified_folds(reviews: Reviews, fold_count: int, seed: int) -> list[ReviewSplit]:
    """Cross-validation folds of whole products with similar class shares.

    With fewer products than folds, or where a training part would have a single class because one
    product has all texts of the others, folds are of whole texts.

    Args:
        reviews: distinct texts, see `deduplicate`.
        fold_count: number of folds.
        seed: of the order in which products or texts are dealt.

    Returns:
        The folds, each review is tested in one of them; none if fewer than two classes have
        `fold_count` texts.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if (np.bincount(reviews.labels) >= fold_count).sum() < 2:
        return []
    group_ids = number_distinct(reviews.groups)
    options = {"shuffle": True, "random_state": seed}
    with warnings.catch_warnings():
        # A third class with fewer texts than folds is in some of them only.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        if len(set(reviews.groups)) >= fold_count:
            by_product = StratifiedGroupKFold(fold_count, **options)
            splits = list(by_product.split(group_ids, reviews.labels, group_ids))
            if all(len(np.unique(reviews.labels[train])) > 1 for train, _ in splits):
                return [ReviewSplit(train, test, "products") for train, test in splits]
        by_text = StratifiedKFold(fold_count, **options)
        splits = list(by_text.split(group_ids, reviews.labels))
    return [ReviewSplit(train, test, "texts") for train, test in splits]


def _split_by_mask(
    reviews: Reviews, train: npt.NDArray[np.bool_], test: npt.NDArray[np.bool_], kind: str
) -> ReviewSplit:
    """A split from masks; training rows whose text is in a test row are dropped."""
    ids = reviews.text_ids()
    unshared = train & ~np.isin(ids, ids[test])
    return ReviewSplit(np.flatnonzero(unshared), np.flatnonzero(test), kind)

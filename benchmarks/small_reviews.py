"""Small samples of the review sets in ../shared/data/reviews, for `small_sentiment.py`.

Equal texts count once. Reviews of one product are a group; in sets without products, texts that
have at least 80 % of their distinct words in common are.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sentence_polarity

from batch_predictions.cli.benchmark.labelled_file import LabelledFile, read_labelled_file
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.labelled_reviews import (
    Reviews,
    deduplicate,
    number_distinct,
)
from batch_predictions.settings import SentimentSettings

SETS = ("alexa", "clothing", "mr")
MIN_SIMILARITY = 0.8
"""Jaccard similarity of the words of texts that are one group."""
HALVES = ("development", "report", "all")


def read_set(name: str, folder: Path) -> LabelledFile:
    """The distinct reviews of a set with their groups.

    Args:
        name: one of SETS.
        folder: `../shared/data/reviews`.
    """
    settings, group = SentimentSettings(), None
    with tempfile.TemporaryDirectory() as temporary:
        path = folder / "amazon_alexa.tsv"
        if name == "mr":
            path = Path(temporary) / "mr.tsv"
            sentence_polarity.main(folder / "sentence_polarity", path)
        elif name == "clothing":
            group = "Clothing ID"
            with zipfile.ZipFile(folder / "womens_clothing.zip") as archive:
                [member] = [n for n in archive.namelist() if n.startswith("Womens")]
                path = Path(archive.extract(member, temporary))
        file = read_labelled_file(path, settings, group)
    reviews = deduplicate(file.reviews)
    if group is None:
        groups = tuple(map(str, near_duplicates(reviews.documents).tolist()))
        reviews = Reviews(reviews.documents, reviews.labels, groups, reviews.days)
    return LabelledFile(reviews, file.classes, file.left_out)


def near_duplicates(documents: Documents) -> npt.NDArray[np.integer]:
    """A number for each cluster of near-equal texts (single linkage), (documents,)."""
    from scipy.sparse import coo_matrix, csr_matrix
    from scipy.sparse.csgraph import connected_components

    token_ids, count = documents.token_ids, len(documents)
    rows = token_ids.rows
    words = csr_matrix(
        (np.ones(len(rows.values)), rows.values, rows.bounds),
        shape=(count, len(token_ids.distinct)),
        copy=True,  # sum_duplicates sorts in place, the order of the words must stay
    )
    words.sum_duplicates()
    words.data[:] = 1
    # Texts that differ in punctuation only are equal.
    words = words[:, [len(token) > 1 or token.isalnum() for token in token_ids.distinct]]
    sizes = np.asarray(words.sum(axis=1)).ravel()
    near_rows, near_columns = [], []
    for start in range(0, count, 1000):
        common = (words[start : start + 1000] @ words.T).tocoo()
        row = common.row + start
        union = sizes[row] + sizes[common.col] - common.data
        is_near = common.data >= MIN_SIMILARITY * union
        near_rows.append(row[is_near])
        near_columns.append(common.col[is_near])
    row, column = np.concatenate(near_rows), np.concatenate(near_columns)
    graph = coo_matrix((np.ones(len(row)), (row, column)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])


def take_half(reviews: Reviews, half: str) -> Reviews:
    """The reviews of half of the groups, so that models are chosen on other texts than reported.

    Args:
        reviews: of a set.
        half: one of HALVES.
    """
    if half == "all":
        return reviews
    groups = number_distinct(reviews.groups)
    in_development = np.random.default_rng(2024).random(int(groups.max()) + 1) < 0.5
    return reviews.take(np.flatnonzero(in_development[groups] == (half == "development")))


def draw_sample(reviews: Reviews, size: int, seed: int) -> npt.NDArray[np.int64]:
    """Indices of a random sample with the set's class shares; all where there are no more."""
    if size >= len(reviews):
        return np.arange(len(reviews))
    random = np.random.default_rng(seed)
    counts = np.bincount(reviews.labels)
    exact = counts * size / counts.sum()
    taken = np.floor(exact).astype(np.int64)
    taken[np.argsort(taken - exact)[: size - taken.sum()]] += 1
    return np.sort(
        np.concatenate(
            [
                random.permutation(np.flatnonzero(reviews.labels == label))[:count]
                for label, count in enumerate(taken.tolist())
            ]
        )
    )

"""Batches of texts of about one length, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from batch_predictions.models.sentiment.text.documents import PADDING
from batch_predictions.models.sentiment.text.ragged import Places, RaggedArray

WINDOW, BATCH, SLACK = 8192, 64, 0.04
"""Texts that are sorted together, texts of one batch, and how much longer its longest may be."""


def by_length(
    lengths: Places,
    window: int = WINDOW,
    batch: int = BATCH,
    slack: float = SLACK,
) -> Iterator[Places]:
    """Places of the texts of every batch: within a window, from short to long.

    Args:
        lengths: tokens of every text, (texts,).
        slack: a batch ends before a text that is longer than its shortest by more than this share,
            so that short texts come in groups of one exact length.
    """
    for start in range(0, len(lengths), window):
        order = start + np.argsort(lengths[start : start + window], kind="stable")
        ordered = lengths[order]
        at = 0
        while at < len(order):
            fits = int(np.searchsorted(ordered, ordered[at] * (1 + slack), side="right"))
            end = min(at + batch, fits)
            yield order[at:end]
            at = end


def shuffled(lengths: Places, batch: int, random: np.random.Generator) -> Iterator[Places]:
    """Places of the texts of every batch of an epoch, in a random order: texts of about one length
    within windows of 50 batches, which are drawn anew."""
    drawn = random.permutation(len(lengths))
    batches = []
    for start in range(0, len(lengths), 50 * batch):
        some = drawn[start : start + 50 * batch]
        batches += [some[at] for at in by_length(lengths[some], len(some), batch, np.inf)]
    for n in random.permutation(len(batches)).tolist():
        yield batches[n]


def padded(ids: RaggedArray, places: npt.NDArray[np.integer]) -> tuple[Places, Places]:
    """Ids filled up with padding, (texts, longest), and lengths (texts,)."""
    lengths = ids.lengths[places]
    steps = np.arange(int(lengths.max()))
    at = ids.bounds[places][:, np.newaxis] + steps
    inside = steps < lengths[:, np.newaxis]
    filled = ids.values.take(at, mode="clip").astype(np.int64, copy=False)
    return np.where(inside, filled, PADDING), lengths


def padding_share(lengths: Places) -> float:
    """Share of all positions of all batches of texts of these lengths that are padding."""
    cells = tokens = 0
    for places in by_length(lengths):
        some = lengths[places]
        cells += int(some.max()) * len(some)
        tokens += int(some.sum())
    return 1 - tokens / cells if cells else 0.0

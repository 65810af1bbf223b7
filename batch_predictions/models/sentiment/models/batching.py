"""Batches of texts of similar length, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from batch_predictions.models.sentiment.text.documents import PADDING
from batch_predictions.models.sentiment.text.token_ids import Ints, RaggedArray

SORT_WINDOW = 8192
"""Texts that are sorted by length together."""
BATCH_SIZE = 64
LENGTH_TOLERANCE = 0.04
"""How much longer the longest text of a batch may be than its shortest, as a share."""


def batches_by_length(
    lengths: Ints,
    window: int = SORT_WINDOW,
    batch_size: int = BATCH_SIZE,
    tolerance: float = LENGTH_TOLERANCE,
) -> Iterator[Ints]:
    """Indices of the texts of each batch, sorted by length within windows.

    Args:
        lengths: number of tokens of every text, (texts,).
        window: number of consecutive texts that are sorted together.
        batch_size: largest number of texts of a batch.
        tolerance: a batch ends before a text that is longer than its shortest by more than this
            share, so that short texts form batches of one exact length.
    """
    for window_start in range(0, len(lengths), window):
        order = window_start + np.argsort(
            lengths[window_start : window_start + window], kind="stable"
        )
        ordered = lengths[order]
        start = 0
        while start < len(order):
            longest = ordered[start] * (1 + tolerance)
            within = int(np.searchsorted(ordered, longest, side="right"))
            end = min(start + batch_size, within)
            yield order[start:end]
            start = end


def shuffled_batches(lengths: Ints, batch_size: int, random: np.random.Generator) -> Iterator[Ints]:
    """Yields the indices of the texts of each batch of a training epoch, in random order.

    The texts of a batch have similar lengths: each random window of 50 batches is sorted.

    Args:
        lengths: of the texts in tokens, (texts,).
        batch_size: texts of a batch.
        random: draws the order.
    """
    permutation = random.permutation(len(lengths))
    batches = []
    for start in range(0, len(lengths), 50 * batch_size):
        indices = permutation[start : start + 50 * batch_size]
        batches += [
            indices[batch]
            for batch in batches_by_length(lengths[indices], len(indices), batch_size, np.inf)
        ]
    for n in random.permutation(len(batches)).tolist():
        yield batches[n]


def pad(ids: RaggedArray, indices: npt.NDArray[np.integer]) -> tuple[Ints, Ints]:
    """Token ids of a batch, padded to its longest text, (texts, longest), and lengths (texts,)."""
    lengths = ids.lengths[indices]
    columns = np.arange(int(lengths.max()))
    positions = ids.bounds[indices][:, np.newaxis] + columns
    is_token = columns < lengths[:, np.newaxis]
    values = ids.values.take(positions, mode="clip").astype(np.int64, copy=False)
    return np.where(is_token, values, PADDING), lengths

"""Batches of texts of about one length, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from batch_predictions.models.sentiment.documents import PADDING

WINDOW, BATCH, SLACK = 8192, 64, 0.04
"""Texts that are sorted together, texts of one batch, and how much longer its longest may be."""


def by_length(
    ids: Sequence[Sequence[int]],
    window: int = WINDOW,
    batch: int = BATCH,
    slack: float = SLACK,
) -> Iterator[npt.NDArray[np.int64]]:
    """Places of the texts of every batch: within a window, from short to long.

    Args:
        slack: a batch ends before a text that is longer than its shortest by more than this share,
            so that short texts come in groups of one exact length.
    """
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    for start in range(0, len(ids), window):
        order = start + np.argsort(lengths[start : start + window], kind="stable")
        ordered = lengths[order]
        at = 0
        while at < len(order):
            fits = int(np.searchsorted(ordered, ordered[at] * (1 + slack), side="right"))
            end = min(at + batch, fits)
            yield order[at:end]
            at = end


def shuffled(
    ids: Sequence[Sequence[int]], batch: int, random: np.random.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """Places of the texts of every batch of an epoch, in a random order: texts of about one length
    within windows of 50 batches, which are drawn anew."""
    drawn = random.permutation(len(ids))
    batches = []
    for start in range(0, len(ids), 50 * batch):
        some = drawn[start : start + 50 * batch]
        chosen = [ids[n] for n in some.tolist()]
        batches += [some[at] for at in by_length(chosen, len(chosen), batch, np.inf)]
    for n in random.permutation(len(batches)).tolist():
        yield batches[n]


def padded(
    ids: Sequence[Sequence[int]], places: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Ids filled up with padding, (texts, longest), and lengths (texts,)."""
    chosen = [ids[n] for n in places.tolist()]
    lengths = np.fromiter(map(len, chosen), np.int64, len(chosen))
    filled = np.full((len(chosen), int(lengths.max())), PADDING, np.int64)
    filled[np.arange(filled.shape[1]) < lengths[:, np.newaxis]] = np.concatenate(
        [np.asarray(each, np.int64) for each in chosen]
    )
    return filled, lengths


def padding_share(ids: Sequence[Sequence[int]]) -> float:
    """Share of all positions of all batches that are padding."""
    cells = tokens = 0
    for places in by_length(ids):
        lengths = [len(ids[n]) for n in places.tolist()]
        cells += max(lengths) * len(lengths)
        tokens += sum(lengths)
    return 1 - tokens / cells if cells else 0.0

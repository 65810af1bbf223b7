"""Batches of texts of about one length, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from batch_predictions.models.sentiment.documents import PADDING

WINDOW, BATCH = 8192, 64
"""Texts that are sorted together, and texts of one batch."""


def by_length(
    ids: Sequence[Sequence[int]], window: int = WINDOW, batch: int = BATCH
) -> Iterator[npt.NDArray[np.int64]]:
    """Places of the texts of every batch: within a window, from short to long."""
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    for start in range(0, len(ids), window):
        order = start + np.argsort(lengths[start : start + window], kind="stable")
        for at in range(0, len(order), batch):
            yield order[at : at + batch]


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

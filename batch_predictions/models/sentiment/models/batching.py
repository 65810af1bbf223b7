"""Batches of texts of similar length, so that little of a batch is padding.

Here is also what several models share: instructions that this machine's processor supports,
log-probabilities, class shares, and the coefficients of a logistic regression by class.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles, Floats
from batch_predictions.models.sentiment.text.documents import PADDING
from batch_predictions.models.sentiment.text.labelled_reviews import Labels
from batch_predictions.models.sentiment.text.ragged import Ints, RaggedArray

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

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


@cache
def has_native_bf16() -> bool:
    """Returns whether the processor multiplies bfloat16 natively (AVX-512 BF16 or AMX; Linux)."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return False
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("flags"):
            return bool({"avx512_bf16", "amx_bf16"} & set(line.split()))
    return False


IMPOSSIBLE_LOGIT = float(np.log(1e-6))
"""Log-odds of a class that no training text has."""


def log_softmax(scores: npt.NDArray[np.floating]) -> Floats:
    """Log-probabilities from scores, row by row, (n, classes)."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), np.float32)


def class_shares(labels: Labels, classes: int) -> Doubles:
    """Computes the share of every class, (classes,)."""
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    return np.asarray(counts / max(1.0, float(counts.sum())))


def is_imbalanced(shares: Doubles) -> bool:
    """Returns whether the rarest class has less than 0.8 of the largest one's share."""
    return bool(shares.min() < 0.8 * shares.max())


def coefficients_by_class(model: LogisticRegression, classes: int) -> tuple[Doubles, Doubles]:
    """Coefficients (classes, features) and intercepts (classes,) of a fitted regression.

    scikit-learn has a single row for two classes, the second against the first, and no row for a
    class that is not in the training data.
    """
    rows, intercepts = model.coef_, model.intercept_
    if len(intercepts) == 1:
        rows, intercepts = np.vstack([-rows, rows]) / 2, np.append(-intercepts, intercepts) / 2
    weights = np.zeros((classes, rows.shape[1]))
    biases = np.full(classes, IMPOSSIBLE_LOGIT)
    weights[model.classes_], biases[model.classes_] = rows, intercepts
    return weights, biases

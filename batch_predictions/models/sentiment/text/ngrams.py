"""Words and pairs of neighbouring words (unigrams and bigrams): the features of linear models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from batch_predictions.models.sentiment.text.token_ids import Ints, RaggedArray, TokenIds, look_up

START, END = "<s>", "</s>"
"""Placeholders in pairs for the start and the end of a text; no token can be equal to them."""

_PairTable: TypeAlias = tuple[Ints, npt.NDArray[np.int32], Ints]


def extract_ngrams(tokens: Sequence[str]) -> list[str]:
    """Returns the words of a text and its pairs of neighbours, START and END included."""
    return [*tokens, *(f"{first} {second}" for first, second in pairwise([START, *tokens, END]))]


def frequent_ngrams(
    documents: Iterable[Sequence[str]], min_df: int, max_features: int
) -> list[tuple[str, int]]:
    """Collects the n-grams of at least `min_df` documents, with their document frequency.

    Sorted by frequency, the highest first, then by name; at most `max_features`.

    Args:
        documents: tokens of each text.
        min_df: documents in which an n-gram must occur.
        max_features: n-grams at most.
    """
    frequencies: Counter[str] = Counter()
    for tokens in documents:
        frequencies.update(set(extract_ngrams(tokens)))
    ordered = sorted((-df, ngram) for ngram, df in frequencies.items() if df >= min_df)
    return [(ngram, -negative_df) for negative_df, ngram in ordered[:max_features]]


class NGramIndex:
    """Finds known n-grams in texts; each is known by its position in `ngrams`."""

    def __init__(self, ngrams: Sequence[str]) -> None:
        self.ngrams = tuple(ngrams)

    def __len__(self) -> int:
        return len(self.ngrams)

    def find(self, token_ids: TokenIds) -> RaggedArray:
        """The known n-grams of every text, with repetitions."""
        from batch_predictions.models.sentiment.text.token_kernels import find_ngrams

        rows = token_ids.rows
        unigrams = look_up(token_ids.distinct, self._unigrams, -1)
        halves = look_up(token_ids.distinct, self._halves, -1)
        boundary_halves = look_up((START, END), self._halves, -1)
        bounds = np.zeros(len(rows) + 1, np.int64)
        matches = np.empty(2 * len(rows.values) + len(rows), np.int32)
        find_ngrams(
            rows.values,
            rows.bounds,
            unigrams,
            halves,
            boundary_halves,
            self._pair_table,
            matches,
            bounds[1:],
        )
        return RaggedArray(matches[: bounds[-1]], bounds)

    @cached_property
    def _unigrams(self) -> dict[str, int]:
        """Position of every single word."""
        return {ngram: n for n, ngram in enumerate(self.ngrams) if " " not in ngram}

    @cached_property
    def _pairs(self) -> list[tuple[str, str, int]]:
        """First half, second half and position of every pair; no token contains a blank."""
        split = ((ngram.partition(" "), n) for n, ngram in enumerate(self.ngrams))
        return [(first, second, n) for (first, blank, second), n in split if blank]

    @cached_property
    def _halves(self) -> dict[str, int]:
        """A number for every word that is half of a pair."""
        words = dict.fromkeys(half for first, second, _ in self._pairs for half in (first, second))
        return {word: number for number, word in enumerate(words)}

    @cached_property
    def _pair_table(self) -> _PairTable:
        """Pairs as one integer each, their hash table, and their positions in `ngrams`."""
        from batch_predictions.models.sentiment.text.token_kernels import build_pair_table

        halves = self._halves
        pairs = np.array(
            [halves[first] << 32 | halves[second] for first, second, _ in self._pairs], np.int64
        )
        table = np.empty(1 << (2 * len(pairs) + 1).bit_length(), np.int32)
        build_pair_table(pairs, table)
        return pairs, table, np.array([n for _, _, n in self._pairs], np.int64)

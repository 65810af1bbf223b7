"""Words and pairs of neighbouring words by place: what the linear models count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from batch_predictions.models.sentiment.text.ragged import RaggedArray
from batch_predictions.models.sentiment.text.token_ids import TokenIds, places_in

BEGIN, END = "<s>", "</s>"
"""What stands before the first word and after the last in pairs; no token is one of these."""

_Known: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]


def terms_of(tokens: Sequence[str]) -> list[str]:
    """The words of a text and its pairs of neighbours, the ends included."""
    return [*tokens, *(f"{a} {b}" for a, b in pairwise([BEGIN, *tokens, END]))]


def frequent(documents: Iterable[Sequence[str]], minimum: int, most: int) -> list[tuple[str, int]]:
    """Terms that stand in at least `minimum` texts and in how many, the most frequent first."""
    counts: Counter[str] = Counter()
    for tokens in documents:
        counts.update(set(terms_of(tokens)))
    kept = sorted((-n, term) for term, n in counts.items() if n >= minimum)[:most]
    return [(term, -n) for n, term in kept]


class NGramIndex:
    """Terms by name, each at its place in `names`."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def __len__(self) -> int:
        return len(self.names)

    def find(self, coded: TokenIds) -> RaggedArray:
        """The known terms of every text, each as often as it stands there."""
        from batch_predictions.models.sentiment.text.token_kernels import find_terms

        texts = coded.rows
        single = places_in(coded.words, self._singles, -1)
        half = places_in(coded.words, self._halves, -1)
        ends = places_in((BEGIN, END), self._halves, -1)
        bounds = np.zeros(len(texts) + 1, np.int64)
        out = np.empty(2 * len(texts.values) + len(texts), np.int32)
        find_terms(texts.values, texts.bounds, single, half, ends, self._known, out, bounds[1:])
        return RaggedArray(out[: bounds[-1]], bounds)

    @cached_property
    def _singles(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names) if " " not in name}

    @cached_property
    def _pairs(self) -> list[tuple[str, str, int]]:
        """First and second half of every pair, and its place. No token has a blank within."""
        split = ((name.partition(" "), place) for place, name in enumerate(self.names))
        return [(a, b, place) for (a, blank, b), place in split if blank]

    @cached_property
    def _halves(self) -> dict[str, int]:
        """A number for every word that stands in a pair."""
        every = dict.fromkeys(half for a, b, _ in self._pairs for half in (a, b))
        return {half: number for number, half in enumerate(every)}

    @cached_property
    def _known(self) -> _Known:
        """Pairs as one number each, their hash table, their places."""
        from batch_predictions.models.sentiment.text.token_kernels import index

        halves = self._halves
        pairs = np.array([halves[a] << 32 | halves[b] for a, b, _ in self._pairs], np.int64)
        table = np.empty(1 << (2 * len(pairs) + 1).bit_length(), np.int32)
        index(pairs, table)
        return pairs, table, np.array([place for _, _, place in self._pairs], np.int64)

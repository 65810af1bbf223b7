"""Tokenises many texts at once: every distinct token of a set of texts gets a number.

Models look up each distinct token once (a few thousand) instead of every token (hundreds of
thousands). The loops over all tokens are compiled and release the interpreter's lock. The result
equals that of `documents.tokenise`, whose regular expression defines what a token is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RaggedArray:
    """Rows of integers of different lengths, in two flat arrays.

    Attributes:
        values: the integers of all rows, one row after the other, (values,).
        bounds: where each row starts in `values`, and where the last row ends, (rows + 1,).
    """

    values: npt.NDArray[np.integer]
    bounds: Ints

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[int]]) -> Self:
        """Builds the array from a list of rows."""
        bounds = bounds_from_lengths(np.fromiter(map(len, rows), np.int64, len(rows)))
        values = (value for row in rows for value in row)
        return cls(np.fromiter(values, np.int64, int(bounds[-1])), bounds)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @cached_property
    def lengths(self) -> Ints:
        """Number of values in each row, (rows,)."""
        return np.diff(self.bounds)

    def take(self, indices: npt.NDArray[np.integer]) -> RaggedArray:
        """Selects the rows at these indices, in their order."""
        return self._gather(self.bounds[:-1][indices], self.lengths[indices])

    def truncate(self, max_length: int) -> RaggedArray:
        """Cuts every row to its first `max_length` values."""
        if not len(self) or self.lengths.max() <= max_length:
            return self
        return self._gather(self.bounds[:-1], np.minimum(self.lengths, max_length))

    def fill_empty(self, value: int) -> RaggedArray:
        """Puts one `value` into each row that is empty; other rows stay."""
        empty = self.lengths == 0
        if not empty.any():
            return self
        bounds = bounds_from_lengths(np.where(empty, 1, self.lengths))
        values = np.full(int(bounds[-1]), value, self.values.dtype)
        values[np.repeat(~empty, np.diff(bounds))] = self.values
        return RaggedArray(values, bounds)

    def expand(self, replacements: RaggedArray) -> RaggedArray:
        """Replaces every value v by row v of `replacements`; rows grow or shrink accordingly."""
        lengths = replacements.lengths[self.values]
        expanded = replacements.take(self.values)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return RaggedArray(expanded.values, offsets[self.bounds])

    def tolist(self) -> list[list[int]]:
        """Converts the rows to lists of integers."""
        values, bounds = self.values.tolist(), self.bounds.tolist()
        return [values[start:stop] for start, stop in pairwise(bounds)]

    def _gather(self, starts: Ints, lengths: Ints) -> RaggedArray:
        """Rows of these lengths, each from its start in `values`."""
        bounds = bounds_from_lengths(lengths)
        indices = np.arange(int(bounds[-1])) + np.repeat(starts - bounds[:-1], lengths)
        return RaggedArray(self.values[indices], bounds)


def bounds_from_lengths(lengths: Ints) -> Ints:
    """Start of each row of these lengths in a flat array, and the end of the last, (rows + 1,)."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


BASIC_PLANE_SIZE = 0x10000
"""Code points of Unicode's basic plane; every character beyond it is part of a word."""


@dataclass(frozen=True)
class TokenIds:
    """The tokens of texts as numbers.

    Attributes:
        distinct: the distinct tokens, in the order in which they first occur.
        rows: the tokens of every text, as indices into `distinct`.
    """

    distinct: tuple[str, ...]
    rows: RaggedArray

    def take(self, indices: npt.NDArray[np.integer]) -> TokenIds:
        """Selects the texts at these indices; `distinct` keeps tokens that none of them has."""
        return TokenIds(self.distinct, self.rows.take(indices))

    def decode(self) -> list[list[str]]:
        """The tokens of every text as strings."""
        distinct, bounds = self.distinct, self.rows.bounds.tolist()
        tokens = [distinct[number] for number in self.rows.values.tolist()]
        return [tokens[start:stop] for start, stop in pairwise(bounds)]

    def contains_any(self, selected: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Returns whether each text has at least one selected token, (texts,).

        Args:
            selected: whether each token of `distinct` is selected, (distinct tokens,).
        """
        counts = np.concatenate([[0], np.cumsum(selected[self.rows.values])])[self.rows.bounds]
        return np.asarray(counts[1:] > counts[:-1])


def encode_tokens(texts: Sequence[bytes], punctuation: str, single_characters: str) -> TokenIds:
    """Splits texts into tokens and numbers the distinct ones.

    Args:
        texts: UTF-8. ASCII letters may be upper case and blanks may repeat; apart from that the
            texts are normalised (see `documents.normalise`).
        punctuation: character class of a regular expression: punctuation marks.
        single_characters: character class: each of these characters is a token by itself.
    """
    from batch_predictions.models.sentiment.text import token_kernels as kernels

    data = np.frombuffer(bytearray(b"".join(texts)), np.uint8)
    text_ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    bounds = np.zeros(len(texts) + 1, np.int64)
    classes = character_classes(punctuation, single_characters)
    offset_type = np.int32 if len(data) < 2**31 else np.int64
    no_offsets = np.empty(0, offset_type)
    # The first pass only counts: arrays with one element per byte would be larger than the texts.
    count = kernels.split_tokens(data, text_ends, classes, no_offsets, no_offsets, bounds)
    starts, stops = (np.empty(count, offset_type) for _ in range(2))
    kernels.split_tokens(data, text_ends, classes, starts, stops, bounds)
    numbers, examples = (np.empty(count, np.int32) for _ in range(2))
    distinct_count = kernels.number_tokens(data, starts, stops, count, numbers, examples)
    text, first_uses = data.tobytes(), examples[:distinct_count]
    spans = zip(starts[first_uses].tolist(), stops[first_uses].tolist(), strict=True)
    distinct = tuple(text[start:stop].decode("utf-8", "surrogatepass") for start, stop in spans)
    return TokenIds(distinct, RaggedArray(numbers, bounds))


@cache
def character_classes(punctuation: str, single_characters: str) -> npt.NDArray[np.uint8]:
    """Class of every character of the basic plane (a constant of `token_kernels`), as an array."""
    from batch_predictions.models.sentiment.text import token_kernels as kernels

    characters = "".join(map(chr, range(BASIC_PLANE_SIZE)))
    classes = np.full(BASIC_PLANE_SIZE, kernels.WORD, np.uint8)
    # As in the regular expression, blank wins over punctuation, and punctuation over single.
    patterns = (
        (rf"[{single_characters}]", kernels.SINGLE),
        (rf"[{punctuation}]", kernels.PUNCTUATION),
        (r"\s", kernels.BLANK),
    )
    for pattern, character_class in patterns:
        code_points = [ord(character) for character in re.findall(pattern, characters)]
        classes[code_points] = character_class
    return classes


def look_up(tokens: Sequence[str], ids: Mapping[str, int], default: int) -> Ints:
    """Looks up the id of every token; `default` for tokens without one, (tokens,)."""
    return np.fromiter((ids.get(token, default) for token in tokens), np.int64, len(tokens))

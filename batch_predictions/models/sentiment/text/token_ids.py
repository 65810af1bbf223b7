"""Texts as numbers: each different token of some texts is known by one, told from the others once.

What a model asks of tokens it asks of the different ones, a few thousand where texts have hundreds
of thousands; loops over all tokens are compiled and let go of the interpreter's lock. The tokens
are those of `documents.tokenise`, which says what a token is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from batch_predictions.models.sentiment.text.ragged import Places, RaggedArray

PLANE = 0x10000
"""Code points of the basic plane; all characters beyond it are parts of words."""


@dataclass(frozen=True)
class TokenIds:
    """Tokens of texts.

    Attributes:
        words: the different tokens, in the order in which they are first met.
        rows: every text's tokens, as places in `words`.
    """

    words: tuple[str, ...]
    rows: RaggedArray

    def take(self, places: npt.NDArray[np.integer]) -> TokenIds:
        """The texts at some places; `words` stay, whether these texts have them or not."""
        return TokenIds(self.words, self.rows.take(places))

    def tokens(self) -> list[list[str]]:
        """Lists of tokens."""
        words, ends = self.words, self.rows.bounds.tolist()
        flat = [words[n] for n in self.rows.values.tolist()]
        return [flat[a:b] for a, b in pairwise(ends)]

    def any_of(self, marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Which texts have a token that is marked, (texts,); `marked` is of `words`."""
        before = np.concatenate([[0], np.cumsum(marked[self.rows.values])])[self.rows.bounds]
        return np.asarray(before[1:] > before[:-1])


def encode_tokens(texts: Sequence[bytes], marks: str, singles: str) -> TokenIds:
    """Texts as numbers.

    Args:
        texts: UTF-8, normalised but for the letters and blanks of ASCII.
        marks, singles: classes of a regular expression: marks, and characters that are tokens.
    """
    from batch_predictions.models.sentiment.text import token_kernels as kernels

    data = np.frombuffer(bytearray(b"".join(texts)), np.uint8)
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    bounds, every = np.zeros(len(texts) + 1, np.int64), kinds(marks, singles)
    size = np.int32 if len(data) < 2**31 else np.int64
    none = np.empty(0, size)
    # Counted first, then written: as many places as letters would take more than the texts do.
    tokens = kernels.cut(data, ends, every, none, none, bounds)
    first, last = (np.empty(tokens, size) for _ in range(2))
    kernels.cut(data, ends, every, first, last, bounds)
    codes, example = (np.empty(tokens, np.int32) for _ in range(2))
    different = kernels.number(data, first, last, tokens, codes, example)
    whole, shown = data.tobytes(), example[:different]
    spans = zip(first[shown].tolist(), last[shown].tolist(), strict=True)
    words = tuple(whole[a:b].decode("utf-8", "surrogatepass") for a, b in spans)
    return TokenIds(words, RaggedArray(codes, bounds))


@cache
def kinds(marks: str, singles: str) -> npt.NDArray[np.uint8]:
    """The kind of every character of the basic plane, (PLANE,)."""
    from batch_predictions.models.sentiment.text import token_kernels as kernels

    every = "".join(map(chr, range(PLANE)))
    found = np.full(PLANE, kernels.WORD, np.uint8)
    # As in the regular expression, a blank is none of the others, and a mark no token of its own.
    named = ((rf"[{singles}]", kernels.SINGLE), (rf"[{marks}]", kernels.MARK))
    for pattern, kind in (*named, (r"\s", kernels.BLANK)):
        found[[ord(each) for each in re.findall(pattern, every)]] = kind
    return found


def places_in(words: Sequence[str], ids: dict[str, int], otherwise: int) -> Places:
    """The id of every word, (words,)."""
    return np.fromiter((ids.get(each, otherwise) for each in words), np.int64, len(words))

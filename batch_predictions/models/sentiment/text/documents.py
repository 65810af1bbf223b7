"""Texts and their tokens: a regular expression that splits text of any script without loss.

Nets read batches of texts of similar length, so that little of a batch is padding.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from batch_predictions.models.sentiment.text.token_ids import (
    Ints,
    RaggedArray,
    TokenIds,
    encode_tokens,
    look_up,
)

PADDING, UNKNOWN = 0, 1
"""Ids that every vocabulary reserves."""
_PUNCTUATION = r"!-/:-@\[-`{-~\u00a1-\u00bf\u2010-\u2027\u2030-\u205e\u3000-\u303f\uff01-\uff0f"
# Scripts that put no blanks between words: every character is a token.
_SINGLE = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = rf"[^\s{_PUNCTUATION}{_SINGLE}]"
# A word, which may contain apostrophes (don't), a character of such a script, or a run of a mark.
_TOKEN = re.compile(rf"{_WORD}+(?:'{_WORD}+)*|[{_SINGLE}]|([{_PUNCTUATION}])\1*")


def normalise(text: str) -> str:
    """Normalises a text: NFC, lower case, straight apostrophes, single blanks.

    Duplicates are equal after this.
    """
    # ASCII text, which most text is, is in NFC already.
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).replace("\u2019", "'")
    return " ".join(text.lower().split())


def tokenise(text: str) -> list[str]:
    """Splits a text into tokens. Joined, they are the normalised text without its blanks."""
    return [match.group() for match in _TOKEN.finditer(normalise(text))]


class Documents(Sequence[str]):
    """Texts that are tokenised once, for all models that read them."""

    def __init__(self, texts: Iterable[str], token_ids: TokenIds | None = None) -> None:
        self.texts = list(texts)
        if token_ids is not None:
            self.token_ids = token_ids

    @cached_property
    def token_ids(self) -> TokenIds:
        """The tokens of every text as numbers."""
        # The compiled tokeniser lowers ASCII letters and skips blanks itself.
        texts = (text if text.isascii() else normalise(text) for text in self.texts)
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        return encode_tokens(encoded, _PUNCTUATION, _SINGLE)

    @cached_property
    def tokens(self) -> list[list[str]]:
        """The tokens of every text as strings."""
        return self.token_ids.decode()

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int | slice) -> str:
        assert isinstance(index, int)
        return self.texts[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    def take(self, indices: npt.NDArray[np.integer]) -> Documents:
        """Selects the documents at these indices, in their order."""
        return Documents([self.texts[n] for n in indices.tolist()], self.token_ids.take(indices))


@dataclass(frozen=True)
class Vocabulary:
    """Known tokens. Ids 0 and 1 are padding and unknown; the first token of `tokens` has id 2."""

    tokens: tuple[str, ...]

    @cached_property
    def ids(self) -> dict[str, int]:
        """Id of every known token."""
        return {token: n + 2 for n, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens) + 2

    @classmethod
    def build(
        cls, documents: Iterable[Sequence[str]], min_df: int = 2, max_size: int = 30_000
    ) -> Vocabulary:
        """Collects the tokens that occur in at least `min_df` documents, the most frequent first.

        Args:
            documents: tokens of each text.
            min_df: documents in which a token must occur.
            max_size: tokens at most.
        """
        frequencies: Counter[str] = Counter()
        for tokens in documents:
            frequencies.update(set(tokens))
        ordered = sorted((-df, token) for token, df in frequencies.items() if df >= min_df)
        return cls(tuple(token for _, token in ordered[:max_size]))

    def encode(self, token_ids: TokenIds, max_length: int) -> RaggedArray:
        """Ids of the first `max_length` tokens of every text; an empty text is one UNKNOWN."""
        ids = look_up(token_ids.distinct, self.ids, UNKNOWN)
        rows = token_ids.rows.truncate(max_length)
        return RaggedArray(ids[rows.values], rows.bounds).fill_empty(UNKNOWN)


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

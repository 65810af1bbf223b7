"""Texts as tokens: a regular expression and a dictionary, for any script, without loss."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from batch_predictions.models.sentiment.text.ragged import RaggedArray
from batch_predictions.models.sentiment.text.token_ids import TokenIds, encode_tokens, places_in

PADDING, UNKNOWN = 0, 1
_MARKS = r"!-/:-@\[-`{-~\u00a1-\u00bf\u2010-\u2027\u2030-\u205e\u3000-\u303f\uff01-\uff0f"
# Scripts without spaces between words: every character is a token.
_SINGLE = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = rf"[^\s{_MARKS}{_SINGLE}]"
# A word with apostrophes inside (don't), a character of such a script, or a run of one mark (!!!).
_TOKENS = re.compile(rf"{_WORD}+(?:'{_WORD}+)*|[{_SINGLE}]|([{_MARKS}])\1*")


def normalise(text: str) -> str:
    """NFC, lower case, straight apostrophes, single blanks: texts equal here are duplicates."""
    # Plain ASCII, most texts, is in NFC already.
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).replace("\u2019", "'")
    return " ".join(text.lower().split())


def tokenise(text: str) -> list[str]:
    """Tokens of a text. Joined, they are the normalised text without its blanks."""
    return [match.group() for match in _TOKENS.finditer(normalise(text))]


class Documents(Sequence[str]):
    """Texts, tokenised once for all the parts that read them."""

    def __init__(self, texts: Iterable[str], coded: TokenIds | None = None) -> None:
        self.texts = list(texts)
        if coded is not None:
            self.coded = coded

    @cached_property
    def coded(self) -> TokenIds:
        """Tokens of every text, as numbers."""
        read = (text if text.isascii() else normalise(text) for text in self.texts)
        return encode_tokens(
            [each.encode("utf-8", "surrogatepass") for each in read], _MARKS, _SINGLE
        )

    @cached_property
    def tokens(self) -> list[list[str]]:
        """Tokens of every text."""
        return self.coded.tokens()

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, place: int | slice) -> str:
        assert isinstance(place, int)
        return self.texts[place]

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    def take(self, places: npt.NDArray[np.integer]) -> Documents:
        """The documents at some places."""
        return Documents([self.texts[n] for n in places.tolist()], self.coded.take(places))


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id; 0 is padding, 1 any token that is not known."""

    words: tuple[str, ...]

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token to id."""
        return {word: place + 2 for place, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words) + 2

    @classmethod
    def of(
        cls, tokens: Iterable[Sequence[str]], minimum: int = 2, most: int = 30_000
    ) -> Vocabulary:
        """The tokens that stand in at least `minimum` documents, most frequent first."""
        counts: Counter[str] = Counter()
        for document in tokens:
            counts.update(set(document))
        kept = sorted((-n, word) for word, n in counts.items() if n >= minimum)
        return cls(tuple(word for _, word in kept[:most]))

    def encode(self, coded: TokenIds, longest: int) -> RaggedArray:
        """Ids of every text, cut at `longest`; an empty text is one unknown token."""
        ids = places_in(coded.words, self.ids, UNKNOWN)
        rows = coded.rows.cut(longest)
        return RaggedArray(ids[rows.values], rows.bounds).filled(UNKNOWN)

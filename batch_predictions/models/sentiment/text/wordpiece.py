"""Word pieces of a pretrained encoder as the vocabulary of a net: no word is unknown.

A BERT-like folder (vocab.txt or tokenizer.json, and model.safetensors) gives the pieces and their
vectors; the encoder itself is not used, nor its library. The project's own tokens are cut into the
longest pieces from the left (Wu et al. 2016), each different token once.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from batch_predictions.models.sentiment.models.base import Floats
from batch_predictions.models.sentiment.text.documents import UNKNOWN
from batch_predictions.models.sentiment.text.ragged import RaggedArray
from batch_predictions.models.sentiment.text.token_ids import TokenIds

_TABLES = ("embeddings.word_embeddings.weight", "bert.embeddings.word_embeddings.weight")
LONGEST_WORD, MOST_CACHED = 100, 500_000


class VectorsError(ValueError):
    """Vectors cannot be read; the message says what was looked for."""


class WordPieceTokenizer:
    """Pieces by id: 0 is padding, 1 unknown, then the encoder's pieces in their order.

    Attributes:
        words: the pieces; one that goes on with a word begins with `##`.
        folded: whether accents are taken off, as uncased encoders do.
    """

    def __init__(self, words: tuple[str, ...], folded: bool = True) -> None:
        self.words = words
        self.folded = folded
        self._cut: dict[str, list[int]] = {}

    @cached_property
    def ids(self) -> dict[str, int]:
        """Piece to id."""
        return {word: place + 2 for place, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words) + 2

    def encode(self, coded: TokenIds, longest: int) -> RaggedArray:
        """Ids of every text, cut at `longest`; an empty text is one unknown piece."""
        if len(self._cut) + len(coded.words) > MOST_CACHED:
            # A stream of ever new words must not fill the memory.
            self._cut = {}
        cut = self._cut
        found = [cut.get(token) or self._remember(token) for token in coded.words]
        # A token that is nothing but marks that are left out has no piece.
        rows = coded.rows.cut(longest).replaced(RaggedArray.of(found))
        return rows.cut(longest).filled(UNKNOWN)

    def _remember(self, token: str) -> list[int]:
        found = [at for word in _words(token, self.folded) for at in self._longest(word)]
        self._cut[token] = found
        return found

    def _longest(self, word: str) -> list[int]:
        """Longest pieces from the left; a word of which a part is no piece is one unknown."""
        if len(word) > LONGEST_WORD:
            return [UNKNOWN]
        find, found, start = self.ids.get, [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                at = find(word[start:end] if start == 0 else f"##{word[start:end]}")
                if at is not None:
                    found.append(at)
                    start = end
                    break
            else:
                return [UNKNOWN]
        return found


def _words(token: str, folded: bool) -> Iterator[str]:
    """What an encoder takes for words within a token: marks part them (don't is don ' t)."""
    if token.isascii() and token.isalnum():
        yield token
        return
    if folded:
        token = unicodedata.normalize("NFD", token)
    word = ""
    for each in token:
        kind = unicodedata.category(each)
        if (folded and kind == "Mn") or kind[0] == "C":
            continue
        if kind[0] == "P" or (each.isascii() and not each.isalnum()):
            if word:
                yield word
            yield each
            word = ""
        else:
            word += each
    if word:
        yield word


def read_pieces(folder: Path, width: int) -> tuple[WordPieceTokenizer, Floats]:
    """Pieces of a BERT-like folder and their vectors, (len, width), of mean length 1.

    Wider vectors are turned to their principal axes and cut at `width`.

    Raises:
        VectorsError: the folder has no pieces, or no table of them.
    """
    names, folded = _names(folder)
    table = _table(folder / "model.safetensors")
    if len(table) < len(names):
        raise VectorsError(f"{folder} names {len(names)} pieces and has {len(table)} vectors")
    table = pca_reduce(table[: len(names)], width)
    unknown = names.index("[UNK]") if "[UNK]" in names else None
    out = np.zeros((len(names) + 2, table.shape[1]), np.float32)
    out[2:] = table
    if unknown is not None:
        out[UNKNOWN] = table[unknown]
    return WordPieceTokenizer(tuple(names), folded), out


def pca_reduce(table: Floats, width: int) -> Floats:
    """Vectors about their mean, at most `width` principal axes of them, of mean length 1."""
    table = table - table.mean(axis=0)
    if table.shape[1] > width:
        _, axes = np.linalg.eigh(table.T @ table)
        table = table @ axes[:, ::-1][:, :width]
    return np.asarray(table / max(1e-9, float(np.linalg.norm(table, axis=1).mean())), np.float32)


def _names(folder: Path) -> tuple[list[str], bool]:
    """Pieces in their order, and whether accents are taken off."""
    vocabulary, tokenizer = folder / "vocab.txt", folder / "tokenizer.json"
    weights = folder / "model.safetensors"
    if not weights.is_file() or not (vocabulary.is_file() or tokenizer.is_file()):
        raise VectorsError(
            f"{folder} has no vocab.txt (or tokenizer.json) and model.safetensors: name a "
            "BERT-like folder, or a text file of vectors"
        )
    about = json.loads(tokenizer.read_text("utf-8")) if tokenizer.is_file() else {}
    normalizer = about.get("normalizer") or {}
    folded = normalizer.get("strip_accents")
    if folded is None:
        folded = normalizer.get("lowercase", True)
    if vocabulary.is_file():
        return vocabulary.read_text("utf-8").splitlines(), bool(folded)
    ids = about["model"]["vocab"]
    return sorted(ids, key=ids.__getitem__), bool(folded)


def _table(weights: Path) -> Floats:
    """The table of word pieces in a file of safetensors."""
    with weights.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        start = file.tell()
        name = next((each for each in _TABLES if each in header), None)
        if name is None:
            raise VectorsError(f"{weights} has no table of word pieces")
        kind = {"F32": "<f4", "F16": "<f2"}.get(header[name]["dtype"])
        if kind is None:
            raise VectorsError(f"{weights}: its table is {header[name]['dtype']}, not F32 or F16")
        first, last = header[name]["data_offsets"]
        file.seek(start + first)
        table = np.frombuffer(file.read(last - first), kind).reshape(header[name]["shape"])
    return table.astype(np.float32)

"""Pretrained vectors and word pieces, from a text file or from the folder of an encoder.

Each line of a text file is a word and its numbers (the formats of word2vec and GloVe). A BERT-like
folder (vocab.txt or tokenizer.json, and model.safetensors) supplies word pieces and their vectors,
so that no word is unknown; neither the encoder itself nor the transformers library is used. Tokens
are split into the longest pieces from the left (Wu et al. 2016), each distinct token once, which
takes less time than the library `tokenizers` (`benchmarks/wordpieces.py`).
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from batch_predictions.core.arrays import Floats
from batch_predictions.models.sentiment.text.documents import UNKNOWN, Vocabulary
from batch_predictions.models.sentiment.text.token_ids import RaggedArray, TokenIds

MAX_FILE_WORDS = 50_000
"""Words read from the start of the file, where the frequent ones are. Words of the vocabulary are
read from the whole file."""


class VectorsError(ValueError):
    """Vectors cannot be read; the message says what was expected."""


def read_vectors(
    path: Path, vocabulary: Vocabulary, seed: int, width: int
) -> tuple[Vocabulary, Floats]:
    """Reads the vectors of a vocabulary, and of frequent words of the file that it lacks.

    The additional words may occur in texts that are scored later. Vectors wider than `width` are
    reduced to their first principal components.

    Args:
        path: the text file.
        vocabulary: words that need a vector.
        seed: of the small random vectors of words that the file does not have.
        width: largest number of components.

    Returns:
        The vocabulary, extended at its end, and its vectors (len(vocabulary), width), whose mean
        length is about 1.

    Raises:
        VectorsError: there is no such file, or it does not have the format.
    """
    words, table = _read_lines(path, vocabulary)
    row_of_word = {word: n for n, word in enumerate(words)}
    table = pca_reduce(table, width)
    additional = [word for word in words if word not in vocabulary.ids]
    extended = Vocabulary((*vocabulary.tokens, *additional))
    random = np.random.default_rng(seed)
    scale = 0.25 / np.sqrt(table.shape[1])
    vectors = random.normal(0, scale, (len(extended), table.shape[1])).astype(np.float32)
    vectors[0] = 0
    for word, word_id in extended.ids.items():
        if word in row_of_word:
            vectors[word_id] = table[row_of_word[word]]
    return extended, vectors


def pca_reduce(table: Floats, width: int) -> Floats:
    """Centres vectors, keeps at most `width` principal components, scales to mean length 1."""
    table = table - table.mean(axis=0)
    if table.shape[1] > width:
        _, axes = np.linalg.eigh(table.T @ table)
        table = table @ axes[:, ::-1][:, :width]
    return np.asarray(table / max(1e-9, float(np.linalg.norm(table, axis=1).mean())), np.float32)


def _read_lines(path: Path, vocabulary: Vocabulary) -> tuple[list[str], Floats]:
    """Words and vectors of the file's first lines, and of the vocabulary's words elsewhere."""
    if not path.is_file():
        raise VectorsError(f"no vectors at {path}: name a text file or the folder of an encoder")
    words: list[str] = []
    rows: list[Floats] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for line_number, line in enumerate(file):
            word, _, numbers = line.rstrip().partition(" ")
            # word2vec's first line is the number of words and their width.
            if not numbers or (line_number == 0 and numbers.isdigit()):
                continue
            if len(words) < MAX_FILE_WORDS or word in vocabulary.ids:
                words.append(word)
                rows.append(np.array(numbers.split(), np.float32))
    if not rows or len({len(row) for row in rows}) > 1:
        raise VectorsError(f"{path}: every line must be a word and the same number of numbers")
    return words, np.stack(rows)


_EMBEDDING_TENSORS = (
    "embeddings.word_embeddings.weight",
    "bert.embeddings.word_embeddings.weight",
)
MAX_WORD_LENGTH = 100
"""Characters; a longer word is one UNKNOWN, as in BERT's tokenizer."""
MAX_CACHED_TOKENS = 500_000


class WordPieceTokenizer:
    """Known word pieces. Ids 0 and 1 are padding and unknown; the first piece has id 2.

    Attributes:
        tokens: the pieces in the encoder's order; a piece that continues a word begins with `##`.
        strip_accents: whether accents are removed, as uncased encoders do.
    """

    def __init__(self, tokens: tuple[str, ...], strip_accents: bool = True) -> None:
        self.tokens = tokens
        self.strip_accents = strip_accents
        self._cache: dict[str, list[int]] = {}

    @cached_property
    def ids(self) -> dict[str, int]:
        """Id of every known word piece."""
        return {piece: n + 2 for n, piece in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens) + 2

    def encode(self, token_ids: TokenIds, max_length: int) -> RaggedArray:
        """Ids of the first `max_length` pieces of every text; an empty text is one UNKNOWN."""
        if len(self._cache) + len(token_ids.distinct) > MAX_CACHED_TOKENS:
            # Bounds the memory of a process that scores an endless stream of texts.
            self._cache = {}
        cache = self._cache
        pieces = [cache.get(token) or self._split(token) for token in token_ids.distinct]
        # A token that consists of dropped characters only has no piece.
        rows = token_ids.rows.truncate(max_length).expand(RaggedArray.from_rows(pieces))
        return rows.truncate(max_length).fill_empty(UNKNOWN)

    def _split(self, token: str) -> list[int]:
        """Ids of a token's pieces, which are cached."""
        ids = [
            piece_id
            for word in _split_words(token, self.strip_accents)
            for piece_id in self._match_pieces(word)
        ]
        self._cache[token] = ids
        return ids

    def _match_pieces(self, word: str) -> list[int]:
        """Ids of the longest pieces from the left; UNKNOWN where the word cannot be covered."""
        if len(word) > MAX_WORD_LENGTH:
            return [UNKNOWN]
        get_id = self.ids.get
        ids: list[int] = []
        start = 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = word[start:end] if start == 0 else f"##{word[start:end]}"
                piece_id = get_id(piece)
                if piece_id is not None:
                    ids.append(piece_id)
                    start = end
                    break
            else:
                return [UNKNOWN]
        return ids


def _split_words(token: str, strip_accents: bool) -> Iterator[str]:
    """The words of a token for BERT: punctuation separates them (don't becomes don, ', t)."""
    if token.isascii() and token.isalnum():
        yield token
        return
    if strip_accents:
        token = unicodedata.normalize("NFD", token)
    word = ""
    for character in token:
        category = unicodedata.category(character)
        if (strip_accents and category == "Mn") or category[0] == "C":
            continue
        if category[0] == "P" or (character.isascii() and not character.isalnum()):
            if word:
                yield word
            yield character
            word = ""
        else:
            word += character
    if word:
        yield word


def read_wordpieces(folder: Path, width: int) -> tuple[WordPieceTokenizer, Floats]:
    """Reads the pieces of a BERT-like folder and their vectors.

    Vectors wider than `width` are reduced to their first principal components.

    Returns:
        The tokenizer, and vectors (len(tokenizer), width) of mean length 1.

    Raises:
        VectorsError: the folder has no pieces, or no table of their vectors.
    """
    pieces, strip_accents = _read_pieces(folder)
    table = _read_embeddings(folder / "model.safetensors")
    if len(table) < len(pieces):
        raise VectorsError(f"{folder} has {len(pieces)} word pieces, but {len(table)} vectors")
    table = pca_reduce(table[: len(pieces)], width)
    vectors = np.zeros((len(pieces) + 2, table.shape[1]), np.float32)
    vectors[2:] = table
    if "[UNK]" in pieces:
        vectors[UNKNOWN] = table[pieces.index("[UNK]")]
    return WordPieceTokenizer(tuple(pieces), strip_accents), vectors


def _read_pieces(folder: Path) -> tuple[list[str], bool]:
    """The pieces in the encoder's order, and whether accents are removed."""
    vocabulary, tokenizer = folder / "vocab.txt", folder / "tokenizer.json"
    weights = folder / "model.safetensors"
    if not weights.is_file() or not (vocabulary.is_file() or tokenizer.is_file()):
        raise VectorsError(
            f"{folder} has no vocab.txt (or tokenizer.json) and model.safetensors: name a "
            "BERT-like folder, or a text file of vectors"
        )
    config = json.loads(tokenizer.read_text("utf-8")) if tokenizer.is_file() else {}
    normalizer = config.get("normalizer") or {}
    strip_accents = normalizer.get("strip_accents")
    if strip_accents is None:
        strip_accents = normalizer.get("lowercase", True)
    if vocabulary.is_file():
        return vocabulary.read_text("utf-8").splitlines(), bool(strip_accents)
    ids = config["model"]["vocab"]
    return sorted(ids, key=ids.__getitem__), bool(strip_accents)


def _read_embeddings(weights: Path) -> Floats:
    """The table of piece vectors of a safetensors file, (pieces, width)."""
    with weights.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data_start = file.tell()
        name = next((tensor for tensor in _EMBEDDING_TENSORS if tensor in header), None)
        if name is None:
            raise VectorsError(f"{weights} has no table of word pieces")
        dtype = {"F32": "<f4", "F16": "<f2"}.get(header[name]["dtype"])
        if dtype is None:
            raise VectorsError(
                f"{weights}: the word pieces are {header[name]['dtype']}; F32 or F16 is needed"
            )
        start, stop = header[name]["data_offsets"]
        file.seek(data_start + start)
        table = np.frombuffer(file.read(stop - start), dtype).reshape(header[name]["shape"])
    return table.astype(np.float32)

"""Pretrained word vectors from a text file (the formats of word2vec and GloVe).

Each line is a word and its numbers. Vectors of an encoder's folder are read by `wordpiece`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from batch_predictions.core.arrays import Floats
from batch_predictions.models.sentiment.text.documents import Vocabulary

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

"""Pretrained word vectors by path: a text file with a word and its numbers a line (word2vec and
GloVe forms). Vectors of an encoder's folder are read by `pieces`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from batch_predictions.models.sentiment.models.base import Floats
from batch_predictions.models.sentiment.text.documents import Vocabulary
from batch_predictions.models.sentiment.text.wordpiece import VectorsError, pca_reduce


def read_vectors(path: Path, words: Vocabulary, seed: int, width: int) -> tuple[Vocabulary, Floats]:
    """Vectors of the words, and of further words that the file knows (for texts to come).

    Wider vectors are turned to their principal axes and cut at `width`.

    Returns:
        A vocabulary that begins with `words`, and its vectors (len, width), mean length about 1;
        words that the file does not know get small random ones.

    Raises:
        VectorsError: there is nothing readable at the path.
    """
    names, table = _lines(path, words)
    place = {name: n for n, name in enumerate(names)}
    table = pca_reduce(table, width)
    more = [name for name in names if name not in words.ids]
    vocabulary = Vocabulary((*words.words, *more))
    random = np.random.default_rng(seed)
    scale = 0.25 / np.sqrt(table.shape[1])
    out = random.normal(0, scale, (len(vocabulary), table.shape[1])).astype(np.float32)
    out[0] = 0
    for word, at in vocabulary.ids.items():
        if word in place:
            out[at] = table[place[word]]
    return vocabulary, out


def _lines(path: Path, words: Vocabulary, most: int = 50_000) -> tuple[list[str], Floats]:
    """The words' own lines, and the first `most`, which are the frequent ones."""
    if not path.is_file():
        raise VectorsError(
            f"there are no vectors at {path}: name a text file or an encoder's folder"
        )
    names: list[str] = []
    rows: list[Floats] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file):
            word, _, numbers = line.rstrip().partition(" ")
            if not numbers or (number == 0 and numbers.isdigit()):
                continue
            if len(names) < most or word in words.ids:
                names.append(word)
                rows.append(np.array(numbers.split(), np.float32))
    if not rows or len({len(row) for row in rows}) > 1:
        raise VectorsError(f"{path}: every line must be a word and equally many numbers")
    return names, np.stack(rows)

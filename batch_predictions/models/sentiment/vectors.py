"""Pretrained word vectors by path: a text file of vectors, or a Hugging Face encoder's table.

A text file has a word and its numbers a line (word2vec and GloVe forms). Of an encoder's folder
(vocab.txt and model.safetensors) the table of word pieces is read; a word's vector is the mean of
its pieces'. The encoder itself is not used.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from batch_predictions.models.sentiment.base import Floats
from batch_predictions.models.sentiment.documents import Vocabulary

_TABLES = ("embeddings.word_embeddings.weight", "bert.embeddings.word_embeddings.weight")


class VectorsError(ValueError):
    """Vectors cannot be read; the message says what was looked for."""


def read_vectors(path: Path, words: Vocabulary, seed: int, width: int) -> tuple[Vocabulary, Floats]:
    """Vectors of the words, and of further words that the file knows (for texts to come).

    Wider vectors are turned to their principal axes and cut at `width`.

    Returns:
        A vocabulary that begins with `words`, and its vectors (len, width), mean length about 1;
        words that the file does not know get small random ones.

    Raises:
        VectorsError: there is nothing readable at the path.
    """
    if path.is_dir():
        names, table = _pieces(path)
        whole = [n for n in names if n.isalpha() or n in ("!", "?", ".", ",")]
    else:
        names, table = _lines(path, words)
        whole = names
    place = {name: n for n, name in enumerate(names)}
    table = table - table.mean(axis=0)
    if table.shape[1] > width:
        _, axes = np.linalg.eigh(table.T @ table)
        table = table @ axes[:, ::-1][:, :width]
    table /= max(1e-9, float(np.linalg.norm(table, axis=1).mean()))
    more = [name for name in whole if name not in words.ids]
    vocabulary = Vocabulary((*words.words, *more))
    random = np.random.default_rng(seed)
    scale = 0.25 / np.sqrt(table.shape[1])
    out = random.normal(0, scale, (len(vocabulary), table.shape[1])).astype(np.float32)
    out[0] = 0
    for word, at in vocabulary.ids.items():
        pieces = [place[word]] if word in place else _split(word, place) if path.is_dir() else []
        if pieces:
            out[at] = table[pieces].mean(axis=0)
    return vocabulary, out


def _split(word: str, place: dict[str, int]) -> list[int]:
    """Greedy longest word pieces of a word; none where a part is not known."""
    found, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = word[start:end] if start == 0 or word[start] == "'" else f"##{word[start:end]}"
            if piece in place:
                found.append(place[piece])
                start = end
                break
        else:
            return []
    return found


def _pieces(folder: Path) -> tuple[list[str], Floats]:
    vocabulary, weights = folder / "vocab.txt", folder / "model.safetensors"
    if not weights.is_file() or not (vocabulary.is_file() or (folder / "tokenizer.json").is_file()):
        raise VectorsError(
            f"{folder} has no vocab.txt (or tokenizer.json) and model.safetensors: name a "
            "BERT-like folder, or a text file of vectors"
        )
    if vocabulary.is_file():
        names = vocabulary.read_text("utf-8").splitlines()
    else:
        ids = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
        names = sorted(ids, key=ids.__getitem__)
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
    return names, table.astype(np.float32)


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

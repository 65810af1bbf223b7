"""The files of a tiny BERT-like encoder: its vocabulary and its vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


WHOLE = ["un", "great", "aw", "film", "don", "t", "good", "cafe", "!", "'", "-", ".", "好", "w"]


NAMES = [*SPECIAL, *WHOLE, "##great", "##ful", "##ly", "##s", *(f"##{n}" for n in range(10)), "7"]


def folder_of(path: Path, width: int = 8) -> Path:
    """A folder as a BERT-like encoder's: pieces, and vectors in which great is far from awful."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "vocab.txt").write_text("\n".join(NAMES) + "\n", "utf-8")
    random = np.random.default_rng(0)
    table = 0.3 * random.normal(size=(len(NAMES), width))
    axis = random.normal(size=width)
    for name, sign in (("great", 1), ("##great", 1), ("good", 1), ("aw", -1), ("##ful", -1)):
        table[NAMES.index(name)] += sign * axis
    data = table.astype("<f4").tobytes()
    about = {"dtype": "F32", "shape": list(table.shape), "data_offsets": [0, len(data)]}
    header = json.dumps({"embeddings.word_embeddings.weight": about}).encode()
    (path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path

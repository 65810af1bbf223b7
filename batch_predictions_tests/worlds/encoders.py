"""The files of a tiny BERT-like encoder: vocabulary and embeddings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

SPECIAL_PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORD_PIECES = ["un", "great", "aw", "film", "don", "t", "good", "cafe", "好", "w", "7"]
MARK_PIECES = ["!", "'", "-", "."]
CONTINUATIONS = ["##great", "##ful", "##ly", "##s", *(f"##{n}" for n in range(10))]
WORDPIECES = [*SPECIAL_PIECES, *WORD_PIECES, *MARK_PIECES, *CONTINUATIONS]


def write_encoder_folder(path: Path, width: int = 8) -> Path:
    """Writes the vocabulary, and embeddings in which great and awful are opposite."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "vocab.txt").write_text("\n".join(WORDPIECES) + "\n", "utf-8")
    random = np.random.default_rng(0)
    table = 0.3 * random.normal(size=(len(WORDPIECES), width))
    axis = random.normal(size=width)
    for piece, sign in (("great", 1), ("##great", 1), ("good", 1), ("aw", -1), ("##ful", -1)):
        table[WORDPIECES.index(piece)] += sign * axis
    data = table.astype("<f4").tobytes()
    tensor = {"dtype": "F32", "shape": list(table.shape), "data_offsets": [0, len(data)]}
    header = json.dumps({"embeddings.word_embeddings.weight": tensor}).encode()
    (path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path

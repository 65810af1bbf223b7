"""The files of a tiny BERT-like encoder: vocabulary and embeddings, or the whole transformer."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


def write_transformer_folder(path: Path, words: Mapping[str, int] | None = None) -> Path:
    """Writes a transformer with one narrow layer and random weights. Needs `transformers`.

    Args:
        path: the folder.
        words: further words, each a piece of its own, with -1 or 1: the two sides of one direction
            of their embeddings, as if it had been trained on texts with them.
    """
    import torch
    import transformers

    words = words or {}
    pieces = [*WORDPIECES, *words]
    path.mkdir(parents=True, exist_ok=True)
    (path / "vocab.txt").write_text("\n".join(pieces) + "\n", "utf-8")
    transformers.BertTokenizer(str(path / "vocab.txt")).save_pretrained(path)
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=300,
    )
    model = transformers.BertModel(config)
    axis = torch.randn(config.hidden_size)
    with torch.no_grad():
        for number, side in enumerate(words.values(), len(WORDPIECES)):
            model.embeddings.word_embeddings.weight[number] += side * axis
    model.save_pretrained(path)
    return path

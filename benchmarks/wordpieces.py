"""CPU time of splitting words into pieces, compared with the library `tokenizers` in one run.

    pip install tokenizers
    python benchmarks/wordpieces.py FILE

FILE is a text file, such as a set of reviews. The vocabulary is made of its words: the most
frequent ones, and beginnings and ends of others. Prints one JSON object.
"""

from __future__ import annotations

import importlib
import os
import string
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from common import machine, print_json, time_interleaved, time_ratio

from batch_predictions.models.sentiment.text.documents import UNKNOWN, Documents
from batch_predictions.models.sentiment.text.pretrained_vectors import WordPieceTokenizer

WHOLE_WORDS, SPLIT_WORDS = 9_000, 20_000
UNKNOWN_PIECE = "[UNK]"


def make_vocabulary(words: list[str]) -> tuple[str, ...]:
    """Pieces of words, the most frequent of which come first."""
    pieces = dict.fromkeys([UNKNOWN_PIECE, *string.printable, *words[:WHOLE_WORDS]])
    pieces |= dict.fromkeys(f"##{character}" for character in string.printable)
    for word in words[WHOLE_WORDS:SPLIT_WORDS]:
        pieces |= dict.fromkeys([word[:4], f"##{word[4:7]}", f"##{word[-3:]}", f"##{word[-2:]}"])
    return tuple(pieces)


def library_tokenizer(vocabulary: tuple[str, ...]) -> Any:
    """The same tokenizer by the library."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    library: Any = importlib.import_module("tokenizers")
    ids = {piece: number for number, piece in enumerate(vocabulary)}
    tokenizer = library.Tokenizer(library.models.WordPiece(ids, unk_token=UNKNOWN_PIECE))
    tokenizer.normalizer = library.normalizers.BertNormalizer(
        handle_chinese_chars=False, strip_accents=True, lowercase=False
    )
    tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    return tokenizer


def main(
    file: Annotated[Path, typer.Argument(help="A text file.")],
) -> None:
    """Splits the distinct words of a file, by both."""
    texts = file.read_text("utf-8", errors="replace").splitlines()
    ids = Documents(texts).token_ids
    counts = np.bincount(ids.rows.values, minlength=len(ids.distinct))
    words = [ids.distinct[number] for number in np.argsort(-counts, kind="stable")]
    vocabulary = make_vocabulary(words)
    library = library_tokenizer(vocabulary)

    def split_here() -> list[list[int]]:
        tokenizer = WordPieceTokenizer(vocabulary)
        return [tokenizer._split(word) for word in words]

    def split_there() -> list[list[int]]:
        return [row.ids for row in library.encode_batch(words, add_special_tokens=False)]

    times = time_interleaved({"ours": split_here, "tokenizers": split_there})
    unknown = vocabulary.index(UNKNOWN_PIECE)
    here = [[unknown if n == UNKNOWN else n - 2 for n in row] for row in split_here()]
    equal = sum(a == b for a, b in zip(here, split_there(), strict=True))
    print_json(
        {
            "machine": machine(),
            "words": len(words),
            "pieces": len(vocabulary),
            "times": times,
            "times_tokenizers": time_ratio(times, "tokenizers", "ours"),
            "equal": equal,
        }
    )


if __name__ == "__main__":
    typer.run(main)

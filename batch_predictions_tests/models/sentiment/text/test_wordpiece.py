"""Word pieces of an encoder's folder: cut as the encoder's own tokenizer does, and learned from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.data import distinct, of_rows
from batch_predictions.models.sentiment.models.base import ModelTraining
from batch_predictions.models.sentiment.text.documents import UNKNOWN, Documents
from batch_predictions.models.sentiment.text.wordpiece import (
    VectorsError,
    WordPieceTokenizer,
    read_pieces,
)
from batch_predictions.models.sentiment.training import ClassifierTrainer
from batch_predictions_tests.worlds.encoders import NAMES, folder_of

TEXTS = [
    "Great films, don't you think?",
    "ungreatly   awful!!! good-film.",
    "Café GOOD 好好 w7 w77",
    "zzz great",
    "great" * 30,
    "nothing\u200bmuch good\u0301",
    "",
]


def cut(pieces: WordPieceTokenizer, text: str) -> list[str]:
    names = ["[PAD]", "?", *pieces.words]
    return [names[n] for n in pieces.encode(Documents([text]).coded, 256).tolist()[0]]


def test_a_word_is_cut_into_the_longest_pieces(tmp_path: Path) -> None:
    pieces, vectors = read_pieces(folder_of(tmp_path), 384)
    assert cut(pieces, "ungreatly AWFUL") == ["un", "##great", "##ly", "aw", "##ful"]
    assert cut(pieces, "don't!!") == ["don", "'", "t", "!", "!"]
    assert cut(pieces, "Café") == ["cafe"] and cut(pieces, "") == ["?"]
    assert cut(pieces, "good zzz") == ["good", "?"]
    assert vectors.shape == (len(pieces), 8) and not vectors[0].any()
    # Asked again, from memory, it is the same.
    assert cut(pieces, "ungreatly AWFUL") == ["un", "##great", "##ly", "aw", "##ful"]
    assert pieces.encode(Documents(["great " * 50]).coded, 7).lengths.tolist() == [7]


def test_vectors_are_cut_at_a_width_and_keep_their_angles(tmp_path: Path) -> None:
    pieces, narrow = read_pieces(folder_of(tmp_path), 4)
    assert narrow.shape == (len(NAMES) + 2, 4)
    np.testing.assert_allclose(np.linalg.norm(narrow[2:], axis=1).mean(), 1, atol=1e-5)
    at = pieces.ids
    assert narrow[at["great"]] @ narrow[at["good"]] > 0 > narrow[at["great"]] @ narrow[at["aw"]]


def test_the_encoder_s_own_tokenizer_cuts_alike(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = folder_of(tmp_path)
    pieces, _ = read_pieces(folder, 384)
    theirs = transformers.BertTokenizer(str(folder / "vocab.txt"))
    for text in TEXTS:
        own = [
            n - 2 if n != UNKNOWN else 1
            for n in pieces.encode(Documents([text]).coded, 256).tolist()[0]
        ]
        assert own == (theirs(text, add_special_tokens=False)["input_ids"] or [1]), text


def test_a_net_learns_on_pieces_and_knows_words_that_no_review_had(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    texts, labels = [], []
    for n in range(160):
        words = [f"w{random.integers(10)}" for _ in range(random.integers(2, 8))]
        words.insert(int(random.integers(len(words))), ("awful", "great")[n % 2])
        texts.append(" ".join(words))
        labels.append(n % 2)
    folder = folder_of(tmp_path / "encoder")
    options = {"epochs": 8.0, "rate": 0.01, "dropout": 0.1, "size": 16.0, "vector_scale": 4.0}
    training = ModelTraining(2, 7, folder, options=options, progress=lambda _: None)
    made = ClassifierTrainer(distinct(of_rows(texts, labels)), training).fit("cnn")
    new = Documents(["w1 ungreatly w2", "w1 awfully w2", "w3 good w4"])
    guess = made.probabilities(new)
    assert guess.argmax(axis=1).tolist() == [1, 0, 1]
    stored = tmp_path / "stored"
    stored.mkdir()
    made.save(stored)
    assert (Classifier.load(stored).probabilities(new) == guess).all()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(VectorsError, match=r"vocab\.txt"):
        read_pieces(tmp_path, 8)
    folder = folder_of(tmp_path)
    (folder / "vocab.txt").write_text("\n".join([*NAMES, "more"]), "utf-8")
    with pytest.raises(VectorsError, match="vectors"):
        read_pieces(folder, 8)

"""Word pieces of an encoder's folder: split as the encoder's own tokenizer does; nets use them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.models.base import ModelTraining
from batch_predictions.models.sentiment.sentiment_training import ClassifierTrainer
from batch_predictions.models.sentiment.text.documents import UNKNOWN, Documents
from batch_predictions.models.sentiment.text.labelled_reviews import build_reviews, deduplicate
from batch_predictions.models.sentiment.text.pretrained_vectors import (
    VectorsError,
    WordPieceTokenizer,
    read_wordpieces,
)
from batch_predictions_tests.worlds.encoders import WORDPIECES, write_encoder_folder

TEXTS = [
    "Great films, don't you think?",
    "ungreatly   awful!!! good-film.",
    "Café GOOD 好好 w7 w77",
    "zzz great",
    "great" * 30,
    "nothing\u200bmuch good\u0301",
    "",
]


def split(tokenizer: WordPieceTokenizer, text: str) -> list[str]:
    """The pieces of a text; `?` is unknown."""
    pieces = ["[PAD]", "?", *tokenizer.tokens]
    ids = tokenizer.encode(Documents([text]).token_ids, 256).tolist()[0]
    return [pieces[piece_id] for piece_id in ids]


def test_a_word_is_split_into_the_longest_pieces(tmp_path: Path) -> None:
    tokenizer, vectors = read_wordpieces(write_encoder_folder(tmp_path), 384)
    assert split(tokenizer, "ungreatly AWFUL") == ["un", "##great", "##ly", "aw", "##ful"]
    assert split(tokenizer, "don't!!") == ["don", "'", "t", "!", "!"]
    assert split(tokenizer, "Café") == ["cafe"] and split(tokenizer, "") == ["?"]
    assert split(tokenizer, "good zzz") == ["good", "?"]
    assert vectors.shape == (len(tokenizer), 8) and not vectors[0].any()
    # The second time the pieces come from the cache.
    assert split(tokenizer, "ungreatly AWFUL") == ["un", "##great", "##ly", "aw", "##ful"]
    truncated = tokenizer.encode(Documents(["great " * 50]).token_ids, 7)
    assert truncated.lengths.tolist() == [7]


def test_reduced_vectors_keep_their_angles(tmp_path: Path) -> None:
    tokenizer, vectors = read_wordpieces(write_encoder_folder(tmp_path), 4)
    assert vectors.shape == (len(WORDPIECES) + 2, 4)
    np.testing.assert_allclose(np.linalg.norm(vectors[2:], axis=1).mean(), 1, atol=1e-5)
    great, good, aw = (vectors[tokenizer.ids[piece]] for piece in ("great", "good", "aw"))
    assert great @ good > 0 > great @ aw


def test_the_encoder_s_own_tokenizer_splits_in_the_same_way(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = write_encoder_folder(tmp_path)
    tokenizer, _ = read_wordpieces(folder, 384)
    reference = transformers.BertTokenizer(str(folder / "vocab.txt"))
    for text in TEXTS:
        ids = tokenizer.encode(Documents([text]).token_ids, 256).tolist()[0]
        reference_ids = reference(text, add_special_tokens=False)["input_ids"] or [1]
        assert [n - 2 if n != UNKNOWN else 1 for n in ids] == reference_ids, text


def test_a_net_on_pieces_knows_words_that_are_in_no_training_review(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    texts, labels = [], []
    for n in range(160):
        words = [f"w{random.integers(10)}" for _ in range(random.integers(2, 8))]
        words.insert(int(random.integers(len(words))), ("awful", "great")[n % 2])
        texts.append(" ".join(words))
        labels.append(n % 2)
    folder = write_encoder_folder(tmp_path / "encoder")
    options = {"epochs": 8.0, "rate": 0.01, "dropout": 0.1, "size": 16.0, "vector_scale": 4.0}
    training = ModelTraining(2, 7, folder, options=options, progress=lambda _: None)
    classifier = ClassifierTrainer(deduplicate(build_reviews(texts, labels)), training).fit("cnn")
    documents = Documents(["w1 ungreatly w2", "w1 awfully w2", "w3 good w4"])
    probabilities = classifier.probabilities(documents)
    assert probabilities.argmax(axis=1).tolist() == [1, 0, 1]
    stored = tmp_path / "stored"
    stored.mkdir()
    classifier.save(stored)
    assert (Classifier.load(stored).probabilities(documents) == probabilities).all()


def test_errors_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(VectorsError, match=r"vocab\.txt"):
        read_wordpieces(tmp_path, 8)
    folder = write_encoder_folder(tmp_path)
    (folder / "vocab.txt").write_text("\n".join([*WORDPIECES, "more"]), "utf-8")
    with pytest.raises(VectorsError, match="vectors"):
        read_wordpieces(folder, 8)

"""`sentiment.multilingual`: one encoder scores the languages that have no model of their own.

Needs the extra `encoder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from batch_predictions.models.sentiment.eligibility import assess_texts
from batch_predictions.models.sentiment.language_classifiers import (
    LanguageClassifiers,
    LanguageSelection,
    select_by_language,
)
from batch_predictions.models.sentiment.models.base import ModelTraining
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.labelled_reviews import CLASSES, Reviews, build_reviews
from batch_predictions.settings import SentimentSettings
from batch_predictions_tests.worlds.encoders import write_transformer_folder

NEGATIVE, POSITIVE = 0, 2
FILLERS = [f"w{n}" for n in range(10)]


def words(count: int) -> dict[str, int]:
    """Words without a meaning in their letters, and the side on which the encoder has each."""
    random = np.random.default_rng(3)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    return {"".join(random.choice(letters, 6)): (-1, 1)[n % 2] for n in range(count)}


WORDS = words(320)
USED, SPARE = [*WORDS][:300], [*WORDS][300:]
FRENCH = "le produit est pour moi et je suis dans la ville"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny encoder that knows the words."""
    pytest.importorskip("transformers")
    return write_transformer_folder(tmp_path_factory.mktemp("encoder"), WORDS)


def reviews(used: Sequence[str], texts_per_word: int = 1) -> Reviews:
    """Reviews whose class is the side of one of their words."""
    random = np.random.default_rng(len(used))
    texts, labels = [], []
    for word in used:
        for _ in range(texts_per_word):
            text = random.choice(FILLERS, 5).tolist()
            text[int(random.integers(5))] = word
            texts.append(" ".join(text))
            labels.append(POSITIVE if WORDS[word] > 0 else NEGATIVE)
    return build_reviews(texts, labels)


def select(folder: Path, english: Reviews, all_reviews: Reviews) -> LanguageSelection:
    config = SentimentSettings(
        candidates=["nb_lr"],
        min_reviews=60,
        min_language_reviews=60,
        encoder=folder,
        multilingual=True,
    )
    training = ModelTraining(
        len(CLASSES), 7, encoder=folder, options={"frozen": True}, progress=lambda _: None
    )
    by_language: dict[str | None, Reviews] = {"en": english, "fr": reviews(SPARE)}
    return select_by_language(by_language, "en", all_reviews, training, config)


def test_it_scores_the_languages_without_a_model(folder: Path, tmp_path: Path) -> None:
    # Each word is in one text: what is learned of its letters says nothing of held-out words.
    selection = select(folder, reviews(USED), reviews(USED))
    classifiers = selection.classifiers
    assert classifiers.multilingual is not None and not classifiers.others
    assert classifiers.languages is None
    assert "In further languages: encoder has macro-F1" in selection.why
    assert "Not scored" not in selection.why
    assert {"encoder:multilingual", "tfidf_lr:multilingual"} <= {
        row["candidate"] for row in selection.metrics
    }
    texts = Documents([f"{FRENCH} {word} {word}" for word in SPARE[:2]])
    assessed = assess_texts(texts, [None, "fr"], classifiers.languages)
    assert assessed.languages == ["fr", "fr"] and assessed.reasons == [None, None]
    probabilities = classifiers.probabilities(texts, assessed.languages)
    assert probabilities.argmax(axis=1).tolist() == [NEGATIVE, POSITIVE]
    assert classifiers.classifier_of("fr") is classifiers.multilingual
    assert classifiers.classifier_of("en") is classifiers.classifier_of(None) is classifiers.main
    classifiers.save(tmp_path)
    loaded = LanguageClassifiers.load(tmp_path)
    assert loaded.languages is None
    assert (loaded.probabilities(texts, ["fr", "fr"]) == probabilities).all()


def test_it_does_not_serve_if_it_does_not_beat_the_baseline(folder: Path) -> None:
    # Two words in all texts: the baseline makes no error either.
    selection = select(folder, reviews(USED), reviews(USED[:2], texts_per_word=80))
    assert selection.classifiers.multilingual is None
    assert selection.classifiers.languages == ("en",)
    assert "Not scored" in selection.why and "fr (20)" in selection.why

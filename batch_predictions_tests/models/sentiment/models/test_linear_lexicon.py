"""`lexicon_lr`: words that no labelled text has are known by their polarity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batch_predictions.models.sentiment.models import linear_lexicon
from batch_predictions.models.sentiment.models.base import ModelTraining, load_model
from batch_predictions.models.sentiment.models.linear_chars import CharNGramModel
from batch_predictions.models.sentiment.models.linear_lexicon import LexiconModel
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.labelled_reviews import build_reviews
from batch_predictions.models.sentiment.text.polarity_lexicon import PolarityLexicon

POSITIVE = ("qqa", "qqb", "qqc", "qqd", "qqe", "qqf")
NEGATIVE = ("vvg", "vvh", "vvi", "vvj", "vvk", "vvl")
LEXICON = PolarityLexicon(
    {**dict.fromkeys((*POSITIVE, "wwx"), 0.7), **dict.fromkeys((*NEGATIVE, "yyz"), -0.7)}, ("not",)
)
UNSEEN = Documents(["one wwx two", "one yyz two", "one not wwx two"])


@pytest.fixture(scope="module")
def reviews() -> tuple[Documents, np.ndarray]:
    words = [(word, 1) for word in POSITIVE] + [(word, 0) for word in NEGATIVE]
    world = build_reviews(
        [f"one {word} two n{n}" for word, _ in words for n in range(4)],
        [label for _, label in words for _ in range(4)],
    )
    return world.documents, world.labels


def fit(
    kind: type[CharNGramModel],
    reviews: tuple[Documents, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> CharNGramModel:
    monkeypatch.setattr(linear_lexicon, "read_lexicon", lambda: LEXICON)
    return kind().fit(*reviews, reviews, ModelTraining(2, 7))


def test_polarities_of_words_that_no_text_has_decide(
    reviews: tuple[Documents, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = fit(LexiconModel, reviews, monkeypatch).log_scores(UNSEEN)
    assert scores.argmax(axis=1).tolist() == [1, 0, 0]
    without = fit(CharNGramModel, reviews, monkeypatch).log_scores(UNSEEN)
    assert np.allclose(without[0], without[1], atol=1e-5)


def test_a_stored_model_has_its_own_lexicon(
    reviews: tuple[Documents, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fit(LexiconModel, reviews, monkeypatch)
    model.save(tmp_path)
    monkeypatch.setattr(linear_lexicon, "read_lexicon", lambda: PolarityLexicon({}, ()))
    loaded = load_model("char_lexicon", tmp_path)
    assert (loaded.log_scores(UNSEEN) == model.log_scores(UNSEEN)).all()


def test_texts_without_words_of_the_lexicon_are_fitted(
    reviews: tuple[Documents, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear_lexicon, "read_lexicon", lambda: PolarityLexicon({}, ("not",)))
    documents, labels = reviews
    model = LexiconModel().fit(documents, labels, reviews, ModelTraining(2, 7))
    assert (model.log_scores(documents).argmax(axis=1) == labels).all()

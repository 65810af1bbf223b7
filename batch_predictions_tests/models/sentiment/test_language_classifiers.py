"""Reviews in several languages: a classifier for each with enough labels, and what is left out."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from batch_predictions.models.sentiment.eligibility import (
    NO_WORDS,
    assess_texts,
    summarise_exclusions,
)
from batch_predictions.models.sentiment.language_classifiers import (
    LanguageClassifiers,
    LanguageSelection,
    select_by_language,
)
from batch_predictions.models.sentiment.models.base import ModelTraining
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.labelled_reviews import Reviews, build_reviews
from batch_predictions.settings import SentimentSettings

ENGLISH = ("this is the {} thing that i have", ("awful", "average", "great"))
GERMAN = ("das ist ein sehr {} produkt und ich habe es", ("mies", "mittelmäßig", "super"))
CONFIG = SentimentSettings(
    candidates=["nb_lr"], min_reviews=60, min_language_reviews=60, holdout_share=0.2
)


def reviews(template: tuple[str, tuple[str, ...]], count: int) -> Reviews:
    """Reviews whose class is that of one word."""
    text, words = template
    labels = [n % 3 for n in range(count)]
    texts = [f"{text.format(words[label])} x{n}" for n, label in enumerate(labels)]
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=n // 5) for n in range(count)]
    return build_reviews(texts, labels, [f"i{n % 7}" for n in range(count)], days)


def select(german: int, **changed: object) -> LanguageSelection:
    by_language: dict[str | None, Reviews] = {
        "en": reviews(ENGLISH, 150),
        "de": reviews(GERMAN, german),
    }
    training = ModelTraining(3, 7, progress=lambda _: None)
    config = CONFIG.model_copy(update=changed)
    return select_by_language(by_language, "en", by_language["en"], training, config)


@pytest.fixture(scope="module")
def both() -> LanguageSelection:
    return select(german=120)


TEXTS = [
    "this is the great thing that i have",
    "das ist ein sehr mies produkt und ich habe es",
    "le produit est très bien mais pas pour moi et je suis dans la ville",
    "great",
    "!",
]


def test_each_text_is_scored_by_the_model_of_its_language(both: LanguageSelection) -> None:
    classifiers = both.classifiers
    assert classifiers.languages == ("en", "de")
    assessed = assess_texts(Documents(TEXTS), [None] * 5, classifiers.languages)
    assert assessed.languages == ["en", "de", "fr", None, None]
    assert [reason is None for reason in assessed.reasons] == [True, True, False, True, False]
    assert "language fr (detected), but there are models only of en, de" in assessed.reasons[2]  # type: ignore[operator]
    assert assessed.reasons[4] == NO_WORDS
    documents = Documents([TEXTS[0], TEXTS[1], TEXTS[3]])
    probabilities = classifiers.probabilities(documents, ["en", "de", None])
    assert probabilities.argmax(axis=1).tolist() == [2, 0, 2]
    # A text is scored alike whatever texts are scored with it.
    alone = classifiers.probabilities(Documents([TEXTS[1]]), ["de"])
    assert (alone[0] == probabilities[1]).all()
    german = classifiers.others["de"]
    assert (german.probabilities(Documents([TEXTS[1]]))[0] == probabilities[1].astype("f4")).all()


def test_metrics_and_decision_name_the_language(both: LanguageSelection) -> None:
    candidates = {row["candidate"] for row in both.metrics}
    assert candidates == {"tfidf_lr", "nb_lr", "tfidf_lr:de", "nb_lr:de"}
    assert "In de: " in both.why


def test_a_language_with_too_few_labels_is_left_out_and_said() -> None:
    selection = select(german=30)
    assert selection.classifiers.languages == ("en",)
    assert "Not scored" in selection.why and "de (30)" in selection.why
    [_, reason] = assess_texts(Documents(TEXTS[:2]), [None, "de-AT"], ("en",)).reasons
    assert reason == "language de (declared), but the model was trained on en"


def test_the_classifiers_are_stored_and_loaded(both: LanguageSelection, tmp_path: Path) -> None:
    both.classifiers.save(tmp_path)
    loaded = LanguageClassifiers.load(tmp_path)
    assert loaded.languages == ("en", "de")
    documents, languages = Documents(TEXTS[:2]), ["en", "de"]
    expected = both.classifiers.probabilities(documents, languages)
    assert (loaded.probabilities(documents, languages) == expected).all()
    (tmp_path / "languages.json").unlink()
    assert LanguageClassifiers.load(tmp_path).languages is None


def test_shares_of_an_item_combine_its_languages(both: LanguageSelection) -> None:
    classifiers = both.classifiers
    languages = ["en", "en", "de", None]
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.7, 0.2, 0.1], [0.2, 0.2, 0.6]])
    shares = classifiers.corrected_shares(probabilities, languages, np.array([0, 0, 0, 1]), 2)
    assert shares.sum(axis=1) == pytest.approx([1, 1])
    english = classifiers.corrected_shares(
        probabilities[[0, 1, 3]], ["en", "en", None], np.array([0, 0, 1]), 2
    )
    german = classifiers.corrected_shares(probabilities[[2]], ["de"], np.array([0]), 1)
    assert shares[0] == pytest.approx((2 * english[0] + german[0]) / 3)
    assert shares[1] == pytest.approx(english[1])


def test_exclusions_are_counted_by_language() -> None:
    entries = [("en", "x"), ("en", "x"), (None, NO_WORDS), ("de", None), ("fr", "x")]
    assert summarise_exclusions(entries) == "2 in en, 1 in fr, 1 without words"
    assert summarise_exclusions([("en", None)]) is None

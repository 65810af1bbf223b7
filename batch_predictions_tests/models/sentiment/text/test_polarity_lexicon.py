"""Features of a polarity lexicon, and where there is one."""

from __future__ import annotations

import numpy as np

from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.polarity_lexicon import (
    PolarityLexicon,
    has_lexicon,
    read_lexicon,
)

LEXICON = PolarityLexicon({"good": 0.5, "superb": 1.0, "bad": -0.6}, ("not",))
ENGLISH = Documents(["the bag is good and it was very light"] * 3)
GERMAN = Documents(["das ist nicht gut und der Stoff ist schlecht"] * 3)


def features(*texts: str) -> np.ndarray:
    return LEXICON.features(Documents(texts).token_ids)


def test_features_are_sums_extremes_and_counts() -> None:
    [row] = features("A good bag, a superb strap, a bad zip")
    expected = [0.9, 0.3, 1.0, -0.6, np.log(3), np.log(2), 0.9 / np.sqrt(1.81)]
    np.testing.assert_allclose(row, expected)


def test_a_negation_turns_three_words_of_its_own_text_around() -> None:
    sums = features("not a very good bag", "it isn't good", "not of the best, good", "not", "good")
    np.testing.assert_allclose(sums[:, 0], [-0.37, -0.37, 0.5, 0, 0.5])


def test_texts_without_known_words_have_zeros() -> None:
    assert not features("", "a bag", "很好").any()
    assert features().shape == (0, 7)


def test_the_lexicon_is_used_for_english() -> None:
    assert has_lexicon(ENGLISH.token_ids) and not has_lexicon(GERMAN.token_ids)


def test_the_packages_lexicon_knows_what_is_good() -> None:
    lexicon = read_lexicon()
    assert lexicon.polarities["superb"] > lexicon.polarities["good"] * 0.9 > 0
    assert lexicon.polarities["awful"] < 0 and "not" in lexicon.negations

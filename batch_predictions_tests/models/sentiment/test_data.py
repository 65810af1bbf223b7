"""Labels, duplicates, splits, tokens and languages of reviews."""

from __future__ import annotations

import datetime as dt
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_predictions.models.sentiment import data
from batch_predictions.models.sentiment.models.batching import (
    by_length,
    padded,
    padding_share,
    shuffled,
)
from batch_predictions.models.sentiment.text.documents import (
    Documents,
    Vocabulary,
    normalise,
    tokenise,
)
from batch_predictions.models.sentiment.text.languages import base, detect, majority
from batch_predictions.models.sentiment.text.ragged import RaggedArray


@pytest.mark.parametrize(
    ("rating", "label", "expected"),
    [
        (1, None, 0),
        (2, None, 0),
        (2.5, None, 1),
        (3, None, 1),
        (4, None, 2),
        (None, None, -1),
        (float("nan"), None, -1),
        (5, "negative", 0),
    ],
)
def test_labels_come_from_ratings_unless_a_person_said_so(
    rating: float | None, label: str | None, expected: int
) -> None:
    assert data.label_of(rating, label, 2, 4) == expected


@given(st.text())
def test_tokens_joined_are_the_text_without_its_blanks(text: str) -> None:
    assert "".join(tokenise(text)) == "".join(normalise(text).split())


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Don't  buy!!!", ["don't", "buy", "!!!"]),
        ("Käse, très BON", ["käse", ",", "très", "bon"]),
        (unicodedata.normalize("NFD", "Käse"), ["käse"]),
        ("很好吃", ["很", "好", "吃"]),
        ("हिन्दी अच्छा", ["हिन्दी", "अच्छा"]),
        ("👍 ok", ["👍", "ok"]),
    ],
)
def test_any_script_is_tokenised(text: str, tokens: list[str]) -> None:
    assert tokenise(text) == tokens


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("this is a very good product and i love it", "en"),
        ("das ist ein sehr gutes produkt und ich liebe es", "de"),
        ("c'est un très bon produit et je le recommande", "fr"),
        ("me gusta mucho este producto, es muy bueno", "es"),
        ("這個產品非常好", "zh"),
        ("とても良い商品です", "ja"),
        ("очень хороший товар", "ru"),
        ("ok", None),
    ],
)
def test_languages_are_told_by_script_and_frequent_words(text: str, language: str | None) -> None:
    assert detect(Documents([text, "", text]).coded) == [language, None, language]


def test_languages_are_compared_by_their_base() -> None:
    assert base("en_US") == base("EN") == base("en-GB") == "en" and base(" ") is None
    assert majority(["de", "en", "en", None]) == "en" and majority([None]) is None


def test_equal_texts_are_counted_once_with_their_most_frequent_label() -> None:
    reviews = data.of_rows(["Good", "good ", "GOOD", "bad"], [2, 2, 0, 0])
    once = data.distinct(reviews)
    assert list(once.documents) == ["Good", "bad"] and once.labels.tolist() == [2, 0]


def test_folds_part_no_product_and_no_text() -> None:
    random = np.random.default_rng(0)
    products = [f"p{random.integers(30)}" for _ in range(400)]
    texts = [f"text {random.integers(250)}" for _ in range(400)]
    reviews = data.of_rows(texts, random.integers(0, 3, 400).tolist(), products)
    judged = []
    for split in data.folds(reviews, 5, seed=1):
        here, there = reviews.take(split.train), reviews.take(split.test)
        assert not {*here.groups} & {*there.groups}
        assert not {*here.documents} & {*there.documents}
        judged += split.test.tolist()
    assert sorted(judged) == list(range(400))


def test_with_dates_the_newest_are_held_out() -> None:
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=n) for n in range(100)]
    reviews = data.of_rows([f"text {n % 90}" for n in range(100)], [0, 2] * 50, None, days)
    split = data.holdout(reviews, 0.2, seed=1)
    assert split.test.tolist() == list(range(80, 100))
    # Texts 0 to 9 stand on both sides: they are judged, and not learned.
    assert split.train.tolist() == list(range(10, 80))


def test_batches_are_of_texts_of_a_length() -> None:
    random = np.random.default_rng(0)
    lengths = random.geometric(1 / 40, 20_000)
    places = np.concatenate(list(by_length(lengths)))
    assert sorted(places.tolist()) == list(range(20_000))
    assert padding_share(lengths) < 0.02
    filled, lengths = padded(RaggedArray.of([[5], [6, 7]]), np.array([1, 0]))
    assert filled.tolist() == [[6, 7], [5, 0]] and lengths.tolist() == [2, 1]


def test_a_word_that_is_not_known_has_an_id_of_its_own() -> None:
    words = Vocabulary.of([["a", "b"], ["a"], ["a", "b", "c"]], minimum=2)
    assert words.words == ("a", "b")
    coded = Documents(["B x", "", "a a b"]).coded
    assert words.encode(coded, 10).tolist() == [[3, 1], [1], [2, 2, 3]]
    assert words.encode(coded, 2).tolist() == [[3, 1], [1], [2, 2]]


def test_an_epoch_has_every_text_once_and_another_order_each_time() -> None:
    lengths = np.arange(1000) % 30 + 1
    random = np.random.default_rng(3)
    first, second = (list(shuffled(lengths, 8, random)) for _ in range(2))
    for epoch in (first, second):
        assert sorted(np.concatenate(epoch).tolist()) == list(range(1000))
        assert max(map(len, epoch)) == 8
    assert np.concatenate(first).tolist() != np.concatenate(second).tolist()
    again = np.concatenate(list(shuffled(lengths, 8, np.random.default_rng(3))))
    assert again.tolist() == np.concatenate(first).tolist()
    # Of about one length, and yet not from short to long.
    assert np.mean([np.ptp(lengths[batch]) for batch in first]) < 3
    assert np.diff([lengths[batch[0]] for batch in first]).min() < 0

"""Labels, duplicates, splits, tokens, languages and batches of reviews."""

from __future__ import annotations

import datetime as dt
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_predictions.models.sentiment.text import labelled_reviews
from batch_predictions.models.sentiment.text.documents import (
    Documents,
    Vocabulary,
    batches_by_length,
    normalise,
    pad,
    shuffled_batches,
    tokenise,
)
from batch_predictions.models.sentiment.text.languages import (
    base_language,
    detect_languages,
    most_common_language,
)
from batch_predictions.models.sentiment.text.token_ids import RaggedArray


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
def test_classes_come_from_labels_else_from_ratings(
    rating: float | None, label: str | None, expected: int
) -> None:
    assert labelled_reviews.class_index(rating, label, 2, 4) == expected


@given(st.text())
def test_joined_tokens_are_the_text_without_its_blanks(text: str) -> None:
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
def test_languages_are_detected_by_script_and_frequent_words(
    text: str, language: str | None
) -> None:
    assert detect_languages(Documents([text, "", text]).token_ids) == [language, None, language]


def test_languages_are_compared_by_their_primary_subtag() -> None:
    assert base_language("en_US") == base_language("EN") == base_language("en-GB") == "en"
    assert base_language(" ") is None
    assert most_common_language(["de", "en", "en", None]) == "en"
    assert most_common_language([None]) is None


def test_equal_texts_count_once_with_their_most_frequent_label() -> None:
    reviews = labelled_reviews.build_reviews(["Good", "good ", "GOOD", "bad"], [2, 2, 0, 0])
    unique = labelled_reviews.deduplicate(reviews)
    assert list(unique.documents) == ["Good", "bad"] and unique.labels.tolist() == [2, 0]


def test_folds_split_no_product_and_share_no_text() -> None:
    random = np.random.default_rng(0)
    products = [f"p{random.integers(30)}" for _ in range(400)]
    texts = [f"text {random.integers(250)}" for _ in range(400)]
    reviews = labelled_reviews.build_reviews(texts, random.integers(0, 3, 400).tolist(), products)
    tested = []
    for split in labelled_reviews.group_folds(reviews, 5, seed=1):
        train, test = reviews.take(split.train), reviews.take(split.test)
        assert not {*train.groups} & {*test.groups}
        assert not {*train.documents} & {*test.documents}
        tested += split.test.tolist()
    assert sorted(tested) == list(range(400))


def test_with_dates_the_newest_are_held_out() -> None:
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=n) for n in range(100)]
    reviews = labelled_reviews.build_reviews(
        [f"text {n % 90}" for n in range(100)], [0, 2] * 50, None, days
    )
    split = labelled_reviews.split_holdout(reviews, 0.2, seed=1)
    assert split.test.tolist() == list(range(80, 100))
    # Texts 0 to 9 occur again in the test rows: they are not in the training rows.
    assert split.train.tolist() == list(range(10, 80))


def test_batches_have_texts_of_similar_length() -> None:
    random = np.random.default_rng(0)
    lengths = random.geometric(1 / 40, 20_000)
    batches = list(batches_by_length(lengths))
    indices = np.concatenate(batches)
    assert sorted(indices.tolist()) == list(range(20_000))
    padded_length = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert lengths.sum() > 0.98 * padded_length
    padded, lengths = pad(RaggedArray.from_rows([[5], [6, 7]]), np.array([1, 0]))
    assert padded.tolist() == [[6, 7], [5, 0]] and lengths.tolist() == [2, 1]


def test_unknown_words_have_one_id() -> None:
    vocabulary = Vocabulary.build([["a", "b"], ["a"], ["a", "b", "c"]], min_df=2)
    assert vocabulary.tokens == ("a", "b")
    token_ids = Documents(["B x", "", "a a b"]).token_ids
    assert vocabulary.encode(token_ids, 10).tolist() == [[3, 1], [1], [2, 2, 3]]
    assert vocabulary.encode(token_ids, 2).tolist() == [[3, 1], [1], [2, 2]]


def test_an_epoch_has_every_text_once_and_a_new_order_each_time() -> None:
    lengths = np.arange(1000) % 30 + 1
    random = np.random.default_rng(3)
    first, second = (list(shuffled_batches(lengths, 8, random)) for _ in range(2))
    for epoch in (first, second):
        assert sorted(np.concatenate(epoch).tolist()) == list(range(1000))
        assert max(map(len, epoch)) == 8
    assert np.concatenate(first).tolist() != np.concatenate(second).tolist()
    repeated = np.concatenate(list(shuffled_batches(lengths, 8, np.random.default_rng(3))))
    assert repeated.tolist() == np.concatenate(first).tolist()
    # Lengths are similar within a batch, and batches are not sorted by length.
    assert np.mean([np.ptp(lengths[batch]) for batch in first]) < 3
    assert np.diff([lengths[batch[0]] for batch in first]).min() < 0

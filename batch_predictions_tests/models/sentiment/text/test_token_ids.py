"""Texts as numbers: the compiled tokeniser equals the regular expression; n-grams are found."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_predictions.models.sentiment.text.documents import Documents, tokenise
from batch_predictions.models.sentiment.text.languages import detect_languages
from batch_predictions.models.sentiment.text.ngrams import (
    NGramIndex,
    extract_ngrams,
    frequent_ngrams,
)
from batch_predictions.models.sentiment.text.token_ids import BASIC_PLANE_SIZE, RaggedArray

# Characters at the limits of classes: marks, apostrophes, kinds of blanks, scripts, planes.
EDGE_CHARACTERS = (
    "ab'\u2019!-.9_ \t\n\x1c\x85\xa0\u3000\u2028\xe9\u0301\u0130\xdf\u65e5\u306e\u0e02\U0001f600"
)
WORDS = ("the", "don't", "sehr", "gut", "und", "!!!", "-", "日本", "очень", "x'y'z", "'s", "ﬁ")


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(), st.text(EDGE_CHARACTERS), st.lists(st.sampled_from(WORDS)).map(" ".join)
        )
    )
)
def test_tokens_equal_those_of_the_regular_expression(texts: list[str]) -> None:
    documents = Documents(texts)
    assert documents.tokens == [tokenise(text) for text in texts]
    distinct = documents.token_ids.distinct
    assert len(set(distinct)) == len(distinct)


def test_every_character_has_the_class_that_the_regular_expression_gives_it() -> None:
    characters = [chr(n) for n in range(1, BASIC_PLANE_SIZE) if not 0xD800 <= n < 0xE000]
    texts = [f"{character}{character}a'{character}a" for character in characters]
    assert Documents(texts).tokens == [tokenise(text) for text in texts]


def test_numbers_of_words_survive_the_growth_of_the_hash_table() -> None:
    texts = [f"w{n} w{n % 777} w{n}" for n in range(30_000)]
    token_ids = Documents(texts).token_ids
    assert token_ids.distinct == tuple(f"w{n}" for n in range(30_000))
    assert token_ids.rows.tolist() == [[n, n % 777, n] for n in range(30_000)]


def test_documents_can_be_taken_by_index() -> None:
    documents = Documents(["a b", "", "c a"])
    subset = documents.take(np.array([2, 1, 2]))
    assert list(subset) == ["c a", "", "c a"]
    assert subset.tokens == [["c", "a"], [], ["c", "a"]]
    assert Documents([]).tokens == [] and detect_languages(Documents([]).token_ids) == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcde'!")).map(" ".join), min_size=1), st.integers(0, 9))
def test_known_ngrams_are_found_with_repetitions(texts: list[str], drop: int) -> None:
    ngrams = [extract_ngrams(tokenise(text)) for text in texts]
    distinct = list(dict.fromkeys(ngram for of_text in ngrams for ngram in of_text))
    # A pair may be known although its words are not.
    indexed = [ngram for n, ngram in enumerate(distinct) if (n * 7) % 10 != drop]
    ids = {ngram: n for n, ngram in enumerate(indexed)}
    rows = NGramIndex(indexed).find(Documents([*texts, "z q"]).token_ids).tolist()
    expected = [sorted(ids[ngram] for ngram in of_text if ngram in ids) for of_text in ngrams]
    assert [sorted(row) for row in rows] == [*expected, []]


def test_pairs_include_the_ends_of_a_text_and_frequent_ngrams_come_first() -> None:
    frequencies = frequent_ngrams([["a", "b"], ["a"], []], min_df=1, max_features=4)
    assert frequencies == [("<s> a", 2), ("a", 2), ("<s> </s>", 1), ("a </s>", 1)]
    index = NGramIndex([ngram for ngram, _ in frequencies])
    rows = index.find(Documents(["a", "", "b a"]).token_ids)
    assert [sorted(row) for row in rows.tolist()] == [[0, 1, 3], [2], [1, 3]]


@pytest.mark.parametrize("rows", [[], [[]], [[1, 2], [], [3]], [[], [], [4, 5, 6]]])
def test_ragged_rows_are_truncated_filled_taken_and_expanded(rows: Sequence[Sequence[int]]) -> None:
    ragged = RaggedArray.from_rows(rows)
    assert ragged.tolist() == [list(row) for row in rows] and len(ragged) == len(rows)
    assert ragged.truncate(1).tolist() == [list(row[:1]) for row in rows]
    assert ragged.fill_empty(9).tolist() == [list(row) or [9] for row in rows]
    backwards = np.arange(len(rows))[::-1]
    assert ragged.take(backwards).tolist() == [list(row) for row in reversed(rows)]
    replacements = RaggedArray.from_rows([[], [10], [20, 21], [30], [], [50, 51], [60]])
    assert ragged.expand(replacements).tolist() == [
        [number for value in row for number in replacements.tolist()[value]] for row in rows
    ]


def test_parallel_workers_get_the_same_result() -> None:
    texts = [f"Only {n} of the {n % 13} reviews don't like it!" for n in range(2_000)]
    ngrams = [ngram for ngram, _ in frequent_ngrams(Documents(texts).tokens, 1, 5_000)]
    expected = NGramIndex(ngrams).find(Documents(texts).token_ids).tolist()
    results: list[list[list[int]]] = []

    def work() -> None:
        results.append(NGramIndex(ngrams).find(Documents(texts).token_ids).tolist())

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [expected] * 4

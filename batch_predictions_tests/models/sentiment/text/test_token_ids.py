"""Texts as numbers: the compiled tokeniser against the regular expression; terms of texts."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_predictions.models.sentiment.text import token_ids as coded_module
from batch_predictions.models.sentiment.text.documents import Documents, tokenise
from batch_predictions.models.sentiment.text.languages import detect
from batch_predictions.models.sentiment.text.ngrams import NGramIndex, frequent, terms_of
from batch_predictions.models.sentiment.text.ragged import RaggedArray

# Characters at which classes meet: marks, apostrophes, blanks of several kinds, scripts, planes.
EDGES = (
    "ab'\u2019!-.9_ \t\n\x1c\x85\xa0\u3000\u2028\xe9\u0301\u0130\xdf\u65e5\u306e\u0e02\U0001f600"
)
WORDS = ("the", "don't", "sehr", "gut", "und", "!!!", "-", "日本", "очень", "x'y'z", "'s", "ﬁ")


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(st.text(), st.text(EDGES), st.lists(st.sampled_from(WORDS)).map(" ".join)))
)
def test_texts_as_numbers_have_the_tokens_of_the_regular_expression(texts: list[str]) -> None:
    documents = Documents(texts)
    assert documents.tokens == [tokenise(text) for text in texts]
    words = documents.coded.words
    assert len(set(words)) == len(words)


def test_every_character_is_of_the_kind_that_the_regular_expression_gives_it() -> None:
    letters = [chr(n) for n in range(1, coded_module.PLANE) if not 0xD800 <= n < 0xE000]
    texts = [f"{letter}{letter}a'{letter}a" for letter in letters]
    assert Documents(texts).tokens == [tokenise(text) for text in texts]


def test_more_words_than_the_first_table_holds_keep_their_numbers() -> None:
    texts = [f"w{n} w{n % 777} w{n}" for n in range(30_000)]
    coded = Documents(texts).coded
    assert coded.words == tuple(f"w{n}" for n in range(30_000))
    assert coded.rows.tolist() == [[n, n % 777, n] for n in range(30_000)]


def test_taken_texts_have_their_own_tokens() -> None:
    documents = Documents(["a b", "", "c a"])
    taken = documents.take(np.array([2, 1, 2]))
    assert list(taken) == ["c a", "", "c a"]
    assert taken.tokens == [["c", "a"], [], ["c", "a"]]
    assert Documents([]).tokens == [] and detect(Documents([]).coded) == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcde'!")).map(" ".join), min_size=1), st.integers(0, 9))
def test_known_terms_are_found_as_often_as_they_stand(texts: list[str], drop: int) -> None:
    tokens = [tokenise(text) for text in texts]
    every = list(dict.fromkeys(term for each in tokens for term in terms_of(each)))
    # A pair may be known whose words are not.
    names = [name for n, name in enumerate(every) if (n * 7) % 10 != drop]
    ids = {name: place for place, name in enumerate(names)}
    found = NGramIndex(names).find(Documents([*texts, "z q"]).coded).tolist()
    wanted = [sorted(ids[term] for term in terms_of(each) if term in ids) for each in tokens]
    assert [sorted(each) for each in found] == [*wanted, []]


def test_the_ends_of_a_text_stand_in_pairs_and_frequent_terms_come_first() -> None:
    kept = frequent([["a", "b"], ["a"], []], minimum=1, most=4)
    assert kept == [("<s> a", 2), ("a", 2), ("<s> </s>", 1), ("a </s>", 1)]
    found = NGramIndex([name for name, _ in kept]).find(Documents(["a", "", "b a"]).coded)
    assert [sorted(each) for each in found.tolist()] == [[0, 1, 3], [2], [1, 3]]


@pytest.mark.parametrize("rows", [[], [[]], [[1, 2], [], [3]], [[], [], [4, 5, 6]]])
def test_ragged_rows_are_cut_filled_taken_and_replaced(rows: Sequence[Sequence[int]]) -> None:
    ragged = RaggedArray.of(rows)
    assert ragged.tolist() == [list(row) for row in rows] and len(ragged) == len(rows)
    assert ragged.cut(1).tolist() == [list(row[:1]) for row in rows]
    assert ragged.filled(9).tolist() == [list(row) or [9] for row in rows]
    backwards = np.arange(len(rows))[::-1]
    assert ragged.take(backwards).tolist() == [list(row) for row in reversed(rows)]
    by = RaggedArray.of([[], [10], [20, 21], [30], [], [50, 51], [60]])
    assert ragged.replaced(by).tolist() == [
        [each for n in row for each in by.tolist()[n]] for row in rows
    ]


def test_workers_beside_each_other_find_the_same() -> None:
    texts = [f"Only {n} of the {n % 13} reviews don't like it!" for n in range(2_000)]
    names = [name for name, _ in frequent(Documents(texts).tokens, 1, 5_000)]
    alone = NGramIndex(names).find(Documents(texts).coded).tolist()
    found: list[list[list[int]]] = []

    def work() -> None:
        found.append(NGramIndex(names).find(Documents(texts).coded).tolist())

    workers = [threading.Thread(target=work) for _ in range(4)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert found == [alone] * 4

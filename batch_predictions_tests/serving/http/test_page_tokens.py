"""Page tokens: what is encoded is decoded, and nothing else is."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_predictions.serving.http.pages import PagePosition, decode_token, encode_token
from batch_predictions.serving.http.problems import ProblemError

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES = st.one_of(TEXTS, st.integers(-(2**53), 2**53))
PARAMETERS = st.dictionaries(TEXTS, st.one_of(TEXTS, st.booleans(), st.none()), max_size=3)


@given(TEXTS, st.lists(VALUES, max_size=4), TEXTS, PARAMETERS)
def test_a_token_leads_back_to_its_position(
    release_id: str, after: list[Any], what: str, parameters: dict[str, Any]
) -> None:
    position = PagePosition(release_id, tuple(after))
    token = encode_token(position, what, parameters)
    assert token.isascii() and "=" not in token and "/" not in token
    assert decode_token(token, what, parameters) == position
    with pytest.raises(ProblemError, match="of another address"):
        decode_token(token, f"{what}.", parameters)
    with pytest.raises(ProblemError, match="of another address"):
        decode_token(token, what, {**parameters, "more": "1"})


@given(st.one_of(st.text(), st.binary().map(lambda b: base64.urlsafe_b64encode(b).decode())))
def test_any_other_text_is_refused(token: str) -> None:
    with pytest.raises(ProblemError, match="page_token"):
        decode_token(token, "orders", {})


@pytest.mark.parametrize("text", ['["r", "f"]', '["r", "f", [null]]', '[1, "f", []]', "1", "[]"])
def test_a_token_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(ProblemError, match="cannot be read"):
        decode_token(base64.urlsafe_b64encode(text.encode()).decode(), "orders", {})


def test_without_a_token_it_begins_at_the_first_row() -> None:
    assert decode_token(None, "orders", {}) == PagePosition(None, None)

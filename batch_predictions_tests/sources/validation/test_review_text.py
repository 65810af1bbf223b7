"""HTML in the texts of reviews."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_predictions.sources.validation.review_text import clean_text
from batch_predictions.tables import REVIEWS
from batch_predictions_tests.worlds.source_folders import SourceFolder


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("<p>Great &amp; cheap</p>", "Great & cheap"),
        ("Line one<br/>line two<BR>three", "Line one\nline two\nthree"),
        ("I <b>love</b> it &#128512; &hearts;", "I love it \U0001f600 \u2665"),
        ("5 < 6 and <3 stay", "5 < 6 and <3 stay"),
        ("<script>alert(1)</script>fine<!-- note -->", "fine"),
        ("non&nbsp;breaking", "non breaking"),
        ("AT&T stays", "AT&T stays"),
        ("<br>", ""),
    ],
)
def test_tags_and_entities_are_cleaned(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned


@given(st.text(st.characters(exclude_characters="<&\u00a0", exclude_categories=["Cs", "Z", "C"])))
def test_plain_text_stays(text: str) -> None:
    assert clean_text(text) == text


def test_reviews_are_cleaned_before_anything_reads_them(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write(
        "reviews.csv",
        "item_id,text,written_at\ni1,<p>good &amp; fast</p>,2024-01-02\ni2,plain,2024-01-02\n",
    )
    shop.ingest(REVIEWS)
    rows = shop.rows("select text from raw.reviews order by item_id")
    assert [row["text"] for row in rows] == ["good & fast", "plain"]

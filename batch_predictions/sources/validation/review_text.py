"""Cleans the texts of reviews: markup and entities of HTML."""

from __future__ import annotations

import html
import re

import duckdb

FUNCTION = "clean_review_text"
_INVISIBLE = re.compile(r"<(script|style)\b.*?</\1\s*>|<!--.*?-->", re.DOTALL | re.IGNORECASE)
_BLOCK = re.compile(r"</?(?:p|div|br|li|ul|ol|h[1-6]|tr|td|blockquote)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_BLANKS = re.compile(r"[^\S\n]*\n\s*|[^\S\n]{2,}")


def clean_text(text: str) -> str:
    """A text without tags, with characters in place of entities.

    `<p>Great &amp; cheap</p>` is `Great & cheap`. What is no tag stays: `a < b`, `<3`.
    """
    if "<" in text:
        text = _TAG.sub("", _BLOCK.sub("\n", _INVISIBLE.sub(" ", text)))
    if "&" in text:
        text = html.unescape(text)
    text = text.replace("\u00a0", " ")
    return _BLANKS.sub(lambda match: "\n" if "\n" in match.group() else " ", text).strip()


def clean_text_sql(db: duckdb.DuckDBPyConnection, text: str) -> str:
    """SQL of the cleaned text; registers a function in the connection.

    Args:
        db: connection in which the SQL is used.
        text: SQL of the text. Only texts with `<` or `&` are cleaned.
    """
    registered = db.execute(
        "select count(*) from duckdb_functions() where function_name = $name", {"name": FUNCTION}
    ).fetchall()
    if registered == [(0,)]:
        db.create_function(FUNCTION, clean_text)
    return (
        f"case when contains({text}, '<') or contains({text}, '&') then {FUNCTION}({text}) "
        f"else {text} end"
    )

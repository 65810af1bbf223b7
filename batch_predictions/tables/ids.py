"""What an id may be: texts that every store can hold and index."""

from __future__ import annotations

import unicodedata

MAX_ID_BYTES = 512
"""Longest id in UTF-8. Several ids are one key of the serving store, and PostgreSQL indexes keys of
up to 2,700 bytes."""


def id_problem(text: str) -> str | None:
    """What is wrong with an id and how to correct it; None for a valid one."""
    if any(unicodedata.category(character) == "Cc" for character in text):
        return "has a control character (such as a zero byte or a line break): remove it"
    if len(text.encode(errors="replace")) > MAX_ID_BYTES:
        return f"is longer than {MAX_ID_BYTES} bytes: give a shorter id, such as a hash of it"
    return None


def visible_text(text: str) -> str:
    """The start of a text for messages, with `?` in place of control characters."""
    start = text[:60] + ("…" if len(text) > 60 else "")
    return "".join("?" if unicodedata.category(c) == "Cc" else c for c in start)

"""The languages of texts, for commands that report on a source."""

from __future__ import annotations

from collections.abc import Sequence


def detect_text_languages(texts: Sequence[str]) -> list[str | None]:
    """ISO 639-1 code of each text's language; None where it is not known."""
    from batch_predictions.models.sentiment.text.documents import Documents
    from batch_predictions.models.sentiment.text.languages import detect_languages

    return detect_languages(Documents(texts).token_ids)

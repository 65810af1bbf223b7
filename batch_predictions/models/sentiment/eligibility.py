"""Which texts a model can score: those that have words and are in its language."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.languages import base_language, detect_languages

NO_WORDS = "the text has no words"


def exclusion_reasons(
    documents: Documents, declared: Sequence[str | None], expected: Sequence[str | None]
) -> list[str | None]:
    """Why each text cannot be scored; None where it can.

    Args:
        documents: the texts.
        declared: language tag that the source states for each text, if any.
        expected: the model's language for each text, if known.
    """
    token_ids = documents.token_ids
    is_word = np.array([len(token) > 1 or token.isalnum() for token in token_ids.distinct], bool)
    has_words = token_ids.contains_any(is_word).tolist()
    detected = detect_languages(token_ids)
    return [
        _language_mismatch(base_language(tag), language, model_language) if worded else NO_WORDS
        for worded, tag, language, model_language in zip(
            has_words, declared, detected, expected, strict=True
        )
    ]


def _language_mismatch(
    declared: str | None, detected: str | None, expected: str | None
) -> str | None:
    """The reason if a text is in another language than the model's; None if not, or unknown."""
    language = declared or detected
    if expected is None or language is None or language == expected:
        return None
    source = "declared" if declared else "detected"
    return f"language {language} ({source}), but the model was trained on {expected}"

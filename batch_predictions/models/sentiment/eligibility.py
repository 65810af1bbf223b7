"""Decides which texts can be scored: those with words, in a language that has a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.languages import base_language, detect_languages

NO_WORDS = "the text has no words"


@dataclass(frozen=True)
class Eligibility:
    """Languages of texts, and why some cannot be scored.

    Attributes:
        languages: declared by the source, else detected; None where unknown, (n,).
        reasons: None where the text can be scored, (n,).
    """

    languages: list[str | None]
    reasons: list[str | None]


def assess_texts(
    documents: Documents,
    declared: Sequence[str | None],
    known: Sequence[str] | None,
) -> Eligibility:
    """Finds the language of each text, and why it cannot be scored.

    Args:
        documents: the texts.
        declared: language tag that the source states for each text, if any.
        known: languages that have a model; None: all are scored.
    """
    token_ids = documents.token_ids
    is_word = np.array([len(token) > 1 or token.isalnum() for token in token_ids.distinct], bool)
    has_words = token_ids.contains_any(is_word).tolist()
    languages, reasons = [], []
    for worded, tag, detected in zip(has_words, declared, detect_languages(token_ids), strict=True):
        stated = base_language(tag)
        languages.append(stated or detected)
        reasons.append(_language_mismatch(stated, detected, known) if worded else NO_WORDS)
    return Eligibility(languages, reasons)


def _language_mismatch(
    declared: str | None, detected: str | None, known: Sequence[str] | None
) -> str | None:
    """The reason if a text's language has no model; None if it has, or is unknown."""
    language = declared or detected
    if known is None or language is None or language in known:
        return None
    source = "declared" if declared else "detected"
    models = (
        f"the model was trained on {known[0]}"
        if len(known) == 1
        else f"there are models only of {', '.join(known)}"
    )
    return f"language {language} ({source}), but {models}"


def summarise_exclusions(eligibility: Iterable[tuple[str | None, str | None]]) -> str | None:
    """Counts of texts that were not scored, such as `82 in en, 3 without words`; None: none.

    Args:
        eligibility: language and reason of each text; a reason of None is a scored one.
    """
    counts = Counter(
        "without words" if reason == NO_WORDS else f"in {language}" if language else "for others"
        for language, reason in eligibility
        if reason is not None
    )
    ordered = sorted(counts, key=lambda text: (-counts[text], text))
    return ", ".join(f"{counts[text]} {text}" for text in ordered) or None

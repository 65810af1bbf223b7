"""Detects the language of a text whose source does not state it, by script and frequent words.

Not a general language classifier: it recognises texts that are clearly in another language than
the model's. The language of a text that is too short to decide is None, and the text is scored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np

from batch_predictions.models.sentiment.text.token_ids import TokenIds

_TEXT_OF_FREQUENT_WORDS = {
    "en": "a i the and is it this was for with that not you have are but they very great good my "
    "of to love so just would all as on in from when has had be what we like too than me no these",
    "de": "der die das und ist nicht ich es ein eine mit für auf sehr aber auch den war zu von "
    "dem sich gut habe wie noch nur nach bei haben hat schlecht leider",
    "fr": "le la les et est pas je un une des pour dans avec très mais que qui il ce du au sur "
    "plus bien c'est j'ai cette nous tout produit bon",
    "es": "el la los las y es no un una de que en muy con para por pero se lo mi me está bien "
    "como todo bueno esta al del producto más",
    "it": "il la di e è non un una che per con molto ma in sono ho si questo del della bene come "
    "più anche mi prodotto buono lo gli",
    "pt": "o a os e é não um uma de que em com para muito mas por se do da no na eu bom meu isso "
    "está como produto mais foi",
    "nl": "de het een en is niet ik van dat op met voor te maar zijn heel goed ook was er aan dit "
    "heb naar bij wel geen om",
}
FREQUENT_WORDS = {
    language: frozenset(text.split()) for language, text in _TEXT_OF_FREQUENT_WORDS.items()
}
_LANGUAGE_FLAGS = {
    word: sum((word in words) << bit for bit, words in enumerate(FREQUENT_WORDS.values()))
    for word in sorted({word for words in FREQUENT_WORDS.values() for word in words})
}
"""For each word, the languages in which it is frequent: bit n is the n-th of FREQUENT_WORDS."""
_SCRIPTS = (
    ("ja", 0x3040, 0x30FF),
    ("zh", 0x3400, 0x9FFF),
    ("ko", 0xAC00, 0xD7AF),
    ("ru", 0x0400, 0x04FF),
    ("el", 0x0370, 0x03FF),
    ("he", 0x0590, 0x05FF),
    ("ar", 0x0600, 0x06FF),
    ("hi", 0x0900, 0x097F),
    ("th", 0x0E00, 0x0E7F),
)
"""Language, first and last code point of scripts that indicate one language."""
_SCRIPT_LETTER = re.compile(
    "[" + "".join(f"{chr(first)}-{chr(last)}" for _, first, last in _SCRIPTS) + "]"
)


def detect_languages(token_ids: TokenIds) -> list[str | None]:
    """ISO 639-1 code of every text's language; None where its tokens do not decide it."""
    from batch_predictions.models.sentiment.text.token_kernels import count_flags

    distinct, rows = token_ids.distinct, token_ids.rows
    flags = np.fromiter((_LANGUAGE_FLAGS.get(w, 0) for w in distinct), np.int64, len(distinct))
    counts = np.zeros((len(rows), len(FREQUENT_WORDS)), np.int64)
    count_flags(rows.values, rows.bounds, flags, counts)
    best = counts.argmax(axis=1)
    second_count, best_count = np.sort(counts, axis=1)[:, -2:].T
    decided = (best_count >= 2) & (best_count > 2 * second_count)
    codes = tuple(FREQUENT_WORDS)
    languages = [
        codes[n] if is_decided else None
        for n, is_decided in zip(best.tolist(), decided.tolist(), strict=True)
    ]
    # The script is examined only for texts that have a letter of one of these scripts.
    has_letter = np.array([bool(_SCRIPT_LETTER.search(word)) for word in distinct], bool)
    indices = np.flatnonzero(token_ids.contains_any(has_letter))
    for n, tokens in zip(indices.tolist(), token_ids.take(indices).decode(), strict=True):
        languages[n] = _detect_by_script("".join(tokens)) or languages[n]
    return languages


def _detect_by_script(text: str) -> str | None:
    """The language whose script has more than half of the letters, and at least two of them."""
    letters_by_language: Counter[str] = Counter()
    for letter, count in Counter(_SCRIPT_LETTER.findall(text)).items():
        for language, first, last in _SCRIPTS:
            if first <= ord(letter) <= last:
                letters_by_language[language] += count
    # Japanese mixes kana with Chinese characters, which may be the majority.
    if letters_by_language["ja"]:
        letters_by_language["ja"] += letters_by_language["zh"]
    if letters_by_language:
        language, letters = letters_by_language.most_common(1)[0]
        if letters >= 2 and letters > sum(map(str.isalpha, text)) / 2:
            return language
    return None


def base_language(language: str | None) -> str | None:
    """The primary language of a tag: `en` of en-US, EN and en_GB; None for an empty tag."""
    if not language or not language.strip():
        return None
    return language.strip().lower().replace("_", "-").split("-")[0]


def most_common_language(languages: Iterable[str | None]) -> str | None:
    """The most frequent language; Nones do not count, and ties go to the first alphabetically."""
    counts = Counter(language for language in languages if language)
    return min(counts, key=lambda language: (-counts[language], language)) if counts else None

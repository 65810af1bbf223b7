"""Which language a text is in, where its source does not say: by script and frequent words.

Not a classifier of all languages: it tells a text that is clearly in another language than the
model's. A text too short to tell is None, and is scored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np

from batch_predictions.models.sentiment.text.token_ids import TokenIds

_FREQUENT = {
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
_WORDS = {language: frozenset(text.split()) for language, text in _FREQUENT.items()}
_MARKS = {
    word: sum((word in words) << bit for bit, words in enumerate(_WORDS.values()))
    for word in sorted({each for words in _WORDS.values() for each in words})
}
"""The languages that a word is frequent in, as bits."""
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
_WRITTEN = re.compile("[" + "".join(f"{chr(a)}-{chr(b)}" for _, a, b in _SCRIPTS) + "]")


def detect(coded: TokenIds) -> list[str | None]:
    """ISO 639-1 of every text, or None where its tokens are too few to tell."""
    from batch_predictions.models.sentiment.text.token_kernels import count_marked

    marks = np.fromiter((_MARKS.get(word, 0) for word in coded.words), np.int64, len(coded.words))
    counts = np.zeros((len(coded.rows), len(_WORDS)), np.int64)
    count_marked(coded.rows.values, coded.rows.bounds, marks, counts)
    best = counts.argmax(axis=1)
    second, first = np.sort(counts, axis=1)[:, -2:].T
    sure = (first >= 2) & (first > 2 * second)
    names = tuple(_WORDS)
    found = [
        names[n] if told else None for n, told in zip(best.tolist(), sure.tolist(), strict=True)
    ]
    # Few texts, or all of a shop's, have letters of a script that tells a language by itself.
    written = coded.any_of(np.array([bool(_WRITTEN.search(word)) for word in coded.words], bool))
    places = np.flatnonzero(written)
    for n, tokens in zip(places.tolist(), coded.take(places).tokens(), strict=True):
        found[n] = _by_script("".join(tokens)) or found[n]
    return found


def _by_script(text: str) -> str | None:
    scripts: Counter[str] = Counter()
    for letter, times in Counter(_WRITTEN.findall(text)).items():
        for name, first, last in _SCRIPTS:
            if first <= ord(letter) <= last:
                scripts[name] += times
    # Kana makes Japanese of a text that is mostly Chinese characters.
    if scripts["ja"]:
        scripts["ja"] += scripts["zh"]
    if scripts:
        language, letters = scripts.most_common(1)[0]
        if letters >= 2 and letters > sum(map(str.isalpha, text)) / 2:
            return language
    return None


def base(language: str | None) -> str | None:
    """`en` of en-US, EN or en_GB; None where nothing is said."""
    if not language or not language.strip():
        return None
    return language.strip().lower().replace("_", "-").split("-")[0]


def majority(languages: Iterable[str | None]) -> str | None:
    """The language of most texts, of those that can be told."""
    counts = Counter(each for each in languages if each)
    return min(counts, key=lambda each: (-counts[each], each)) if counts else None

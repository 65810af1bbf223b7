"""Which language a text is in, where its source does not say: by script and frequent words.

Not a classifier of all languages: it tells a text that is clearly in another language than the
model's. A text too short to tell is None, and is scored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

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


def detect(tokens: Sequence[str]) -> str | None:
    """ISO 639-1 of a text's tokens, or None where they are too few to tell."""
    text = "".join(tokens)
    if not text.isascii():
        scripts = Counter(
            name
            for letter in text
            for name, first, last in _SCRIPTS
            if first <= ord(letter) <= last
        )
        # Kana makes Japanese of a text that is mostly Chinese characters.
        if scripts["ja"]:
            scripts["ja"] += scripts["zh"]
        if scripts:
            language, letters = scripts.most_common(1)[0]
            if letters >= 2 and letters > sum(map(str.isalpha, text)) / 2:
                return language
    seen = set(tokens)
    hits = sorted(((len(seen & words), name) for name, words in _WORDS.items()), reverse=True)
    (first, language), (second, _) = hits[0], hits[1]
    return language if first >= 2 and first > 2 * second else None


def base(language: str | None) -> str | None:
    """`en` of en-US, EN or en_GB; None where nothing is said."""
    if not language or not language.strip():
        return None
    return language.strip().lower().replace("_", "-").split("-")[0]


def majority(languages: Iterable[str | None]) -> str | None:
    """The language of most texts, of those that can be told."""
    counts = Counter(each for each in languages if each)
    return min(counts, key=lambda each: (-counts[each], each)) if counts else None

"""Polarity lexicons: how positive or negative words are, and the words that negate them.

The English one is that of VADER (Hutto and Gilbert 2014) in the package `nltk-vader-sentiment`. A
model stores the lexicon that it was fitted with.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.sentiment.text.languages import (
    detect_languages,
    most_common_language,
)
from batch_predictions.models.sentiment.text.token_ids import TokenIds

LANGUAGE = "en"
"""The language of the only lexicon that a maintained package has."""
NEGATION_REACH = 3
"""Words after a negation whose polarity it turns around."""
NEGATION_FACTOR = -0.74
"""The factor of a negated word's polarity, as in VADER."""
FEATURES = 7
"""Columns of `PolarityLexicon.features`."""


@dataclass(frozen=True)
class PolarityLexicon:
    """Polarities of words, and negations.

    Attributes:
        polarities: by word, negative to positive, at most about 1 in size.
        negations: words that turn around the polarity of the words after them.
    """

    polarities: dict[str, float]
    negations: tuple[str, ...]

    @cached_property
    def _negating(self) -> frozenset[str]:
        return frozenset(self.negations)

    def features(self, token_ids: TokenIds) -> Doubles:
        """Computes seven features of each text from the polarities of its words, (texts, 7).

        Sum, mean, maximum and minimum; log(1 + n) of the positive and of the negative words; a sum
        that saturates, s / sqrt(s² + 1). A text without words of the lexicon has zeros.
        """
        distinct, rows = token_ids.distinct, token_ids.rows
        by_id = np.array([self.polarities.get(token, 0.0) for token in distinct])
        negates = np.array([t in self._negating or t.endswith("n't") for t in distinct], bool)
        features = np.zeros((len(rows), FEATURES))
        if not len(rows.values):
            return features
        polarity, is_negation = by_id[rows.values], negates[rows.values]
        text = np.repeat(np.arange(len(rows)), rows.lengths)
        is_negated = np.zeros(len(text), bool)
        for distance in range(1, NEGATION_REACH + 1):
            is_same_text = text[distance:] == text[:-distance]
            is_negated[distance:] |= is_negation[:-distance] & is_same_text
        polarity = np.where(is_negated, NEGATION_FACTOR * polarity, polarity)
        found = polarity != 0
        polarity, text = polarity[found], text[found]
        total = np.bincount(text, polarity, minlength=len(rows))
        positive = np.bincount(text[polarity > 0], minlength=len(rows))
        negative = np.bincount(text[polarity < 0], minlength=len(rows))
        highest, lowest = np.full(len(rows), -np.inf), np.full(len(rows), np.inf)
        np.maximum.at(highest, text, polarity)
        np.minimum.at(lowest, text, polarity)
        count = positive + negative
        features[:, 0] = total
        features[:, 1] = total / np.maximum(count, 1)
        features[:, 2] = np.where(count, highest, 0)
        features[:, 3] = np.where(count, lowest, 0)
        features[:, 4] = np.log1p(positive)
        features[:, 5] = np.log1p(negative)
        features[:, 6] = total / np.sqrt(total**2 + 1)
        return features


def has_lexicon(token_ids: TokenIds) -> bool:
    """Returns whether there is a lexicon of the most frequent language of the texts."""
    return most_common_language(detect_languages(token_ids)) == LANGUAGE


def read_lexicon() -> PolarityLexicon:
    """Reads VADER's lexicon."""
    from vader import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    # VADER's valences are -4 to 4.
    polarities = {word: valence / 4 for word, valence in sorted(analyzer.lexicon.items())}
    return PolarityLexicon(polarities, tuple(sorted(analyzer.negations)))

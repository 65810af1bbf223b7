"""`lexicon_lr`: the regression of `char_lr` with the polarities of a lexicon as further features.

A lexicon knows words that the labelled texts do not have. A stored model has its own copy of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.sentiment.models.base import SentimentModelSpec
from batch_predictions.models.sentiment.models.linear_chars import CharNGramModel, CharParameters
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.polarity_lexicon import (
    FEATURES,
    PolarityLexicon,
    read_lexicon,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

LEXICON_SCALE = 0.3
"""Standard deviation of a lexicon's feature; rows of character n-grams have length 1."""


class LexiconModel(CharNGramModel):
    """Weights of character n-grams and of a lexicon's features by class."""

    kind = "char_lexicon"

    def __init__(self) -> None:
        super().__init__()
        self.lexicon = PolarityLexicon({}, ())
        self.mean: Doubles = np.zeros(FEATURES)
        self.scale: Doubles = np.ones(FEATURES)

    def _fit_features(self, documents: Documents) -> csr_matrix:
        self.lexicon = read_lexicon()
        features = self.lexicon.features(documents.token_ids)
        self.mean = features.mean(axis=0)
        deviation = features.std(axis=0)
        self.scale = LEXICON_SCALE / np.where(deviation > 0, deviation, 1.0)
        super()._fit_features(documents)
        return self._features(documents)

    def _features(self, documents: Documents) -> csr_matrix:
        from scipy.sparse import csr_matrix, hstack

        polarities = (self.lexicon.features(documents.token_ids) - self.mean) * self.scale
        columns = [super()._features(documents), csr_matrix(polarities.astype(np.float32))]
        return hstack(columns).tocsr()

    def save(self, folder: Path) -> None:
        """Writes what `char_lr` writes, the lexicon as JSON, and the scaling of its features."""
        super().save(folder)
        lexicon = {"polarities": self.lexicon.polarities, "negations": self.lexicon.negations}
        (folder / "lexicon.json").write_text(json.dumps(lexicon, ensure_ascii=False), "utf-8")
        np.save(folder / "lexicon_mean.npy", self.mean)
        np.save(folder / "lexicon_scale.npy", self.scale)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        model = super().load(folder)
        lexicon = json.loads((folder / "lexicon.json").read_text("utf-8"))
        model.lexicon = PolarityLexicon(lexicon["polarities"], tuple(lexicon["negations"]))
        model.mean = np.load(folder / "lexicon_mean.npy")
        model.scale = np.load(folder / "lexicon_scale.npy")
        return model


lexicon_lr = SentimentModelSpec("lexicon_lr", LexiconModel, "linear", CharParameters, averaged=True)

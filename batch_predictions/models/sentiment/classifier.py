"""What is stored and scores: one part, or several whose log-scores are averaged, and a decision.

Parts are fitted to the classes as they occur, so that their probabilities are those of the data;
then a class that is rare is never the likeliest. The probabilities given are therefore adjusted:
divided by the class's share to the power tau (Menon et al. 2021), which the held-out macro-F1
chooses. The sentiment is the likeliest class of the adjusted ones, and `as_they_occur` takes the
adjustment back, for shares of a product.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from batch_predictions.models.common.ranking_metrics import Doubles
from batch_predictions.models.sentiment.data import Labels
from batch_predictions.models.sentiment.metrics import macro_f1
from batch_predictions.models.sentiment.models.base import (
    Floats,
    SentimentModel,
    is_imbalanced,
    log_softmax,
)
from batch_predictions.models.sentiment.text.documents import Documents

TAUS = tuple(np.round(np.arange(0, 1.21, 0.1), 1).tolist())
TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5)


def part_kinds() -> dict[str, type[SentimentModel]]:
    """Every kind of part, by the name that stands in a stored classifier."""
    from batch_predictions.models.sentiment.models.encoder import EncoderModel
    from batch_predictions.models.sentiment.models.linear import LinearModel
    from batch_predictions.models.sentiment.models.nets import NetModel

    return {each.kind: each for each in (LinearModel, NetModel, EncoderModel)}


@dataclass
class Classifier:
    """Parts with what turns their scores into probabilities and a decision.

    Attributes:
        parts: one or several; without any, nothing could be learned and nothing is scored.
        classes: number of classes.
        temperature: the mean log-score is divided by it.
        prior: share of every class where it was fitted, (classes,).
        tau: how far probabilities are adjusted for rare classes.
        confusion: mean adjusted probabilities (columns) by true class (rows) on held-out reviews.
        weights: share of every part in the mean log-score; without any they are equal.
    """

    parts: list[SentimentModel]
    classes: int
    prior: Doubles
    temperature: float = 1.0
    tau: float = 0.0
    confusion: Doubles | None = None
    weights: tuple[float, ...] | None = None

    def probabilities(self, documents: Documents) -> Floats:
        """Adjusted probabilities, (n, classes)."""
        if not len(documents):
            return np.zeros((0, self.classes), np.float32)
        return np.exp(log_softmax(self._adjusted(self.mean_scores(documents))))

    def mean_scores(self, documents: Documents) -> Floats:
        """Mean over the parts of log-probabilities, (n, classes): summed logits, halved."""
        scores = [log_softmax(part.log_scores(documents)) for part in self.parts]
        return np.asarray(np.average(scores, axis=0, weights=self.weights), np.float32)

    def tune(self, documents: Documents, labels: Labels, textbook: bool = False) -> None:
        """Chooses temperature by likelihood and tau by macro-F1 on held-out reviews.

        Args:
            textbook: choose nothing: classes are equally likely beforehand, as in a regression
                with balanced class weights.
        """
        scores = self.mean_scores(documents)
        if textbook:
            self.tau = 1.0
        else:
            rows = np.arange(len(labels))
            loss = {t: -log_softmax(scores / t)[rows, labels].mean() for t in TEMPERATURES}
            self.temperature = min(TEMPERATURES, key=lambda t: loss[t])
            # With classes of a size there is nothing to adjust, and noise would choose.
            if is_imbalanced(self.prior):
                self.tau = self._best_tau(scores, labels)
        adjusted = np.exp(log_softmax(self._adjusted(scores)))
        self.confusion = np.stack(
            [
                adjusted[labels == each].mean(axis=0)
                if (labels == each).any()
                else np.eye(self.classes)[each]
                for each in range(self.classes)
            ]
        ).astype(np.float64)

    def _best_tau(self, scores: Floats, labels: Labels) -> float:
        """The middle of the taus whose macro-F1 is within half a point of the best."""
        reached = []
        for tau in TAUS:
            self.tau = tau
            guess = self._adjusted(scores).argmax(axis=1)
            reached.append(macro_f1(labels, guess, self.classes))
        near = [tau for tau, f1 in zip(TAUS, reached, strict=True) if f1 >= max(reached) - 0.005]
        return float(near[len(near) // 2])

    def _adjusted(self, scores: Floats) -> Floats:
        prior = np.log(np.maximum(self.prior, 1e-6))
        return np.asarray(scores / self.temperature - self.tau * prior, np.float32)

    def undo_prior_shift(self, probabilities: Doubles) -> Doubles:
        """Adjusted probabilities with the adjustment taken back, (n, classes)."""
        back = probabilities * np.maximum(self.prior, 1e-6) ** self.tau
        return np.asarray(back / back.sum(axis=1, keepdims=True))

    def to_bf16(self) -> Self:
        """Nets in the fastest arithmetic that this processor has."""
        for part in self.parts:
            getattr(part, "to_bf16", lambda: None)()
        return self

    def save(self, folder: Path) -> None:
        """A folder for every part, and the decision as JSON."""
        about = {
            "classes": self.classes,
            "prior": self.prior.tolist(),
            "temperature": self.temperature,
            "tau": self.tau,
            "confusion": None if self.confusion is None else self.confusion.tolist(),
            "parts": [part.kind for part in self.parts],
            "weights": self.weights,
        }
        (folder / "classifier.json").write_text(json.dumps(about, indent=1), "utf-8")
        for number, part in enumerate(self.parts):
            (folder / f"part-{number}").mkdir()
            part.save(folder / f"part-{number}")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        about = json.loads((folder / "classifier.json").read_text("utf-8"))
        kinds = part_kinds()
        parts = [kinds[k].load(folder / f"part-{n}") for n, k in enumerate(about["parts"])]
        confusion, weights = about["confusion"], about.get("weights")
        return cls(
            parts,
            about["classes"],
            np.array(about["prior"]),
            about["temperature"],
            about["tau"],
            None if confusion is None else np.array(confusion),
            None if weights is None else tuple(weights),
        )

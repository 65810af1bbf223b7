"""The sentiment of every review, weekly."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa

from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext
from batch_predictions.inference.validation import Check
from batch_predictions.models.sentiment.eligibility import assess_texts
from batch_predictions.models.sentiment.language_classifiers import LanguageClassifiers
from batch_predictions.models.sentiment.models.net import NET_FILE
from batch_predictions.models.sentiment.text.documents import SORT_WINDOW, Documents
from batch_predictions.models.sentiment.text.labelled_reviews import CLASSES
from batch_predictions.predictions import sentiment_plots as plots
from batch_predictions.tables import REVIEW_SENTIMENTS

UNTRAINED = (
    "there were too few labelled reviews to train a model: provide ratings or labels (see "
    "`batch-predictions models list`)"
)


class ReviewScorer:
    """Scores reviews: probabilities of the classes, and the sentiment.

    A text is scored by the classifier of its language. Where there is none it is not scored; the
    reason names its language.
    """

    version: ClassVar[str] = "2"

    def __init__(self, classifiers: LanguageClassifiers) -> None:
        self.classifiers = classifiers

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        """Loads the classifiers, in the fastest precision of the device."""
        assert context.model is not None
        return cls(LanguageClassifiers.load(context.model).to_device(context.device))

    @classmethod
    def uses_gpu(cls, model: Path | None) -> bool:
        """Returns whether one of a model's classifiers is a neural net."""
        return model is not None and next(model.rglob(NET_FILE), None) is not None

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Scores reviews (review_id, item_id, text, language, simulated)."""
        documents = Documents(rows["text"].to_pylist())
        assessed = assess_texts(documents, rows["language"].to_pylist(), self.classifiers.languages)
        languages, reasons = assessed.languages, assessed.reasons
        if not self.classifiers.is_trained:
            reasons = [UNTRAINED] * len(reasons)
        scored = np.array([n for n, reason in enumerate(reasons) if reason is None], np.int64)
        probabilities = np.full((rows.num_rows, len(CLASSES)), np.nan)
        probabilities[scored] = self.classifiers.probabilities(
            documents.take(scored), [languages[n] for n in scored.tolist()]
        )
        # In single precision rows sum to 1 only approximately.
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        likeliest = np.nan_to_num(probabilities).argmax(axis=1).tolist()
        sentiments = [
            CLASSES[k] if reason is None else None
            for k, reason in zip(likeliest, reasons, strict=True)
        ]
        return pa.RecordBatch.from_pydict(
            {
                "review_id": rows["review_id"],
                "item_id": rows["item_id"],
                "sentiment": pa.array(sentiments, pa.string()),
                **{f"p_{name}": pa.array(probabilities[:, k]) for k, name in enumerate(CLASSES)},
                "simulated": rows["simulated"],
                "language": pa.array(languages, pa.string()),
                EXCLUDED: pa.array(reasons, pa.string()),
            }
        )


review_sentiments = BatchPrediction(
    table=REVIEW_SENTIMENTS,
    key=("review_id",),
    rows="""
        select review_id, item_id, text, language, coalesce(simulated, false) as simulated
        from raw.reviews where date >= $week and date <= $week + 6
        qualify row_number() over (partition by review_id order by date desc) = 1
    """,
    scorer=ReviewScorer,
    model="sentiment",
    # Batches are formed within a window of texts sorted by length; smaller shards need more
    # padding.
    shard_rows=SORT_WINDOW,
    checks=(
        Check(
            "probabilities_sum_to_one",
            "Probabilities of a review sum to 1, and the sentiment is the likeliest.",
            """select count(*) from new_rows where abs(p_negative + p_neutral + p_positive - 1)
                > 1e-6 or greatest(p_negative, p_neutral, p_positive) <> case sentiment
                when 'negative' then p_negative when 'neutral' then p_neutral
                else p_positive end""",
        ),
    ),
    plot=plots.plot_probabilities,
)

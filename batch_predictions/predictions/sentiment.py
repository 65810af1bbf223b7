"""The sentiment of every review and of every reviewed item, weekly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from batch_predictions.inference.declaration import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext
from batch_predictions.inference.validation import Check
from batch_predictions.models.sentiment.arrays import Doubles
from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.data import CLASSES
from batch_predictions.models.sentiment.eligibility import exclusion_reasons
from batch_predictions.models.sentiment.item_aggregates import (
    MIN_REVIEWS_PER_SIDE,
    change_p_value,
    corrected_shares,
    wilson_interval,
)
from batch_predictions.models.sentiment.models.batching import SORT_WINDOW
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.predictions import sentiment_plots as plots
from batch_predictions.settings import Settings
from batch_predictions.tables import ITEM_SENTIMENTS, REVIEW_SENTIMENTS

UNTRAINED = (
    "there were too few labelled reviews to train a model: provide ratings or labels (see "
    "`batch-predictions models list`)"
)


def parameters(settings: Settings) -> Mapping[str, Any]:
    """Parameters of `ItemScorer`: the period of comparison, and when a change is marked."""
    config = settings.sentiment
    return {
        "baseline_weeks": config.baseline_weeks,
        "change_share": config.change_share,
        "min_change": config.min_change,
    }


class ReviewScorer:
    """Probabilities and sentiment of reviews.

    A text in another language than the model's is not scored; the reason names its language.
    """

    version: ClassVar[str] = "1"
    uses_gpu: ClassVar[bool] = False

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        """Loads the classifier, in the fastest precision of this machine."""
        assert context.model is not None
        return cls(Classifier.load(context.model).to_bf16())

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Scores reviews (review_id, item_id, text, language, simulated, expected)."""
        documents = Documents(rows["text"].to_pylist())
        reasons = exclusion_reasons(
            documents, rows["language"].to_pylist(), rows["expected"].to_pylist()
        )
        if not self.classifier.models:
            reasons = [UNTRAINED] * len(reasons)
        scored = np.array([n for n, reason in enumerate(reasons) if reason is None], np.int64)
        probabilities = np.full((rows.num_rows, len(CLASSES)), np.nan)
        probabilities[scored] = self.classifier.probabilities(documents.take(scored))
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
                EXCLUDED: pa.array(reasons, pa.string()),
            }
        )


class ItemScorer:
    """Mean sentiment of items, and whether it changed against the weeks before.

    The reviews of these weeks are scored by the same model, so that a new model does not look like
    a change of opinion. The p-value of a change is that of a permutation test, times the number of
    items that are tested (Bonferroni).
    """

    version: ClassVar[str] = "1"
    uses_gpu: ClassVar[bool] = False

    def __init__(self, classifier: Classifier, context: ScorerContext) -> None:
        self.classifier = classifier
        self.significance = float(context.parameters["change_share"])
        self.min_change = float(context.parameters["min_change"])
        [tested_items] = context.lookup_table("tests")["items"].to_pylist()
        self.test_count = max(1, int(tested_items))

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        """Loads the classifier, in the fastest precision of this machine."""
        assert context.model is not None
        return cls(Classifier.load(context.model).to_bf16(), context)

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Scores items (item_id, reviews, before: texts with language, expected)."""
        items, reviews = rows["item_id"].to_pylist(), rows["reviews"].to_pylist()
        previous_nets = self._score_previous_reviews(rows)
        probabilities = [_probabilities(item_reviews) for item_reviews in reviews]
        means = np.stack([values.mean(axis=0) for values in probabilities])
        counts = np.array([len(values) for values in probabilities], np.float64)
        confusion = self.classifier.confusion
        if confusion is None:
            confusion = np.eye(len(CLASSES))
        corrected = corrected_shares(means, counts, confusion, self.classifier.prior)
        results = [
            self._score_item(items[n], reviews[n], probabilities[n], previous_nets[n], corrected[n])
            for n in range(len(items))
        ]
        return pa.RecordBatch.from_pylist(results, schema=_SCHEMA)

    def _score_previous_reviews(self, rows: pa.RecordBatch) -> list[Doubles]:
        """Net sentiment of every scorable review of the weeks before, an array per item."""
        texts, languages, expected, item_rows = [], [], [], []
        previous = zip(rows["before"].to_pylist(), rows["expected"].to_pylist(), strict=True)
        for n, (reviews, model_language) in enumerate(previous):
            for review in reviews or ():
                texts.append(review["text"])
                languages.append(review["language"])
                expected.append(model_language)
                item_rows.append(n)
        documents = Documents(texts)
        reasons = exclusion_reasons(documents, languages, expected)
        scored = np.flatnonzero(np.array([reason is None for reason in reasons], bool))
        if not len(scored):
            return [np.zeros(0)] * rows.num_rows
        item_of_review = np.array(item_rows, np.int64)[scored]
        adjusted = self.classifier.probabilities(documents.take(scored)).astype(np.float64)
        nets = _net(self.classifier.undo_prior_shift(adjusted))
        return [nets[item_of_review == n] for n in range(rows.num_rows)]

    def _score_item(
        self,
        item_id: str,
        reviews: Sequence[Mapping[str, Any]],
        probabilities: Doubles,
        previous_nets: Doubles,
        corrected: Doubles,
    ) -> dict[str, Any]:
        """A row of the result.

        Args:
            item_id: the item.
            reviews: its scored reviews of the week.
            probabilities: their probabilities, (reviews, classes).
            previous_nets: net sentiment of its reviews of the weeks before.
            corrected: see `corrected_shares`, (classes,).
        """
        unadjusted = self.classifier.undo_prior_shift(probabilities)
        shares = unadjusted.mean(axis=0)
        shares /= shares.sum()
        net = float(shares[2] - shares[0])
        lower, upper = wilson_interval(net, len(reviews))
        change = net - float(previous_nets.mean()) if len(previous_nets) else None
        # P-values above 100 times the threshold are not refined: they will not be significant.
        test_below = self.significance / self.test_count * 100
        p_value = change_p_value(_net(unadjusted), previous_nets, item_id, test_below)
        if p_value is not None:
            p_value = min(1.0, p_value * self.test_count)
        return {
            "item_id": item_id,
            "reviews": len(reviews),
            **{f"share_{name}": float(shares[k]) for k, name in enumerate(CLASSES)},
            "net_sentiment": net,
            "net_lower": lower,
            "net_upper": upper,
            "change": change,
            "example_review_ids": _example_review_ids(reviews, probabilities),
            "simulated": any(review["simulated"] for review in reviews),
            "reviews_before": len(previous_nets),
            "change_p": p_value,
            "changed": p_value is not None
            and p_value <= self.significance
            and change is not None
            and abs(change) >= self.min_change,
            **{f"corrected_{name}": float(corrected[k]) for k, name in enumerate(CLASSES)},
        }


def _probabilities(reviews: Sequence[Mapping[str, Any]]) -> Doubles:
    """The probabilities of scored reviews, (reviews, classes)."""
    return np.array([[review[f"p_{name}"] for name in CLASSES] for review in reviews])


def _net(probabilities: Doubles) -> Doubles:
    """Probability of positive less that of negative, (reviews,)."""
    return np.asarray(probabilities[:, 2] - probabilities[:, 0])


def _example_review_ids(reviews: Sequence[Mapping[str, Any]], probabilities: Doubles) -> list[str]:
    """The most certain review of each sentiment that occurs; ties go to the first id."""
    likeliest = probabilities.argmax(axis=1)
    review_ids = []
    for k in range(len(CLASSES)):
        of_class = np.flatnonzero(likeliest == k)
        if len(of_class):
            most_certain = of_class[probabilities[of_class, k].argmax()]
            review_ids.append(str(reviews[most_certain]["review_id"]))
    return review_ids


_SCHEMA = pa.schema(
    {
        "item_id": pa.string(),
        "reviews": pa.int64(),
        **{f"share_{name}": pa.float64() for name in CLASSES},
        "net_sentiment": pa.float64(),
        "net_lower": pa.float64(),
        "net_upper": pa.float64(),
        "change": pa.float64(),
        "example_review_ids": pa.list_(pa.string()),
        "simulated": pa.bool_(),
        "reviews_before": pa.int64(),
        "change_p": pa.float64(),
        "changed": pa.bool_(),
        **{f"corrected_{name}": pa.float64() for name in CLASSES},
    }
)

review_sentiments = BatchPrediction(
    table=REVIEW_SENTIMENTS,
    key=("review_id",),
    rows="""
        select review_id, item_id, text, language, coalesce(simulated, false) as simulated,
            $model_language::VARCHAR as expected
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
_SCORED = "select * from predictions.review_sentiments where week = $week"
_EARLIER_REVIEWS = """select item_id, text, language, date, review_id from raw.reviews
    where date < $week and date >= $week - 7 * $baseline_weeks::INTEGER"""
item_sentiments = BatchPrediction(
    table=ITEM_SENTIMENTS,
    key=("item_id",),
    rows=f"""
        with scored as (
            select item_id, list(struct_pack(review_id, p_negative, p_neutral, p_positive,
                simulated) order by review_id) as reviews
            from ({_SCORED}) group by item_id
        ),
        before as (
            select item_id, list(struct_pack(text, language) order by date, review_id) as before
            from ({_EARLIER_REVIEWS}) group by item_id
        )
        select scored.item_id, scored.reviews, before.before, $model_language::VARCHAR as expected
        from scored left join before on before.item_id = scored.item_id
    """,
    lookup_tables={
        # The number of items whose change is tested, for the Bonferroni correction.
        "tests": f"""select count(*) as items from
            (select item_id from ({_SCORED}) group by item_id
                having count(*) >= {MIN_REVIEWS_PER_SIDE})
            semi join
            (select item_id from ({_EARLIER_REVIEWS}) group by item_id
                having count(*) >= {MIN_REVIEWS_PER_SIDE})
            using (item_id)""",
    },
    scorer=ItemScorer,
    model="sentiment",
    parameters=parameters,
    checks=(
        Check(
            "every_scored_review_counts",
            "The items' reviews add up to the week's scored reviews.",
            f"""select abs((select coalesce(sum(reviews), 0) from new_rows)
                - (select count(*) from ({_SCORED})))::BIGINT""",
        ),
    ),
    plot=plots.plot_changes,
)

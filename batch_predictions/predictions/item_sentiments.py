"""The sentiment of every reviewed item, weekly, and whether it changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Doubles
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext, result_schema
from batch_predictions.inference.validation import Check
from batch_predictions.models.sentiment.eligibility import (
    Eligibility,
    assess_texts,
    summarise_exclusions,
)
from batch_predictions.models.sentiment.item_aggregates import (
    MIN_REVIEWS_PER_SIDE,
    change_p_value,
    wilson_interval,
)
from batch_predictions.models.sentiment.language_classifiers import LanguageClassifiers
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.labelled_reviews import CLASSES
from batch_predictions.predictions import sentiment_plots as plots
from batch_predictions.predictions.review_sentiments import UNTRAINED
from batch_predictions.settings import Settings
from batch_predictions.tables import ITEM_SENTIMENTS


def parameters(settings: Settings) -> Mapping[str, Any]:
    """Parameters of `ItemScorer`: the period of comparison, and when a change is marked."""
    config = settings.sentiment
    return {
        "baseline_weeks": config.baseline_weeks,
        "change_share": config.change_share,
        "min_change": config.min_change,
    }


class ItemScorer:
    """Mean sentiment of items, and whether it changed against the weeks before.

    The reviews of these weeks are scored by the same model, so that a new model does not look like
    a change of opinion. The p-value of a change is that of a permutation test, times the number of
    items that are tested (Bonferroni).
    """

    version: ClassVar[str] = "2"
    uses_gpu: ClassVar[bool] = False

    def __init__(self, classifiers: LanguageClassifiers, context: ScorerContext) -> None:
        self.classifiers = classifiers
        self.significance = float(context.parameters["change_share"])
        self.min_change = float(context.parameters["min_change"])
        [tested_items] = context.lookup_table("tests")["items"].to_pylist()
        self.test_count = max(1, int(tested_items))

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        """Loads the classifiers, in the fastest precision of this machine."""
        assert context.model is not None
        return cls(LanguageClassifiers.load(context.model).to_device("cpu"), context)

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Scores items (item_id, reviews, before and unscored: texts with language)."""
        items = rows["item_id"].to_pylist()
        reviews = [item_reviews or [] for item_reviews in rows["reviews"].to_pylist()]
        previous_nets = self._score_previous_reviews(rows)
        not_scored = self._summarise_unscored(rows)
        corrected = self._correct_shares(reviews)
        results = [
            self._score_item(items[n], reviews[n], previous_nets[n], corrected[n], not_scored[n])
            if reviews[n]
            else {"item_id": items[n], EXCLUDED: f"no review was scored: {not_scored[n][1]}"}
            for n in range(len(items))
        ]
        return pa.RecordBatch.from_pylist(results, schema=_SCHEMA)

    def _correct_shares(self, reviews: Sequence[Sequence[Mapping[str, Any]]]) -> Doubles:
        """Shares of the true classes of every item, (items, classes)."""
        flat = [review for item_reviews in reviews for review in item_reviews]
        items = np.repeat(np.arange(len(reviews)), [len(values) for values in reviews])
        return self.classifiers.corrected_shares(
            _probabilities(flat), _languages(flat), items, len(reviews)
        )

    def _summarise_unscored(self, rows: pa.RecordBatch) -> list[tuple[int, str | None]]:
        """Number of an item's reviews that were not scored, and why in short, by item."""
        _, item_rows, assessed = self._assess(rows["unscored"])
        by_item: list[list[tuple[str | None, str | None]]] = [[] for _ in range(rows.num_rows)]
        for n, language, reason in zip(
            item_rows, assessed.languages, assessed.reasons, strict=True
        ):
            by_item[n].append((language, reason or UNTRAINED))
        return [(len(entries), summarise_exclusions(entries)) for entries in by_item]

    def _score_previous_reviews(self, rows: pa.RecordBatch) -> list[Doubles]:
        """Net sentiment of every scorable review of the weeks before, an array per item."""
        documents, item_rows, assessed = self._assess(rows["before"])
        scored = np.flatnonzero(np.array([reason is None for reason in assessed.reasons], bool))
        if not len(scored) or not self.classifiers.is_trained:
            return [np.zeros(0)] * rows.num_rows
        item_of_review = np.array(item_rows, np.int64)[scored]
        languages = [assessed.languages[n] for n in scored.tolist()]
        adjusted = self.classifiers.probabilities(documents.take(scored), languages)
        nets = _net(self.classifiers.undo_prior_shift(adjusted, languages))
        return [nets[item_of_review == n] for n in range(rows.num_rows)]

    def _assess(self, column: pa.ListArray) -> tuple[Documents, list[int], Eligibility]:
        """All texts of a column of lists, the row of each, and which can be scored."""
        texts: list[dict[str, Any]] = []
        rows: list[int] = []
        for row, entries in enumerate(column.to_pylist()):
            texts += entries or []
            rows += [row] * len(entries or ())
        documents = Documents(text["text"] for text in texts)
        declared = [text["language"] for text in texts]
        return documents, rows, assess_texts(documents, declared, self.classifiers.languages)

    def _score_item(
        self,
        item_id: str,
        reviews: Sequence[Mapping[str, Any]],
        previous_nets: Doubles,
        corrected: Doubles,
        not_scored: tuple[int, str | None],
    ) -> dict[str, Any]:
        """Computes an item's row of the result.

        Args:
            item_id: the item.
            reviews: its scored reviews of the week.
            previous_nets: net sentiment of its reviews of the weeks before.
            corrected: see `corrected_shares`, (classes,).
            not_scored: number of its reviews of the week that were not scored, and why.
        """
        probabilities = _probabilities(reviews)
        unadjusted = self.classifiers.undo_prior_shift(probabilities, _languages(reviews))
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
            "reviews_not_scored": not_scored[0],
            "not_scored": not_scored[1],
        }


def _probabilities(reviews: Sequence[Mapping[str, object]]) -> Doubles:
    """The probabilities of scored reviews, (reviews, classes)."""
    rows = [[review[f"p_{name}"] for name in CLASSES] for review in reviews]
    return np.array(rows, np.float64).reshape(len(rows), len(CLASSES))


def _languages(reviews: Sequence[Mapping[str, Any]]) -> list[str | None]:
    return [review["language"] for review in reviews]


def _net(probabilities: Doubles) -> Doubles:
    """Probability of positive less that of negative, (reviews,)."""
    return np.asarray(probabilities[:, 2] - probabilities[:, 0])


def _example_review_ids(
    reviews: Sequence[Mapping[str, object]], probabilities: Doubles
) -> list[str]:
    """The most certain review of each sentiment that occurs; ties go to the first id."""
    likeliest = probabilities.argmax(axis=1)
    review_ids = []
    for k in range(len(CLASSES)):
        of_class = np.flatnonzero(likeliest == k)
        if len(of_class):
            most_certain = of_class[probabilities[of_class, k].argmax()]
            review_ids.append(str(reviews[most_certain]["review_id"]))
    return review_ids


_SCHEMA = result_schema(ITEM_SENTIMENTS)

_SCORED = "select * from predictions.review_sentiments where week = $week"
_EARLIER_REVIEWS = """select item_id, text, language, date, review_id from raw.reviews
    where date < $week and date >= $week - 7 * $baseline_weeks::INTEGER"""
item_sentiments = BatchPrediction(
    table=ITEM_SENTIMENTS,
    key=("item_id",),
    rows=f"""
        with scored as (
            select item_id, list(struct_pack(review_id, p_negative, p_neutral, p_positive,
                simulated, language) order by review_id) as reviews
            from ({_SCORED}) group by item_id
        ),
        unscored as (
            select item_id, list(struct_pack(text, language) order by review_id) as unscored
            from (
                select review_id, item_id, text, language from raw.reviews
                where date >= $week and date <= $week + 6
                qualify row_number() over (partition by review_id order by date desc) = 1
            ) as reviews
            anti join ({_SCORED}) as scored_reviews
            on scored_reviews.review_id = reviews.review_id
            group by item_id
        ),
        before as (
            select item_id, list(struct_pack(text, language) order by date, review_id) as before
            from ({_EARLIER_REVIEWS}) group by item_id
        )
        select coalesce(scored.item_id, unscored.item_id) as item_id, scored.reviews,
            before.before, unscored.unscored
        from scored full join unscored on unscored.item_id = scored.item_id
        left join before on before.item_id = coalesce(scored.item_id, unscored.item_id)
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

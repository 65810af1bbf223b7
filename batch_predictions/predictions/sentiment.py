"""What customers feel, every week: of every review, and of every reviewed item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from batch_predictions.inference.declaration import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext
from batch_predictions.inference.validation import Check
from batch_predictions.models.common.ranking_metrics import Doubles
from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.data import CLASSES
from batch_predictions.models.sentiment.item_aggregates import (
    LEAST,
    change_chance,
    corrected_shares,
    wilson,
)
from batch_predictions.models.sentiment.models.batching import WINDOW
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.languages import base, detect
from batch_predictions.predictions import sentiment_plots as plots
from batch_predictions.settings import Settings
from batch_predictions.tables import ITEM_SENTIMENTS, REVIEW_SENTIMENTS

UNTRAINED = (
    "too few labelled reviews to learn from by this week: give ratings or labels (see "
    "`batch-predictions models list`)"
)
NO_WORDS = "it has no words"


def parameters(settings: Settings) -> Mapping[str, Any]:
    """What item sentiments are compared with, and when a change is marked."""
    chosen = settings.sentiment
    return {
        "baseline_weeks": chosen.baseline_weeks,
        "change_share": chosen.change_share,
        "min_change": chosen.min_change,
    }


class ReviewScorer:
    """The likeliest sentiment and the probabilities of a text. A text in another language than the
    model's is not scored: it is in `exclusions`, with the language."""

    version: ClassVar[str] = "1"
    uses_gpu: ClassVar[bool] = False

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    @classmethod
    def open(cls, opening: ScorerContext) -> Self:
        """Opens the model, in the fastest arithmetic that this machine has."""
        assert opening.model is not None
        return cls(Classifier.load(opening.model).to_bf16())

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Sentiments of reviews (review_id, item_id, text, language, simulated, expected)."""
        documents = Documents(rows["text"].to_pylist())
        declared, expected = rows["language"].to_pylist(), rows["expected"].to_pylist()
        reasons = _unfit(documents, declared, expected)
        if not self.classifier.parts:
            reasons = [UNTRAINED] * len(reasons)
        places = np.array([n for n, each in enumerate(reasons) if each is None], np.int64)
        found = np.full((rows.num_rows, len(CLASSES)), np.nan)
        found[places] = self.classifier.probabilities(documents.take(places))
        # Of single precision, rows sum to 1 but for rounding: made exact.
        found /= found.sum(axis=1, keepdims=True)
        best = [None if each else CLASSES[n] for each, n in zip(reasons, _best(found), strict=True)]
        return pa.RecordBatch.from_pydict(
            {
                "review_id": rows["review_id"],
                "item_id": rows["item_id"],
                "sentiment": pa.array(best, pa.string()),
                **{f"p_{name}": pa.array(found[:, n]) for n, name in enumerate(CLASSES)},
                "simulated": rows["simulated"],
                EXCLUDED: pa.array(reasons, pa.string()),
            }
        )


def _best(probabilities: Doubles) -> list[int]:
    return [int(n) for n in np.nan_to_num(probabilities).argmax(axis=1)]


def _unfit(
    documents: Documents, declared: Sequence[str | None], expected: Sequence[str | None]
) -> list[str | None]:
    """Why each text is not scored; None where it is."""
    coded = documents.coded
    tells = np.array([len(word) > 1 or word.isalnum() for word in coded.words], bool)
    worded, detected = coded.any_of(tells).tolist(), detect(coded)
    return [
        _reason(base(said), by_words, wanted) if words else NO_WORDS
        for words, said, by_words, wanted in zip(worded, declared, detected, expected, strict=True)
    ]


def _reason(said: str | None, by_words: str | None, expected: str | None) -> str | None:
    own = said or by_words
    if expected is None or own is None or own == expected:
        return None
    how = "declared" if said else "by its words"
    return f"language {own} ({how}), and the model learned {expected}"


class ItemScorer:
    """The mean of its reviews' probabilities, as classes occur. The weeks before are scored by the
    same model, so that a new model is not taken for a change of heart. The chance of a change is
    of a permutation test, times the number of items tested (Bonferroni)."""

    version: ClassVar[str] = "1"
    uses_gpu: ClassVar[bool] = False

    def __init__(self, classifier: Classifier, opening: ScorerContext) -> None:
        self.classifier = classifier
        self.share = float(opening.parameters["change_share"])
        self.least = float(opening.parameters["min_change"])
        [tests] = opening.lookup_table("tests")["items"].to_pylist()
        self.tests = max(1, int(tests))

    @classmethod
    def open(cls, opening: ScorerContext) -> Self:
        """Opens the model."""
        assert opening.model is not None
        return cls(Classifier.load(opening.model).to_bf16(), opening)

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Sentiments of items (item_id, reviews, before: texts with language, expected)."""
        items, reviews = rows["item_id"].to_pylist(), rows["reviews"].to_pylist()
        earlier = self._before(rows)
        sums = [_probabilities(each) for each in reviews]
        raw = np.stack([each.mean(axis=0) for each in sums])
        counts = np.array([len(each) for each in sums], np.float64)
        confusion = self.classifier.confusion
        if confusion is None:
            confusion = np.eye(len(CLASSES))
        corrected = corrected_shares(raw, counts, confusion, self.classifier.prior)
        out = [
            self._item(items[n], reviews[n], sums[n], earlier[n], corrected[n])
            for n in range(len(items))
        ]
        return pa.RecordBatch.from_pylist(out, schema=_SCHEMA)

    def _before(self, rows: pa.RecordBatch) -> list[Doubles]:
        """Net sentiment of every review of the weeks before, by item."""
        texts, owner = [], []
        for n, (before, expected) in enumerate(
            zip(rows["before"].to_pylist(), rows["expected"].to_pylist(), strict=True)
        ):
            for each in before or ():
                texts.append((each["text"], each["language"], expected))
                owner.append(n)
        documents = Documents(text for text, _, _ in texts)
        reasons = _unfit(
            documents, [said for _, said, _ in texts], [wanted for _, _, wanted in texts]
        )
        fit = np.array([each is None for each in reasons], bool)
        kept = np.flatnonzero(fit)
        owners = np.array(owner, np.int64)[kept]
        found = self.classifier.probabilities(documents.take(kept)).astype(np.float64)
        net = _net(self.classifier.undo_prior_shift(found))
        return (
            [net[owners == n] for n in range(rows.num_rows)]
            if len(kept)
            else [np.zeros(0)] * rows.num_rows
        )

    def _item(
        self,
        item: str,
        reviews: Sequence[Mapping[str, Any]],
        probabilities: Doubles,
        before: Doubles,
        corrected: Doubles,
    ) -> dict[str, Any]:
        usual = self.classifier.undo_prior_shift(probabilities)
        shares = usual.mean(axis=0)
        shares /= shares.sum()
        net = float(shares[2] - shares[0])
        lower, upper = wilson(net, len(reviews))
        change = net - float(before.mean()) if len(before) else None
        chance = change_chance(_net(usual), before, item, self.share / self.tests * 100)
        adjusted = None if chance is None else min(1.0, chance * self.tests)
        return {
            "item_id": item,
            "reviews": len(reviews),
            **{f"share_{name}": float(shares[n]) for n, name in enumerate(CLASSES)},
            "net_sentiment": net,
            "net_lower": lower,
            "net_upper": upper,
            "change": change,
            "example_review_ids": _examples(reviews, probabilities),
            "simulated": any(each["simulated"] for each in reviews),
            "reviews_before": len(before),
            "change_p": adjusted,
            "changed": adjusted is not None
            and adjusted <= self.share
            and change is not None
            and abs(change) >= self.least,
            **{f"corrected_{name}": float(corrected[n]) for n, name in enumerate(CLASSES)},
        }


def _probabilities(reviews: Sequence[Mapping[str, Any]]) -> Doubles:
    return np.array([[each[f"p_{name}"] for name in CLASSES] for each in reviews])


def _net(probabilities: Doubles) -> Doubles:
    return np.asarray(probabilities[:, 2] - probabilities[:, 0])


def _examples(reviews: Sequence[Mapping[str, Any]], probabilities: Doubles) -> list[str]:
    """The most certain review of each sentiment that there is; ties go to the first id."""
    best = probabilities.argmax(axis=1)
    found = []
    for each in range(len(CLASSES)):
        places = np.flatnonzero(best == each)
        if len(places):
            at = places[probabilities[places, each].argmax()]
            found.append(str(reviews[at]["review_id"]))
    return found


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
    # Sorted by length within a window, batches have little padding; in smaller shards more.
    shard_rows=WINDOW,
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
    plot=plots.distribution,
)
_SCORED = "select * from predictions.review_sentiments where week = $week"
_BEFORE = """select item_id, text, language, date, review_id from raw.reviews
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
            from ({_BEFORE}) group by item_id
        )
        select scored.item_id, scored.reviews, before.before, $model_language::VARCHAR as expected
        from scored left join before on before.item_id = scored.item_id
    """,
    lookup_tables={
        # How many items are compared: each test is judged among so many.
        "tests": f"""select count(*) as items from
            (select item_id from ({_SCORED}) group by item_id having count(*) >= {LEAST})
            semi join
            (select item_id from ({_BEFORE}) group by item_id having count(*) >= {LEAST})
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
    plot=plots.moved,
)

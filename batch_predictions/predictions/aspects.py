"""The terms that distinguish the positive from the negative reviews of an item, weekly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import pyarrow as pa

from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext, result_schema
from batch_predictions.models.sentiment.aspect_terms import background_shares, find_aspects
from batch_predictions.predictions import sentiment_plots as plots
from batch_predictions.settings import Settings
from batch_predictions.tables import ASPECTS

NO_ASPECTS = "no term distinguishes its positive from its negative reviews"


class AspectScorer:
    """Log-odds of terms in positive against negative reviews of an item.

    The prior is the week's reviews of all items (Monroe et al. 2008).
    """

    version: ClassVar[str] = "1"
    uses_gpu: ClassVar[bool] = False

    def __init__(self, context: ScorerContext) -> None:
        self.max_terms = int(context.parameters["aspects"])
        self.min_reviews = int(context.parameters["aspect_reviews"])
        texts = context.lookup_table("texts")
        columns = (texts[name].to_pylist() for name in ("text", "p_positive", "p_negative"))
        self.background = background_shares(zip(*columns, strict=True))

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        """Counts the terms of the week's reviews."""
        return cls(context)

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Terms of items (item_id, reviews: text, p_positive, p_negative, simulated)."""
        results: list[dict[str, object]] = []
        items = zip(rows["item_id"].to_pylist(), rows["reviews"].to_pylist(), strict=True)
        for item_id, reviews in items:
            aspects = find_aspects(
                [(row["text"], row["p_positive"], row["p_negative"]) for row in reviews],
                self.background,
                max_terms=self.max_terms,
                min_reviews=self.min_reviews,
            )
            if not aspects:
                results.append({"item_id": item_id, EXCLUDED: NO_ASPECTS})
            simulated = any(row["simulated"] for row in reviews)
            results += [
                {
                    "item_id": item_id,
                    "term": aspect.term,
                    "direction": "up" if aspect.log_odds > 0 else "down",
                    "log_odds": aspect.log_odds,
                    "reviews": aspect.reviews,
                    "z": aspect.z,
                    "simulated": simulated,
                }
                for aspect in aspects
            ]
        return pa.RecordBatch.from_pylist(results, schema=_SCHEMA)


_SCHEMA = result_schema(ASPECTS)


def parameters(settings: Settings) -> Mapping[str, object]:
    """Parameters of `AspectScorer`: numbers of terms and of reviews that contain a term."""
    config = settings.sentiment
    return {"aspects": config.aspects, "aspect_reviews": config.aspect_reviews}


_TEXTS = """select review_id, any_value(text order by date desc) as text from raw.reviews
    where date >= $week and date <= $week + 6 group by review_id"""
_SCORED = f"""select scored.item_id, scored.review_id, texts.text, scored.p_positive,
    scored.p_negative, scored.simulated
    from predictions.review_sentiments as scored
    join ({_TEXTS}) as texts on texts.review_id = scored.review_id
    where scored.week = $week"""
aspects = BatchPrediction(
    table=ASPECTS,
    key=("item_id",),
    rows=f"""
        select item_id, list(struct_pack(text, p_positive, p_negative, simulated)
            order by review_id) as reviews
        from ({_SCORED}) group by item_id having count(*) >= $aspect_reviews::INTEGER
    """,
    eligible="""
        select distinct item_id, 'fewer than ' || $aspect_reviews::INTEGER
            || ' scored reviews (sentiment.aspect_reviews)' as reason
        from raw.reviews where date >= $week and date <= $week + 6
    """,
    # A sample is enough to estimate how often a term occurs.
    lookup_tables={
        "texts": f"""select text, p_positive, p_negative from ({_SCORED})
            order by review_id limit 20000"""
    },
    scorer=AspectScorer,
    parameters=parameters,
    plot=plots.plot_terms,
    kinds=frozenset({"duckdb"}),
)

"""Why customers feel so: the terms that push an item's sentiment up or down, every week."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import pyarrow as pa

from batch_predictions.inference.declaration import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext
from batch_predictions.models.sentiment.aspects import aspects as find_aspects
from batch_predictions.models.sentiment.aspects import background
from batch_predictions.predictions import sentiment_plots as plots
from batch_predictions.settings import Settings
from batch_predictions.tables import ASPECTS

NOTHING = "no term of its reviews tells pleased from displeased"


class AspectScorer:
    """Log-odds of terms in pleased against displeased reviews of the item, with all products'
    reviews of the week as a prior (Monroe et al. 2008)."""

    version: ClassVar[str] = "1"
    uses_gpu: ClassVar[bool] = False

    def __init__(self, opening: ScorerContext) -> None:
        self.most = int(opening.parameters["aspects"])
        self.least = int(opening.parameters["aspect_reviews"])
        said = opening.lookup_table("texts")
        columns = (said[name].to_pylist() for name in ("text", "p_positive", "p_negative"))
        self.usual = background(zip(*columns, strict=True))

    @classmethod
    def open(cls, opening: ScorerContext) -> Self:
        """Counts the terms of the week."""
        return cls(opening)

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Terms of items (item_id, reviews: text, p_positive, p_negative, simulated)."""
        out: list[dict[str, Any]] = []
        for item, reviews in zip(
            rows["item_id"].to_pylist(), rows["reviews"].to_pylist(), strict=True
        ):
            said = [(each["text"], each["p_positive"], each["p_negative"]) for each in reviews]
            found = find_aspects(said, self.usual, most=self.most, least_reviews=self.least)
            if not found:
                out.append({"item_id": item, EXCLUDED: NOTHING})
            simulated = any(each["simulated"] for each in reviews)
            for each in found:
                direction = "up" if each.log_odds > 0 else "down"
                out.append(
                    {
                        "item_id": item,
                        "term": each.term,
                        "direction": direction,
                        "log_odds": each.log_odds,
                        "reviews": each.reviews,
                        "z": each.z,
                        "simulated": simulated,
                    }
                )
        return pa.RecordBatch.from_pylist(out, schema=_SCHEMA)


_SCHEMA = pa.schema(
    {
        "item_id": pa.string(),
        "term": pa.string(),
        "direction": pa.string(),
        "log_odds": pa.float64(),
        "reviews": pa.int64(),
        "z": pa.float64(),
        "simulated": pa.bool_(),
        EXCLUDED: pa.string(),
    }
)


def parameters(settings: Settings) -> Mapping[str, Any]:
    """How many terms, and in how many reviews a term stands at least."""
    chosen = settings.sentiment
    return {"aspects": chosen.aspects, "aspect_reviews": chosen.aspect_reviews}


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
    # A sample by id is enough to say how often a term is said.
    lookup_tables={
        "texts": f"""select text, p_positive, p_negative from ({_SCORED})
            order by review_id limit 20000"""
    },
    scorer=AspectScorer,
    parameters=parameters,
    plot=plots.terms,
    kinds=frozenset({"duckdb"}),
)

"""Scores users: candidates of the serving model, business rules, reasons, rows of the table."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.inference.scorer import ScorerContext, ScorerMetric, with_metrics
from batch_predictions.inference.topk import Index
from batch_predictions.models.recommender.base import LinearRecommender, Ranking, Recommender
from batch_predictions.models.recommender.business_rules import Rules
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import encode_ids, positions_in
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.data.item_metadata import ItemMetadata
from batch_predictions.models.recommender.data.staged_histories import IdLookup, read_histories
from batch_predictions.models.recommender.explanations import explain_lists
from batch_predictions.models.recommender.generators.base import is_linear
from batch_predictions.models.recommender.ranker.two_stage import (
    TwoStageRecommender,
    is_two_stage,
    load_recommender,
)
from batch_predictions.predictions.recommendation_lists import RecommendationLists

BATCH_USERS = 256
"""Users whose candidates are held at a time."""
PROCESS_USERS = 20_000
"""Users from which two processes are sooner ready than two threads (`docs/performance.md`)."""
MIN_DEPTH_WITH_RULES = 500
"""Ranked items under rules: what is new, or of a rare category, may rank far down."""


class RecommendationScorer:
    """Lists of k items for users, ranked by the serving model and adjusted by the shop's rules.

    Candidates come from the history known on the day, so users who appeared after the training get
    a list too. Where fewer than k items are ranked, the list is filled up with trending items. The
    best candidates are kept with their scores.
    """

    version: ClassVar[str] = "14"
    dictionary_columns: ClassVar[tuple[str, ...]] = ("item_ids.list.element",)

    def __init__(self, model: Recommender, context: ScorerContext) -> None:
        self.model = model
        parameters = context.parameters
        self.k = int(parameters["k"])
        self.kept_scores = int(parameters["kept_scores"])
        self.exclude_seen = bool(parameters["exclude_seen"])
        self.rules = Rules(
            int(parameters["per_category"]),
            float(parameters["new_share"]),
            int(parameters["boost_places"]),
        )
        self.depth = max(self.k, self.kept_scores)
        if self.rules.per_category or self.rules.new_share:
            self.depth = max(self.depth, 20 * self.k, MIN_DEPTH_WITH_RULES)
        items = model.items
        self.lookup = IdLookup.of(items)
        metadata = model.metadata if isinstance(model, TwoStageRecommender) else None
        self.item_features = ItemFeatures.from_tables(
            context.lookup_table("item_stats"),
            items,
            ItemMetadata.from_table(metadata, items) if metadata is not None else None,
            context.lookup_table("promoted"),
        )
        promotions = self.item_features.promotions
        self.known_weeks = len(promotions.weeks) if promotions else 0
        self.planned_weeks = int(parameters["planned_weeks"])
        unavailable = context.lookup_table("unavailable")["item_id"].combine_chunks()
        excluded = pa.concat_arrays(
            [
                pc.cast(unavailable, pa.string()),
                pa.array(parameters["blocked_items"], pa.string()),
            ]
        )
        self.blocked = _is_in(items, excluded)
        self.index: Index | None = None
        if isinstance(model, LinearRecommender):
            self.index = Index(
                model.targets(),
                blocked=self.blocked,
                device=context.device,
                block_mb=context.block_mb,
            )
        boosted = context.lookup_table("boosted")["item_id"].combine_chunks()
        self.boosted = _is_in(items, boosted)
        self.categories = _category_codes(context.lookup_table("categories"), items)
        excluded_ids = set(excluded.to_pylist())
        trending = context.lookup_table("trending")["item_id"].to_pylist()
        self.lists = RecommendationLists(
            items,
            self.k,
            self.kept_scores,
            self.exclude_seen,
            [item for item in trending if item not in excluded_ids],
        )

    @classmethod
    def uses_gpu(cls, model: Path | None) -> bool:
        """Returns whether the search runs on a GPU: for a linear model that serves alone."""
        assert model is not None
        return is_linear(model)

    @classmethod
    def process_rows(cls, model: Path | None) -> int | None:
        """Returns the rows from which processes are faster than threads; None if they never are.

        They are for models of two stages; the loops of other models are compiled.
        """
        assert model is not None
        return PROCESS_USERS if is_two_stage(model) else None

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        """Opens the model's files, memory-mapped."""
        assert context.model is not None
        return cls(load_recommender(context.model), context)

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Lists of users; the columns of `rows` are those of the declaration's query."""
        batches = [
            self._score_batch(rows.slice(start, BATCH_USERS))
            for start in range(0, max(rows.num_rows, 1), BATCH_USERS)
        ]
        table = pa.Table.from_batches(batches).combine_chunks()
        result = table.to_batches(len(rows) * self.k + 1)[0]
        return with_metrics(result, self._metrics(rows.num_rows))

    def _metrics(self, users: int) -> dict[str, ScorerMetric]:
        """Reports the known weeks of promotions, where more than the coming one are planned."""
        if self.planned_weeks > 1 and users:
            return {"planned_weeks_known": ScorerMetric(mean=self.known_weeks, sample_size=users)}
        return {}

    def _score_batch(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        histories = read_histories(rows, self.lookup)
        ranking = self._rank(histories)
        # Without a history the model has no basis for scores; the demographic fallback serves.
        ranking.positions[np.diff(histories.indptr) == 0] = -1
        entries = histories.find_entries(ranking.positions)
        in_history = entries >= 0
        was_taken = in_history.copy()
        if len(histories.entry_is_target):
            was_taken &= histories.entry_is_target[np.maximum(entries, 0)]
        columns = self.rules.apply(
            ranking.positions,
            self.k,
            in_history=was_taken,
            categories=self.categories,
            boosted=self.boosted,
        )
        reasons = explain_lists(
            self.model,
            ranking,
            columns,
            histories,
            self.item_features,
            in_history,
            was_taken,
        )
        return self.lists.build(rows, ranking, columns, reasons)

    def _rank(self, histories: Histories) -> Ranking:
        """The best candidates of every user; a linear model's by exact top-k, on the device."""
        if self.index is None or not isinstance(self.model, LinearRecommender):
            return self.model.rank(
                histories,
                self.item_features,
                self.depth,
                exclude_seen=self.exclude_seen,
                blocked=self.blocked,
            )
        matrix = histories.matrix(self.model.history_half_life_days)
        seen = histories.seen_matrix() if self.exclude_seen else None
        queries = self.model.queries(matrix)
        return Ranking(*self.index.search(queries, self.depth, seen=seen))


def _is_in(items: pa.StringArray, ids: pa.Array) -> npt.NDArray[np.bool_]:
    """Returns whether each item is among some ids, (m,)."""
    is_in = pc.is_in(items, value_set=pc.cast(ids, pa.string()))
    return np.asarray(is_in.to_numpy(zero_copy_only=False), dtype=bool)


def _category_codes(table: pa.Table, items: pa.StringArray) -> npt.NDArray[np.int64]:
    """Numbers the category of every item, -1 where it is unknown, (m,)."""
    _, codes = encode_ids(table["category"])
    rows = positions_in(items, pc.cast(table["item_id"].combine_chunks(), pa.string()))
    is_unknown = pc.equal(table["category"].combine_chunks(), "unknown")
    codes = np.where(is_unknown.to_numpy(zero_copy_only=False), -1, codes).astype(np.int64)
    if not len(codes):
        return np.full(len(items), -1, dtype=np.int64)
    return np.where(rows >= 0, codes[np.maximum(rows, 0)], -1)

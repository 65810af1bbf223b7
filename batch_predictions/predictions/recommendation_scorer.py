"""Scores users: candidates of the serving model, business rules, reasons, rows of the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.inference.scorer import ScorerContext, ScorerMetric, with_metrics
from batch_predictions.models.recommender.base import LinearRecommender, Recommender
from batch_predictions.models.recommender.business_rules import Rules
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.data.item_metadata import ItemMetadata
from batch_predictions.models.recommender.data.staged_histories import IdLookup, read_histories
from batch_predictions.models.recommender.explanations import explain_lists
from batch_predictions.models.recommender.generators.base import gains_by_gpu
from batch_predictions.models.recommender.ranker.two_stage import (
    TwoStageRecommender,
    is_two_stage,
    load_recommender,
)
from batch_predictions.predictions.recommendation_lists import RecommendationLists

BATCH_USERS = 256
"""Users whose candidates are held at a time."""
PROCESS_USERS = 20_000
"""Users from which two processes are sooner ready than two threads (`performance.md`)."""


class RecommendationScorer:
    """Lists of k items for users, ranked by the serving model and adjusted by the shop's rules.

    Candidates come from the history known on the day, so users who appeared after the training get
    a list too. Where fewer than k items are ranked, the list is filled up with trending items. The
    best candidates are kept with their scores, and states of users where the model has them.
    """

    version: ClassVar[str] = "18"
    dictionary_columns: ClassVar[tuple[str, ...]] = ("item_ids.list.element",)

    def __init__(self, model: Recommender, context: ScorerContext) -> None:
        self.model = model
        parameters = context.parameters
        self.k = int(parameters["k"])
        self.kept_scores = int(parameters["kept_scores"])
        self.exclude_seen = bool(parameters["exclude_seen"])
        items = model.items
        self.rules = Rules.from_table(
            context.lookup_table("rules"), items, parameters["limits"], parameters["new_share"]
        )
        self.depth = max(self.rules.depth(self.k), self.kept_scores)
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
        unavailable = pc.cast(
            context.lookup_table("unavailable")["item_id"].combine_chunks(), pa.string()
        )
        is_blocked = pc.is_in(items, value_set=unavailable).to_numpy(zero_copy_only=False)
        self.blocked = np.asarray(is_blocked, dtype=bool)
        if isinstance(model, LinearRecommender):
            model.use_device(context.device, context.block_mb)
        trending = context.lookup_table("trending")["item_id"].to_pylist()
        self.lists = RecommendationLists(
            items, self.k, self.kept_scores, self.exclude_seen, trending, self.rules
        )

    @classmethod
    def uses_gpu(cls, model: Path | None) -> bool:
        """Returns whether a GPU searches: for a linear model that serves alone and gains by it."""
        assert model is not None
        return gains_by_gpu(model)

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
        states = self.model.user_states(histories)
        histories = replace(histories, states=states)
        ranking = self.model.rank(
            histories,
            self.item_features,
            self.depth,
            exclude_seen=self.exclude_seen,
            blocked=self.blocked,
        )
        # Without a history the model has no basis for scores; the demographic fallback serves.
        ranking.positions[np.diff(histories.indptr) == 0] = -1
        entries = histories.find_entries(ranking.positions)
        in_history = entries >= 0
        was_taken = in_history.copy()
        if len(histories.entry_is_target):
            was_taken &= histories.entry_is_target[np.maximum(entries, 0)]
        columns = self.rules.apply(ranking.positions, self.k, was_taken)
        reasons = explain_lists(
            self.model,
            ranking,
            columns,
            histories,
            self.item_features,
            in_history,
            was_taken,
        )
        return self.lists.build(rows, ranking, columns, reasons, states)

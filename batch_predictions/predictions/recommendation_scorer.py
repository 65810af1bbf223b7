"""Scores users: candidates of the serving model, business rules, reasons, rows of the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.inference.scorer import (
    EXCLUDED,
    ScorerContext,
    ScorerMetric,
    with_metrics,
)
from batch_predictions.inference.topk import Index
from batch_predictions.models.recommender.base import (
    LinearRecommender,
    Positions,
    Ranking,
    Recommender,
)
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import encode_ids, positions_in
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.data.item_metadata import ItemMetadata
from batch_predictions.models.recommender.explanations import (
    BOUGHT_BEFORE,
    TRENDING,
    explain_lists,
)
from batch_predictions.models.recommender.registry import is_linear, load
from batch_predictions.models.recommender.rules import Rules
from batch_predictions.models.recommender.two_stage import TwoStageRecommender

NO_HISTORY = "no interaction so far: a lookup returns the demographic fallback"
NOTHING_LEFT = "every item is unavailable or was seen: a lookup returns the demographic fallback"
BATCH_USERS = 256
"""Users whose candidates are held at a time."""
MIN_DEPTH_WITH_RULES = 500
"""Ranked items under rules: what is new, or of a rare category, may rank far down."""


class RecommendationScorer:
    """Lists of k items for users, ranked by the serving model and adjusted by the shop's rules.

    Candidates come from the history known on the day, so users who appeared after the training get
    a list too. Where fewer than k items are ranked, the list is filled up with trending items. The
    best candidates are kept with their scores.
    """

    version: ClassVar[str] = "12"
    # Matrix products, trees and compiled loops all release the GIL.
    workers: ClassVar[str] = "threads"

    def __init__(self, model: Recommender, context: ScorerContext) -> None:
        self.model = model
        parameters = context.parameters
        self.k = int(parameters["k"])
        self.kept_scores = int(parameters["kept_scores"])
        self.exclude_seen = bool(parameters["exclude_seen"])
        self.exact_reasons = bool(parameters["exact_reasons"])
        self.rules = Rules(
            int(parameters["per_category"]),
            float(parameters["new_share"]),
            int(parameters["boost_places"]),
        )
        self.depth = max(self.k, self.kept_scores)
        if self.rules.per_category or self.rules.new_share:
            self.depth = max(self.depth, 20 * self.k, MIN_DEPTH_WITH_RULES)
        items = model.items
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
        self.trending = [item for item in trending if item not in excluded_ids]

    @classmethod
    def uses_gpu(cls, model: Path | None) -> bool:
        """For a linear model that serves alone, whose search runs there; all else is CPU work."""
        assert model is not None
        return is_linear(model)

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        """Opens the model's files, memory-mapped."""
        assert context.model is not None
        return cls(load(context.model), context)

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
        """How many weeks of promotions were known, where more than the coming one are planned."""
        if self.planned_weeks > 1 and users:
            return {"planned_weeks_known": ScorerMetric(mean=self.known_weeks, sample_size=users)}
        return {}

    def _score_batch(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        histories = Histories.from_rows(rows, self.model.items)
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
            by_feature=self.exact_reasons,
        )
        return self._build_lists(rows, ranking, columns, reasons)

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

    def _build_lists(
        self,
        rows: pa.RecordBatch,
        ranking: Ranking,
        columns: Positions,
        reasons: npt.NDArray[np.object_],
    ) -> pa.RecordBatch:
        """One row per item, or one row with the reason why a user has none."""
        has_history = pc.fill_null(pc.greater(pc.list_value_length(rows["item_ids"]), 0), False)
        is_item = (columns >= 0) & has_history.to_numpy(zero_copy_only=False)[:, np.newaxis]
        users, ranks = np.nonzero(is_item)
        picked = users, columns[users, ranks]
        ranked = _list_rows(
            user=pa.array(users),
            rank=pa.array(ranks + 1),
            item_id=self.model.items.take(pa.array(ranking.positions[picked])),
            score=pa.array(ranking.scores[picked].astype(np.float64)),
            reason=pa.array(reasons[users, ranks], pa.string()),
        )
        rest = self._complete_lists(rows, ranked, is_item.sum(axis=1), has_history)
        lists = pa.concat_tables([ranked, rest]).sort_by(
            [("user", "ascending"), ("rank", "ascending")]
        )
        row_user = lists["user"].to_numpy()
        first_rows = np.searchsorted(row_user, np.arange(rows.num_rows))
        candidates = self._candidate_lists(ranking, first_rows, len(lists))
        user_ids = pc.cast(rows["user_id"], pa.string()).take(pa.array(row_user))
        lists = lists.set_column(0, "user_id", user_ids).append_column("item_scores", candidates)
        return lists.combine_chunks().to_batches(len(lists) + 1)[0]

    def _complete_lists(
        self,
        rows: pa.RecordBatch,
        ranked: pa.Table,
        sizes: npt.NDArray[np.int64],
        has_history: pa.BooleanArray,
    ) -> pa.Table:
        """Rows that fill up lists of fewer than k items, and exclusions of users without any."""
        events = _EventLists(rows)
        starts = np.cumsum(sizes) - sizes
        added: list[dict[str, Any]] = []
        for user in np.flatnonzero(sizes < self.k).tolist():
            if not has_history[user].as_py():
                added.append({"user": user, EXCLUDED: NO_HISTORY})
                continue
            size = int(sizes[user])
            list_rows = ranked.slice(int(starts[user]), size)
            lowest = min(list_rows["score"].to_pylist(), default=0.0)
            taken = events.taken_items(user)
            ranked_items = list_rows["item_id"].to_pylist()
            for item in self._fill_up(ranked_items, events.seen_items(user)):
                size += 1
                reason = BOUGHT_BEFORE if item in taken else TRENDING
                row = {"user": user, "rank": size, "item_id": item, "score": lowest}
                added.append({**row, "reason": reason})
            if not size:
                added.append({"user": user, EXCLUDED: NOTHING_LEFT})
        return pa.Table.from_pylist(added, LIST_ROWS)

    def _fill_up(self, ranked_items: list[str], seen: set[str]) -> list[str]:
        """Trending items for a list that has fewer than k, without seen items if so set."""
        missing = self.k - len(ranked_items)
        items: list[str] = []
        for item in self.trending:
            if len(items) >= missing:
                break
            if item not in ranked_items and not (self.exclude_seen and item in seen):
                items.append(item)
        return items

    def _candidate_lists(
        self, ranking: Ranking, first_rows: npt.NDArray[np.int64], rows: int
    ) -> pa.ListArray:
        """The best candidates and scores of each user, as a list on the user's first row."""
        positions = ranking.positions[:, : self.kept_scores]
        scores = ranking.scores[:, : self.kept_scores]
        is_item = positions >= 0
        lengths = np.zeros(rows, dtype=np.int64)
        lengths[first_rows] = is_item.sum(axis=1)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        items = pc.cast(self.model.items.take(pa.array(positions[is_item])), pa.string())
        values = pa.array(scores[is_item].astype(np.float64))
        entries = pa.StructArray.from_arrays([items, values], names=["item_id", "score"])
        is_null = np.ones(rows, dtype=bool)
        is_null[first_rows] = False
        return pa.ListArray.from_arrays(pa.array(offsets), entries, mask=pa.array(is_null))


class _EventLists:
    """Items of the users of staged rows by kind of event."""

    def __init__(self, rows: pa.RecordBatch) -> None:
        self.items = rows["item_ids"]
        names = rows.schema.names
        self.targets = rows["targets"] if "targets" in names else None
        self.seen = rows["is_seen"] if "is_seen" in names else None

    def taken_items(self, row: int) -> set[str]:
        """Items with an event of a target type."""
        return self._items_where(row, self.targets)

    def seen_items(self, row: int) -> set[str]:
        """Items that are barred where seen items are excluded."""
        return self._items_where(row, self.seen)

    def _items_where(self, row: int, flags: pa.ListArray | None) -> set[str]:
        items = self.items[row].as_py() or ()
        if flags is None:
            return set(items)
        return {item for item, flag in zip(items, flags[row].as_py(), strict=True) if flag}


LIST_ROWS = pa.schema(
    {
        "user": pa.int64(),
        "rank": pa.int64(),
        "item_id": pa.string(),
        "score": pa.float64(),
        "reason": pa.string(),
        EXCLUDED: pa.string(),
    }
)
"""Rows of recommendations; `user` is the row of the batch."""


def _list_rows(**columns: pa.Array) -> pa.Table:
    """Rows of lists, none of which is an exclusion."""
    columns[EXCLUDED] = pa.nulls(len(columns["user"]), pa.string())
    return pa.table(columns).cast(LIST_ROWS)


def _is_in(items: pa.StringArray, ids: pa.Array) -> npt.NDArray[np.bool_]:
    """Whether each item is among some ids, (m,)."""
    is_in = pc.is_in(items, value_set=pc.cast(ids, pa.string()))
    return np.asarray(is_in.to_numpy(zero_copy_only=False), dtype=bool)


def _category_codes(table: pa.Table, items: pa.StringArray) -> npt.NDArray[np.int64]:
    """The category of every item as a number, -1 where it is unknown, (m,)."""
    _, codes = encode_ids(table["category"])
    rows = positions_in(items, pc.cast(table["item_id"].combine_chunks(), pa.string()))
    is_unknown = pc.equal(table["category"].combine_chunks(), "unknown")
    codes = np.where(is_unknown.to_numpy(zero_copy_only=False), -1, codes).astype(np.int64)
    if not len(codes):
        return np.full(len(items), -1, dtype=np.int64)
    return np.where(rows >= 0, codes[np.maximum(rows, 0)], -1)

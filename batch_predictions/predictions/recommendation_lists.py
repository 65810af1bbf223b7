"""Rows of recommendations: ranked items, what fills up a short list, and users without a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.core.arrays import Positions
from batch_predictions.inference.scorer import EXCLUDED
from batch_predictions.models.recommender.base import Ranking
from batch_predictions.models.recommender.business_rules import Rules
from batch_predictions.models.recommender.data.staged_histories import StagedItems
from batch_predictions.models.recommender.data.user_states import UserStates
from batch_predictions.models.recommender.explanations import BOUGHT_BEFORE, TRENDING

NO_HISTORY = "no interaction so far: a lookup returns the demographic fallback"
NOTHING_LEFT = "every item is unavailable or was seen: a lookup returns the demographic fallback"
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


@dataclass(frozen=True)
class RecommendationLists:
    """Builds the rows of users' lists.

    Attributes:
        items: ids of the model's items.
        k: items of a list.
        kept_scores: candidates of each user that are kept with their scores.
        exclude_seen: whether lists hold only new items.
        trending: items that fill up short lists, best first.
        rules: that the lists follow.
    """

    items: pa.StringArray
    k: int
    kept_scores: int
    exclude_seen: bool
    trending: Sequence[str]
    rules: Rules

    def build(
        self,
        rows: pa.RecordBatch,
        ranking: Ranking,
        columns: Positions,
        reasons: npt.NDArray[np.object_],
        states: UserStates | None = None,
    ) -> pa.RecordBatch:
        """Builds one row per item, or one row with the reason why a user has none.

        Args:
            rows: of the n users, as staged.
            ranking: their candidates.
            columns: columns of the ranking that are recommended, -1 at the end, (n, k).
            reasons: of each, (n, k).
            states: of the users; None where the model has none.
        """
        has_history = pc.fill_null(pc.greater(pc.list_value_length(rows["item_ids"]), 0), False)
        is_item = (columns >= 0) & has_history.to_numpy(zero_copy_only=False)[:, np.newaxis]
        users, ranks = np.nonzero(is_item)
        picked = users, columns[users, ranks]
        ranked = _list_rows(
            user=pa.array(users),
            rank=pa.array(ranks + 1),
            item_id=self.items.take(pa.array(ranking.positions[picked])),
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
        kept = states.to_lists(first_rows, len(lists)) if states else pa.nulls(len(lists))
        lists = lists.append_column("sequence_states", kept)
        return lists.combine_chunks().to_batches(len(lists) + 1)[0]

    def _complete_lists(
        self,
        rows: pa.RecordBatch,
        ranked: pa.Table,
        sizes: npt.NDArray[np.int64],
        has_history: pa.BooleanArray,
    ) -> pa.Table:
        """Rows that fill up lists of fewer than k items, and exclusions of users without any."""
        staged = StagedItems(rows)
        starts = np.cumsum(sizes) - sizes
        added: list[dict[str, object]] = []
        for user in np.flatnonzero(sizes < self.k).tolist():
            if not has_history[user].as_py():
                added.append({"user": user, EXCLUDED: NO_HISTORY})
                continue
            size = int(sizes[user])
            list_rows = ranked.slice(int(starts[user]), size)
            lowest = min(list_rows["score"].to_pylist(), default=0.0)
            taken = staged.taken(user)
            ranked_items = list_rows["item_id"].to_pylist()
            for item in self._fill_up(ranked_items, staged.seen(user)):
                size += 1
                reason = BOUGHT_BEFORE if item in taken else TRENDING
                row = {"user": user, "rank": size, "item_id": item, "score": lowest}
                added.append({**row, "reason": reason})
            if not size:
                added.append({"user": user, EXCLUDED: NOTHING_LEFT})
        return pa.Table.from_pylist(added, LIST_ROWS)

    def _fill_up(self, ranked_items: list[str], seen: set[str]) -> list[str]:
        """Trending items for a list that has fewer than k, without seen items if so set."""
        ranked = set(ranked_items)
        candidates = (
            item
            for item in self.trending
            if item not in ranked and not (self.exclude_seen and item in seen)
        )
        return self.rules.fill_up(ranked_items, candidates, self.k - len(ranked_items))

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
        items = pc.cast(self.items.take(pa.array(positions[is_item])), pa.string())
        values = pa.array(scores[is_item].astype(np.float64))
        entries = pa.StructArray.from_arrays([items, values], names=["item_id", "score"])
        is_null = np.ones(rows, dtype=bool)
        is_null[first_rows] = False
        return pa.ListArray.from_arrays(pa.array(offsets), entries, mask=pa.array(is_null))


def _list_rows(**columns: pa.Array) -> pa.Table:
    """Rows of lists, none of which is an exclusion."""
    columns[EXCLUDED] = pa.nulls(len(columns["user"]), pa.string())
    return pa.table(columns).cast(LIST_ROWS)

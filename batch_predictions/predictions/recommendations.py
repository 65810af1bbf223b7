"""The best items of every user, every day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.inference.declaration import BatchPrediction
from batch_predictions.inference.loading import Check
from batch_predictions.inference.scorer import EXCLUDED, Opening
from batch_predictions.inference.topk import Index
from batch_predictions.models.recommender.base import Recommender
from batch_predictions.models.recommender.data import histories_to_csr
from batch_predictions.reporting import axes
from batch_predictions.settings import Settings
from batch_predictions.sources import registry
from batch_predictions.tables import RECOMMENDATIONS
from batch_predictions.warehouse import Warehouse, as_date

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NO_HISTORY = "no interaction so far: looked up, the demographic fallback answers"
NOTHING_LEFT = "every item is unavailable or was seen: looked up, the demographic fallback answers"


class RecommendationScorer:
    """The user's vector is computed from the history known on the day, so whoever came after the
    training is served too; the best items are found by exact top-k, and what falls short of k is
    filled with what is trending."""

    version: ClassVar[str] = "2"
    # 7,407 users on two cores: one thread 16.1 s, two 9.4 s, two processes 23.7 s (their start).
    workers: ClassVar[str] = "threads"

    def __init__(self, model: Recommender, opening: Opening) -> None:
        self.model = model
        self.names: list[str] = model.items.to_pylist()
        self.k = int(opening.parameters["k"])
        self.exclude_seen = bool(opening.parameters["exclude_seen"])
        blocked = opening.side_table("unavailable")["item_id"].combine_chunks()
        self.index = Index(
            model.targets(),
            blocked=pc.is_in(model.items, value_set=blocked).to_numpy(zero_copy_only=False),
            device=opening.device,
            block_mb=opening.block_mb,
        )
        self.trending: list[str] = opening.side_table("trending")["item_id"].to_pylist()

    @classmethod
    def open(cls, opening: Opening) -> Self:
        """Opens the model's files, memory-mapped."""
        assert opening.model is not None
        return cls(Recommender.load(opening.model), opening)

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Lists of at most k items for users (user_id, item_ids, events)."""
        history = histories_to_csr(self.model.items, rows["item_ids"], rows["events"])
        known = np.diff(history.indptr) > 0
        picks, scores = self.index.search(
            self.model.queries(history), self.k, seen=history if self.exclude_seen else None
        )
        # A user of whom the model knows no item has a vector of zeros: its picks mean nothing.
        picks[~known] = -1
        causes = self.model.explain(history, picks)
        return self._lists(rows, picks, scores, causes)

    def _lists(
        self,
        rows: pa.RecordBatch,
        picks: npt.NDArray[np.int64],
        scores: npt.NDArray[np.float32],
        causes: npt.NDArray[np.int64],
    ) -> pa.RecordBatch:
        names = self.names
        out: dict[str, list[Any]] = {
            name: [] for name in ("user_id", "rank", "item_id", "score", "reason", EXCLUDED)
        }

        def add(user: str, rank: int | None, item: str | None, *rest: Any) -> None:
            for column, value in zip(out.values(), (user, rank, item, *rest), strict=True):
                column.append(value)

        histories = rows["item_ids"].to_pylist()
        for row, user in enumerate(rows["user_id"].to_pylist()):
            had = set(histories[row] or ())
            if not had:
                add(user, None, None, None, None, NO_HISTORY)
                continue
            found = [int(pick) for pick in picks[row] if pick >= 0]
            listed = set()
            for rank, pick in enumerate(found, start=1):
                item, cause = names[pick], int(causes[row, rank - 1])
                listed.add(item)
                reason = _reason(item, had, names[cause] if cause >= 0 else None)
                add(user, rank, item, float(scores[row, rank - 1]), reason, None)
            worst = float(scores[row, len(found) - 1]) if found else 0.0
            rank = len(found)
            for item in self.trending:
                if rank >= self.k:
                    break
                if item in listed or (self.exclude_seen and item in had):
                    continue
                rank += 1
                reason = "bought_before" if item in had else "trending"
                add(user, rank, item, min(worst, 0.0), reason, None)
            if not rank:
                add(user, None, None, None, None, NOTHING_LEFT)
        return pa.RecordBatch.from_pydict(out, schema=_SCHEMA)


_SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "rank": pa.int64(),
        "item_id": pa.string(),
        "score": pa.float64(),
        "reason": pa.string(),
        EXCLUDED: pa.string(),
    }
)


def _reason(item: str, had: set[str], cause: str | None) -> str:
    """Why an item is offered, in the vocabulary of the table."""
    if item in had:
        return "bought_before"
    return f"because_you_liked:{cause}" if cause else "trending"


def parameters(settings: Settings) -> Mapping[str, Any]:
    """k, whether seen items are left out, and how far back a history goes."""
    return {
        "k": settings.recommendations.k,
        "exclude_seen": registry.excludes_seen(settings),
        "history_days": settings.recommender.history_days,
    }


def plot(warehouse: Warehouse, day: str) -> Figure | None:
    """How often each item is offered: a flat curve offers the whole catalogue, a steep one hits."""
    counts = warehouse.query(
        """select count(*) as users from predictions.recommendations where date = $date
        group by item_id order by users desc""",
        {"date": as_date(day)},
    )["users"].to_pylist()
    if not counts:
        return None
    figure, ax = axes(f"Users to whom each of the {len(counts):,} offered items goes, {day}")
    ax.loglog(range(1, len(counts) + 1), counts, color="#4c78a8")
    ax.set_xlabel("items, most offered first", fontsize=9)
    ax.set_ylabel("users", fontsize=9)
    return figure


recommendations = BatchPrediction(
    table=RECOMMENDATIONS,
    key=("user_id",),
    rows="""
        with counts as (
            -- As the model was trained: an event fades by the half-life of its champion.
            select user_id, item_id, fsum(
                coalesce(pow(0.5, ($date - date) / $model_history_half_life_days::DOUBLE), 1)
            ) as events
            from raw.interactions
            where date <= $date and date > $date - $history_days::INTEGER
            group by user_id, item_id
        ),
        histories as (
            select user_id, list(item_id order by item_id) as item_ids,
                list(events order by item_id) as events
            from counts group by user_id
        )
        select users.user_id, histories.item_ids, histories.events
        from features.user_segments as users
        left join histories on histories.user_id = users.user_id
        where users.date = $date
    """,
    side={
        "unavailable": """select item_id from features.item_state
            where date = $date and not available order by item_id""",
        # Twice k and the longest history would always fill; 1,000 is that and cheap.
        "trending": """select activity.item_id from features.item_activity as activity
            join features.item_state as state
            on state.item_id = activity.item_id and state.date = $date
            where activity.date = $date and state.available
            order by activity.users_28d desc, activity.users_84d desc, activity.item_id
            limit 1000""",
    },
    scorer=RecommendationScorer,
    model="recommender",
    parameters=parameters,
    checks=(
        Check(
            "only_available_items",
            "No item is offered that is not available on the day.",
            """select count(*) from new_rows where item_id in
                (select item_id from features.item_state where date = $date and not available)""",
        ),
        Check(
            "ranks_are_complete",
            "The ranks of every user are 1 to n, n at most k.",
            """select count(*) from (select user_id from new_rows group by user_id
                having min(rank) <> 1 or max(rank) <> count(*) or count(*) > $k)""",
        ),
    ),
    plot=plot,
)

"""The best items of every user, every day."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.features.queries import sql
from batch_predictions.inference.declaration import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext, ScorerMetric, with_metrics
from batch_predictions.inference.topk import Index
from batch_predictions.inference.validation import Check
from batch_predictions.models.recommender.base import (
    Linear,
    Positions,
    Ranked,
    Recommender,
    is_linear,
)
from batch_predictions.models.recommender.data.histories import Histories, positions
from batch_predictions.models.recommender.data.interactions import encode
from batch_predictions.models.recommender.data.item_features import WANTED, ItemFacts, ItemTraits
from batch_predictions.models.recommender.explanations import BOUGHT_BEFORE, TRENDING, reasons
from batch_predictions.models.recommender.rules import Rules
from batch_predictions.models.recommender.two_stage import TwoStage
from batch_predictions.reporting import new_axes
from batch_predictions.settings import Settings
from batch_predictions.sources import registry
from batch_predictions.tables import ITEM_SCORES, RECOMMENDATIONS
from batch_predictions.warehouse import Warehouse, as_date

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NO_HISTORY = "no interaction so far: looked up, the demographic fallback answers"
NOTHING_LEFT = "every item is unavailable or was seen: looked up, the demographic fallback answers"
USERS = 512
"""Users whose candidates are held at one time."""


class RecommendationScorer:
    """Candidates of all generators from the history known on the day, so whoever came after the
    training is served too; ranked by the model, put under the shop's rules, and filled up with
    what is trending where they fall short of k. The best candidates are kept with their scores."""

    version: ClassVar[str] = "9"
    # Products, trees and compiled loops all let go of the interpreter's lock.
    workers: ClassVar[str] = "threads"

    def __init__(self, model: Recommender, opening: ScorerContext) -> None:
        self.model = model
        chosen = opening.parameters
        self.k = int(chosen["k"])
        self.kept = int(chosen["kept_scores"])
        self.exclude_seen = bool(chosen["exclude_seen"])
        self.rules = Rules(
            int(chosen["per_category"]), float(chosen["new_share"]), int(chosen["boost_places"])
        )
        self.depth = max(self.k, self.kept)
        if self.rules.per_category or self.rules.new_share:
            # What is new, or of a rare category, may stand far down.
            self.depth = max(self.depth, 20 * self.k, 500)
        items = model.items
        described = model.described if isinstance(model, TwoStage) else None
        self.facts = ItemFacts.from_tables(
            opening.lookup_table("wanted"),
            items,
            ItemTraits.from_table(described, items) if described is not None else None,
            opening.lookup_table("promoted"),
        )
        self.barred = pa.concat_arrays(
            [
                pc.cast(
                    opening.lookup_table("unavailable")["item_id"].combine_chunks(), pa.string()
                ),
                pa.array(chosen["blocked_items"], pa.string()),
            ]
        )
        self.blocked = _among(items, self.barred)
        self.index: Index | None = None
        promoted = self.facts.promoted
        self.weeks = len(promoted.weeks) if promoted else 0
        self.weeks_asked = int(chosen["planned_weeks"])
        if isinstance(model, Linear):
            self.index = Index(
                model.targets(),
                blocked=self.blocked,
                device=opening.device,
                block_mb=opening.block_mb,
            )
        self.boosted = _among(items, opening.lookup_table("boosted")["item_id"].combine_chunks())
        self.categories = _categories(opening.lookup_table("categories"), items)
        gone = set(self.barred.to_pylist())
        trending = opening.lookup_table("trending")["item_id"].to_pylist()
        self.trending = [item for item in trending if item not in gone]

    @classmethod
    def uses_gpu(cls, model: Path | None) -> bool:
        """For the search of a linear model that serves alone; trees and the products of generators
        are the processor's."""
        assert model is not None
        return is_linear(model)

    @classmethod
    def open(cls, opening: ScorerContext) -> Self:
        """Opens the model's files, memory-mapped."""
        assert opening.model is not None
        return cls(Recommender.load(opening.model), opening)

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Lists of at most k items for users (user_id, item_ids, ages, events, traits)."""
        parts = [
            self._score(rows.slice(start, USERS))
            for start in range(0, max(rows.num_rows, 1), USERS)
        ]
        whole = pa.Table.from_batches(parts).combine_chunks().to_batches(len(rows) * self.k + 1)[0]
        return with_metrics(whole, self._notes(rows.num_rows))

    def _notes(self, users: int) -> dict[str, ScorerMetric]:
        """How many weeks of promotions were known, where more than the coming one are asked for."""
        notes: dict[str, ScorerMetric] = {}
        if self.weeks_asked > 1 and users:
            notes["planned_weeks_known"] = ScorerMetric(mean=self.weeks, of=users)
        return notes

    def _score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        histories = Histories.from_rows(rows, self.model.items)
        ranked = self._ranked(histories)
        # Of a user without history the model knows nothing: the fallback knows better.
        ranked.positions[np.diff(histories.indptr) == 0] = -1
        known = histories.entry_of(ranked.positions) >= 0
        chosen = self.rules.apply(
            ranked.positions,
            self.k,
            known=known,
            categories=self.categories,
            boosted=self.boosted,
        )
        why = reasons(self.model, ranked, chosen, histories, self.facts, known)
        return self._lists(rows, ranked, chosen, why)

    def _ranked(self, histories: Histories) -> Ranked:
        """The best candidates of every user; a linear model's by exact top-k, on the device."""
        if self.index is None or not isinstance(self.model, Linear):
            return self.model.rank(
                histories,
                self.facts,
                self.depth,
                exclude_seen=self.exclude_seen,
                blocked=self.blocked,
            )
        taken = histories.matrix(self.model.history_half_life_days)
        seen = taken if self.exclude_seen else None
        queries = self.model.queries(taken)
        return Ranked(*self.index.search(queries, self.depth, seen=seen))

    def _lists(
        self,
        rows: pa.RecordBatch,
        ranked: Ranked,
        chosen: Positions,
        why: npt.NDArray[np.object_],
    ) -> pa.RecordBatch:
        """One row per item, or one that says why there is none; the scores stand on the first."""
        out: dict[str, list[Any]] = {
            name: [] for name in ("user_id", "rank", "item_id", "score", "reason", EXCLUDED)
        }
        firsts: list[int] = []

        def add(user: str, rank: int | None, item: str | None, *rest: Any) -> None:
            for column, value in zip(out.values(), (user, rank, item, *rest), strict=True):
                column.append(value)

        at = np.maximum(chosen, 0)
        picks = np.take_along_axis(ranked.positions, at, axis=1)
        scores = np.take_along_axis(ranked.scores, at, axis=1)
        sizes = (chosen >= 0).sum(axis=1)
        names = self.model.items.take(pa.array(np.maximum(picks, 0).ravel())).to_pylist()
        histories = rows["item_ids"].to_pylist()
        for row, user in enumerate(rows["user_id"].to_pylist()):
            firsts.append(len(out["user_id"]))
            had = set(histories[row] or ())
            if not had:
                add(user, None, None, None, None, NO_HISTORY)
                continue
            size = int(sizes[row])
            listed = names[row * self.k : row * self.k + size]
            for rank, item in enumerate(listed):
                add(user, rank + 1, item, float(scores[row, rank]), why[row, rank], None)
            worst = float(scores[row, :size].min()) if size else 0.0
            for item in self.trending:
                if size >= self.k:
                    break
                if item in listed or (self.exclude_seen and item in had):
                    continue
                size += 1
                reason = BOUGHT_BEFORE if item in had else TRENDING
                add(user, size, item, worst, reason, None)
            if not size:
                add(user, None, None, None, None, NOTHING_LEFT)
        columns = [pa.array(values, _TYPES[name]) for name, values in out.items()]
        kept = self._kept(ranked, np.array(firsts), len(out["user_id"]))
        return pa.RecordBatch.from_arrays([*columns, kept], names=[*out, "item_scores"])

    def _kept(self, ranked: Ranked, firsts: npt.NDArray[np.int64], rows: int) -> pa.ListArray:
        """The candidates and scores of each user, as a list on the user's first row."""
        places, scores = ranked.positions[:, : self.kept], ranked.scores[:, : self.kept]
        there = places >= 0
        lengths = np.zeros(rows, dtype=np.int64)
        lengths[firsts] = there.sum(axis=1)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        items = pc.cast(self.model.items.take(pa.array(places[there])), pa.string())
        worth = pa.array(scores[there].astype(np.float64))
        entries = pa.StructArray.from_arrays([items, worth], names=["item_id", "score"])
        none = np.ones(rows, dtype=bool)
        none[firsts] = False
        return pa.ListArray.from_arrays(pa.array(offsets), entries, mask=pa.array(none))


_TYPES = {
    "user_id": pa.string(),
    "rank": pa.int64(),
    "item_id": pa.string(),
    "score": pa.float64(),
    "reason": pa.string(),
    EXCLUDED: pa.string(),
}


def _among(items: pa.StringArray, some: pa.Array) -> npt.NDArray[np.bool_]:
    found = pc.is_in(items, value_set=pc.cast(some, pa.string()))
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=bool)


def _categories(table: pa.Table, items: pa.StringArray) -> npt.NDArray[np.int64]:
    """The category of every item as a number, -1 where none is known."""
    _, codes = encode(table["category"])
    rows = positions(items, pc.cast(table["item_id"].combine_chunks(), pa.string()))
    unknown = pc.equal(table["category"].combine_chunks(), "unknown")
    codes = np.where(unknown.to_numpy(zero_copy_only=False), -1, codes).astype(np.int64)
    if not len(codes):
        return np.full(len(items), -1, dtype=np.int64)
    return np.where(rows >= 0, codes[np.maximum(rows, 0)], -1)


def parameters(settings: Settings) -> Mapping[str, Any]:
    """k, the rules, and how far back a history goes."""
    chosen = settings.recommendations
    return {
        "k": chosen.k,
        "exclude_seen": registry.excludes_seen(settings),
        "per_category": chosen.per_category,
        "new_share": chosen.new_share,
        "boost_places": chosen.boost_places,
        "blocked_items": chosen.blocked_items,
        "boosted_campaigns": chosen.boosted_campaigns,
        "kept_scores": chosen.kept_scores,
        "history_days": settings.recommender.history_days,
        "planned_weeks": settings.recommender.planned_weeks,
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
    figure, ax = new_axes(f"Users to whom each of the {len(counts):,} offered items goes, {day}")
    ax.loglog(range(1, len(counts) + 1), counts, color="#4c78a8")
    ax.set_xlabel("items, most offered first", fontsize=9)
    ax.set_ylabel("users", fontsize=9)
    return figure


_EVENTS = """(
    select
        user_id, item_id, date, count(*)::DOUBLE as events,
        coalesce(epoch_ms(min(occurred_at)), 0) as moment,
        favg(amount::DOUBLE) filter (event_type = 'rating') as rating
    from raw.interactions
    where date <= $date::DATE and date > $date::DATE - $history_days::INTEGER group by all
)"""

recommendations = BatchPrediction(
    table=RECOMMENDATIONS,
    key=("user_id",),
    rows=f"""
        with histories as (
            select
                user_id,
                list(item_id order by item_id, date) as item_ids,
                list(($date::DATE - date)::INTEGER order by item_id, date) as ages,
                list(events order by item_id, date) as events,
                list(moment order by item_id, date) as moments,
                list(rating order by item_id, date) as ratings
            from {_EVENTS} group by user_id
        )
        select
            users.user_id, histories.item_ids, histories.ages, histories.events,
            histories.moments, histories.ratings,
            users.age_bracket, users.gender, users.location
        from features.user_segments as users
        left join histories on histories.user_id = users.user_id
        where users.date = $date
    """,
    lookup_tables={
        "unavailable": """select item_id from features.item_state
            where date = $date and not available order by item_id""",
        "categories": """select item_id, category from features.item_state
            where date = $date and available order by item_id""",
        # Twice k and the longest history would always fill; 1,000 is that and cheap.
        "trending": """select activity.item_id from features.item_activity as activity
            join features.item_state as state
            on state.item_id = activity.item_id and state.date = $date
            where activity.date = $date and state.available
            order by activity.users_28d desc, activity.users_84d desc, activity.item_id
            limit 1000""",
        "wanted": WANTED.format(events=_EVENTS),
        "promoted": sql("promoted_items"),
        "boosted": """select distinct item_id from raw.promotions
            where list_contains($boosted_campaigns::VARCHAR[], campaign_id)
            and starts_on <= $date::DATE + 1 and ends_on > $date::DATE order by item_id""",
    },
    scorer=RecommendationScorer,
    model="recommender",
    child_tables={"item_scores": ITEM_SCORES},
    parameters=parameters,
    looks_ahead=lambda settings: settings.recommender.planned_weeks,
    checks=(
        Check(
            "only_available_items",
            "No item is offered that is not available on the day, or is blocked.",
            """select count(*) from new_rows where item_id in
                (select item_id from features.item_state where date = $date and not available)
                or list_contains($blocked_items::VARCHAR[], item_id)""",
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

"""How far demographics are trusted: measured on users whose history is hidden.

The fallback serves people without a history. So the contest hides whole users, fold by fold, and
asks what they took after the cut, knowing only their age, gender and place. First the half-life of
taste is chosen with one list for everyone, then the weight of the segments (`kappa`) with that
half-life; infinity, one list for all, stays unless segments are better on average.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.models.demographic import (
    EVERYONE,
    TRAITS,
    UNKNOWN,
    DemographicModel,
    Leaf,
    Segment,
    SegmentCounts,
    SegmentRanker,
    leaves_of,
    segment_of,
)
from batch_predictions.models.ranking import (
    DEPTH,
    NDCG,
    Doubles,
    Interval,
    Positions,
    Row,
    bootstrap_interval,
    measures,
    metric_row,
    paired_difference,
    top_k,
)
from batch_predictions.models.recommender.data import Codes, Interactions
from batch_predictions.models.recommender.popularity import popularity_name

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

HALF_LIVES = (7, 14, 30, 90)
DEFAULT_HALF_LIFE = 30
KAPPAS = (30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0)
FOLDS = 5
DEMOGRAPHIC = "demographic"
NOBODY: Leaf = (UNKNOWN, UNKNOWN, UNKNOWN)


@dataclass(frozen=True)
class DemographicSelection:
    """The parameters that serve, and why.

    In `metrics`, `demographic` is the best finite kappa, whether or not it was chosen;
    `ndcg@10_gain` is its paired difference to one list for everyone.
    """

    model: DemographicModel
    why: str
    metrics: list[Row]
    split: Literal["time", "leave_out"]


def select_demographic(
    rows: pa.Table,
    segments: pa.Table,
    trained_through: date,
    *,
    holdout_days: int = 7,
    seed: int,
    min_users: int = 20,
    progress: Callable[[str], None] | None = None,
) -> DemographicSelection:
    """Choose half-life and kappa by cross-validation over users.

    `rows` has user_id, item_id, date, events; `segments` user_id, age_bracket, gender, location
    (users without a row are unknown). `min_users` is that of the segments which will be served.
    """
    known = Interactions.from_table(rows).up_to(trained_through)
    contest = _Contest(known, segments, trained_through, holdout_days, seed, min_users)
    if len(contest.asked) == 0 or not contest.before.any():
        days = "on its one day" if known.single_date else f"both sides of {contest.cut}"
        return DemographicSelection(
            DemographicModel(math.inf, DEFAULT_HALF_LIFE),
            f"One list serves everyone, with a half-life of {DEFAULT_HALF_LIFE} days: nothing "
            f"could be measured, since the data has no users to learn from and to ask {days}.",
            [],
            contest.split,
        )
    metrics: list[Row] = []
    lists: dict[float, dict[str, Doubles]] = {}
    for half_life in (math.inf, *HALF_LIVES):
        name = popularity_name(None if math.isinf(half_life) else half_life)
        if progress:
            progress(f"measuring {name} on users without history")
        lists[half_life] = contest.measure(half_life, [math.inf])[math.inf]
        metrics += contest.rows(name, lists[half_life])
    # Among equals the longest: it rests on most events.
    half_life = max(HALF_LIVES, key=lambda days: (lists[days][NDCG].mean(), days))
    everyone = lists[half_life]
    people = f"{len(contest.asked):,} users without history"
    chosen = (
        f"a half-life of {half_life} days is the best of {', '.join(map(str, HALF_LIVES))} with "
        f"NDCG@10 {everyone[NDCG].mean():.4f} over {people}"
    )
    if len(contest.leaves) < 2:
        kappa, verdict = math.inf, "One list serves everyone: no demographics tell users apart"
    else:
        if progress:
            progress(f"measuring segments with {len(KAPPAS)} weights")
        tilted = contest.measure(half_life, list(KAPPAS))
        kappa = max(KAPPAS, key=lambda weight: (tilted[weight][NDCG].mean(), weight))
        gain = paired_difference(tilted[kappa][NDCG], everyone[NDCG], seed)
        metrics += contest.rows(DEMOGRAPHIC, tilted[kappa])
        metrics.append(metric_row(DEMOGRAPHIC, f"{NDCG}_gain", gain))
        verdict = _verdict(kappa, tilted[kappa][NDCG], gain)
        # A difference of rounding is none.
        kappa = kappa if gain.mean > 1e-12 else math.inf
    return DemographicSelection(
        DemographicModel(kappa, half_life), f"{verdict}; {chosen}.", metrics, contest.split
    )


def _verdict(kappa: float, ndcgs: Doubles, gain: Interval) -> str:
    figures = (
        f"NDCG@10 {ndcgs.mean():.4f}, a difference of {gain.mean:+.4f} to one list for all "
        f"(95 % interval {gain.lower:+.4f} to {gain.upper:+.4f})"
    )
    if gain.mean > 1e-12:
        return f"Segments serve, drawn to their parents with kappa {kappa:g}: {figures}"
    return f"One list serves everyone, since segments (kappa {kappa:g}) are no better: {figures}"


class _Contest:
    """The users who are asked, in folds, and what each was right to be offered."""

    def __init__(
        self,
        known: Interactions,
        segments: pa.Table,
        through: date,
        holdout_days: int,
        seed: int,
        min_users: int,
    ) -> None:
        self.known, self.through, self.seed, self.min_users = known, through, seed, min_users
        self.cut = through - timedelta(days=holdout_days)
        everything = np.ones(len(known), dtype=bool)
        self.split: Literal["time", "leave_out"] = "time"
        self.before = known.dates <= np.datetime64(self.cut, "D")
        self.answers = ~self.before
        if known.single_date:
            # No times: hiding the user is all that can be done, and nothing has an age.
            self.split, self.cut = "leave_out", known.dates[0].item()
            self.before, self.answers = everything, everything
        self.asked: npt.NDArray[np.int64] = np.unique(known.users[self.answers]).astype(np.int64)
        self.leaves, self.leaf_of_user = _leaves(known.user_ids, segments)
        users = len(known.user_ids)
        self.folds = max(2, min(FOLDS, len(self.asked)))
        # Folds over all users in a seeded order, so that each fold has its share of the asked.
        self.fold = np.empty(users, dtype=np.int64)
        self.fold[np.random.default_rng(seed).permutation(users)] = np.arange(users) % self.folds

    @cached_property
    def relevant(self) -> csr_matrix:
        """Asked users x items: ones where a user took the item after the cut."""
        from scipy.sparse import csr_matrix

        asked = np.searchsorted(self.asked, self.known.users[self.answers])
        items = self.known.items[self.answers]
        shape = (len(self.asked), len(self.known.item_ids))
        matrix = csr_matrix((np.ones(len(items), dtype=np.float32), (asked, items)), shape=shape)
        matrix.sum_duplicates()
        matrix.data[:] = 1.0
        return matrix

    def rows(self, candidate: str, per_user: dict[str, Doubles]) -> list[Row]:
        return [
            metric_row(candidate, metric, bootstrap_interval(values, self.seed))
            for metric, values in per_user.items()
        ]

    def measure(self, half_life: float, kappas: list[float]) -> dict[float, dict[str, Doubles]]:
        """Per kappa and metric, one value for each asked user, served by the other folds."""
        hits = {kappa: np.zeros((len(self.asked), DEPTH), dtype=bool) for kappa in kappas}
        for fold in range(self.folds):
            members = np.flatnonzero(self.fold[self.asked] == fold)
            learned = self.before & (self.fold[self.known.users] != fold)
            counts, users = self._learn(learned, half_life)
            for kappa in kappas:
                ranker = SegmentRanker(kappa, counts, users)
                for group, top in self._lists(ranker, members):
                    right = self.relevant[group][:, np.maximum(top, 0)].toarray() > 0
                    hits[kappa][group] = right & (top >= 0)
        sizes = np.diff(self.relevant.indptr)
        return {kappa: measures(hit, sizes) for kappa, hit in hits.items()}

    def _learn(
        self, learned: npt.NDArray[np.bool_], half_life: float
    ) -> tuple[SegmentCounts, pa.Table]:
        """Weights per leaf and item, and users per leaf, of the learned rows."""
        users, weights = self.known.users[learned], self.known.events[learned]
        if not math.isinf(half_life):
            weights = weights * self.known.recency_weights(half_life, self.cut)[learned]
        counts = SegmentCounts.from_codes(
            self.leaves,
            self.known.item_ids,
            self.leaf_of_user[users],
            self.known.items[learned],
            weights,
        )
        sizes = np.bincount(self.leaf_of_user[np.unique(users)], minlength=len(self.leaves))
        traits = {trait: [leaf[i] for leaf in self.leaves] for i, trait in enumerate(TRAITS)}
        return counts, pa.table({**traits, "users": sizes})

    def _lists(
        self, ranker: SegmentRanker, members: npt.NDArray[np.int64]
    ) -> Iterator[tuple[npt.NDArray[np.int64], Positions]]:
        """Groups of asked users who are served one list, and that list (DEPTH,)."""
        groups: dict[tuple[str, Segment], list[npt.NDArray[np.int64]]] = {}
        if math.isinf(ranker.kappa):
            groups[EVERYONE, segment_of(EVERYONE, NOBODY)] = [members]
        else:
            leaves = self.leaf_of_user[self.asked[members]]
            for leaf in np.unique(leaves):
                key = ranker.serving(self.leaves[leaf], self.min_users)
                groups.setdefault(key, []).append(members[leaves == leaf])
        for (level, segment), parts in groups.items():
            shares = ranker.shares(level, segment)
            yield (
                np.concatenate(parts),
                top_k(np.where(shares > 0, shares, -np.inf)[np.newaxis], DEPTH)[0],
            )


def _leaves(user_ids: pa.StringArray, segments: pa.Table) -> tuple[list[Leaf], Codes]:
    """The leaves that occur, and each user's; the unknown leaf for users without a row."""
    row = pc.index_in(user_ids, value_set=pc.cast(segments["user_id"], pa.string()))
    known = segments.select(list(TRAITS)).take(row)
    return leaves_of(known)

"""What people of an age, a gender and a place take: the answer for whoever has no history.

A list is everyone's recency-weighted popularity, moved by the promotions of the coming week where
they are known (`demographic_calendar`), and tilted to the segment. There are two tilts, and
training decides which serves, if any:

- `SegmentTilt`, counts of the segment drawn to its parent's shares, the more so the fewer they are;
- `RidgeTilt`, a regression of what users take on their demographics (`demographic_ridge`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.models.common.ranking_metrics import Doubles, top_k
from batch_predictions.models.demographic.promotion_uplift import PromotionUplift
from batch_predictions.models.demographic.ridge import RidgeAdjustment
from batch_predictions.models.demographic.segments import (
    ALL,
    EVERYONE,
    PARENTS,
    Segment,
    SegmentAdjustment,
    SegmentCounts,
    SegmentShares,
    SegmentUsers,
    segment_of,
)
from batch_predictions.tables import SEGMENT_LEVELS as LEVELS
from batch_predictions.tables import TRAITS

MANIFEST = "demographic.json"


@dataclass(frozen=True)
class CountAdjustment:
    """Counts of the segment, shrunk to its parent segment.

    With n events of an item and N in all,

        p(item) = (n + kappa p_parent(item)) / (N + kappa),

    the posterior mean under a Dirichlet prior of weight `kappa` around the parent, which is
    empirical Bayes in the sense of Casella (1985), "An Introduction to Empirical Bayes Data
    Analysis". A thin segment so says what its parent says.
    """

    kind: ClassVar[str] = "segments"

    kappa: float
    """Prior weight in (recency-weighted) events; infinity: everyone's shares for all."""

    def __post_init__(self) -> None:
        if not self.kappa > 0:
            raise ValueError(f"demographic: `kappa` is {self.kappa}, and must be positive")

    def __str__(self) -> str:
        return f"kappa {self.kappa:g}"

    @property
    def places(self) -> bool:
        """Counts are by place too."""
        return True

    def fewest(self, min_users: int) -> int:
        """Counts need people: the setting."""
        return min_users

    def on(self, counts: SegmentCounts, users: SegmentUsers) -> SegmentShares:
        """Shrunk shares of segments; what is held is the parents' of recent ones."""

        def shrunk(level: str, segment: Segment) -> Doubles:
            if level == EVERYONE:
                return counts.shares()
            taken = counts.of(segment)
            parent = PARENTS[level]
            prior = held(parent, segment_of(parent, segment))
            shares = (taken + self.kappa * prior) / (taken.sum() + self.kappa)
            return np.asarray(shares, dtype=np.float64)

        held = lru_cache(maxsize=64)(shrunk)
        if math.isinf(self.kappa):
            return lambda level, segment: held(EVERYONE, ALL)
        return lambda level, segment: (held if level == EVERYONE else shrunk)(level, segment)


NO_ADJUSTMENT = CountAdjustment(math.inf)
"""Everyone's list for all: recency-weighted popularity."""


@dataclass(frozen=True)
class DemographicModel:
    """What training learns: how fast popularity ages, how segments differ, and what the coming
    week's promotions do (None: nothing that is known)."""

    half_life_days: float
    tilt: CountAdjustment | RidgeAdjustment = NO_ADJUSTMENT
    calendar: PromotionUplift | None = None

    def __post_init__(self) -> None:
        if not self.half_life_days > 0:
            raise ValueError("demographic: `half_life_days` must be positive")

    @property
    def tilted(self) -> bool:
        """Whether segments have lists of their own."""
        return self.tilt != NO_ADJUSTMENT

    def save(self, folder: Path) -> None:
        """Write `demographic.json` (an infinite kappa is null, which JSON can say) and what the
        tilt has learned."""
        folder.mkdir(parents=True, exist_ok=True)
        kappa = self.tilt.kappa if isinstance(self.tilt, CountAdjustment) else math.inf
        values = {
            "kind": "demographic",
            "tilt": self.tilt.kind,
            "kappa": kappa if math.isfinite(kappa) else None,
            "half_life_days": self.half_life_days,
            "calendar": asdict(self.calendar) if self.calendar else None,
        }
        (folder / MANIFEST).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
        if isinstance(self.tilt, RidgeAdjustment):
            self.tilt.save(folder)

    @staticmethod
    def load(folder: Path) -> DemographicModel:
        """Read what `save` wrote."""
        values = json.loads((folder / MANIFEST).read_text())
        tilt: CountAdjustment | RidgeAdjustment
        # Models of before there were two tilts do not name theirs.
        if values.get("tilt", CountAdjustment.kind) == RidgeAdjustment.kind:
            tilt = RidgeAdjustment.load(folder)
        else:
            tilt = (
                NO_ADJUSTMENT
                if values["kappa"] is None
                else CountAdjustment(float(values["kappa"]))
            )
        # Models of before there was a calendar have none.
        calendar = values.get("calendar")
        return DemographicModel(
            float(values["half_life_days"]),
            tilt,
            PromotionUplift(**calendar) if calendar else None,
        )

    def ranker(
        self, counts: pa.Table, users: pa.Table, changes: pa.Table | None = None
    ) -> SegmentRanker:
        """Ready to rank, from leaf counts (age_bracket, gender, location, item_id, weight, with
        weights of this half-life), users per leaf (age_bracket, gender, location, users) and the
        changes of promotions (item_id, display, mailer)."""
        by_leaf = SegmentCounts.from_table(counts)
        factor = None
        if self.calendar is not None and changes is not None:
            factor = self.calendar.on(changes, by_leaf.items)
        return SegmentRanker(self.tilt, by_leaf, SegmentUsers.from_table(users), factor)


class SegmentRanker:
    """The most likely items of segments."""

    def __init__(
        self,
        tilt: SegmentAdjustment,
        counts: SegmentCounts,
        users: SegmentUsers,
        factor: Doubles | None = None,
    ) -> None:
        """`factor` multiplies every segment's shares of the items."""
        self.counts, self.users, self.factor = counts, users, factor
        self.shares = tilt.on(counts, users)
        """p(item) over `counts.items` of a level's segment."""

    def top_k(self, wanted: pa.Table, k: int, blocked: pa.Array | None = None) -> pa.Table:
        """The k best items of each wanted segment, without the blocked ones.

        `wanted` has segment_level, age_bracket, gender, location. The answer repeats them, with
        rank (from 1), item_id, score (share) and support (users in the segment). Ties go to the
        lower item id; fewer than k rows where fewer items have been taken at all.
        """
        out: dict[str, list[npt.NDArray[np.generic]]] = {
            name: [] for name in ("row", "rank", "item", "score")
        }
        supports = np.zeros(wanted.num_rows, dtype=np.int64)
        barred = np.zeros(len(self.counts.items), dtype=bool)
        if blocked is not None and len(blocked):
            barred = pc.is_in(self.counts.items, value_set=pc.cast(blocked, pa.string())).to_numpy(
                zero_copy_only=False
            )
        for row, (level, segment) in enumerate(_keys(wanted)):
            supports[row] = self.users.count(level, segment)
            shares = self.shares(level, segment)
            if self.factor is not None:
                shares = shares * self.factor
                shares = shares / max(shares.sum(), 1e-300)
            scores = np.where((shares > 0) & ~barred, shares, -np.inf)
            best = top_k(scores[np.newaxis], k)[0]
            best = best[best >= 0]
            out["row"].append(np.full(len(best), row))
            out["rank"].append(np.arange(1, len(best) + 1))
            out["item"].append(best)
            out["score"].append(scores[best])
        nothing = np.empty(0, dtype=np.int64)
        rows, ranks, items = (
            np.concatenate([nothing, *out[name]]) for name in ("row", "rank", "item")
        )
        kept = wanted.select(["segment_level", *TRAITS]).take(pa.array(rows))
        columns = {
            "rank": pa.array(ranks, pa.int32()),
            "item_id": self.counts.items.take(pa.array(items)),
            "score": pa.array(np.concatenate([np.empty(0), *out["score"]]), pa.float64()),
            "support": pa.array(supports[rows], pa.int64()),
        }
        for name, column in columns.items():
            kept = kept.append_column(name, column)
        return kept


def _keys(wanted: pa.Table) -> Iterator[tuple[str, Segment]]:
    """Each row's level and segment."""
    columns = [wanted[name].to_pylist() for name in ("segment_level", *TRAITS)]
    for level, *values in zip(*columns, strict=True):
        if level not in LEVELS:
            raise ValueError(f"unknown segment level {level!r}; known are {list(LEVELS)}")
        yield level, segment_of(level, values)

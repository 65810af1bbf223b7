"""Generators that learn little or nothing: one's own history, one's segment, what is promoted."""

from __future__ import annotations

from datetime import date
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.models.recommender.base import Floats, Positions, Proposals, Recommender
from batch_predictions.models.recommender.data.histories import Histories, positions
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFacts
from batch_predictions.tables import TRAITS

RECENT = "recent_14"
"""How wanted a promoted item is, unless another count is named."""


def own_history_name(half_life_days: float | None) -> str:
    """The candidate's name in evaluation tables: own_history, own_history_90d."""
    return "own_history" if half_life_days is None else f"own_history_{half_life_days:g}d"


class OwnHistory(Recommender):
    """What the user takes most often, lately: strong wherever people take the same again."""

    kind = "own_history"

    @classmethod
    def fit(cls, interactions: Interactions, as_of: date, **params: Any) -> Self:
        """`half_life_days` (None: all events count alike) fades an event by its age."""
        half_life_days: float | None = params.pop("half_life_days", None)
        if params:
            raise TypeError(f"own_history: unknown parameters {sorted(params)}")
        name = own_history_name(half_life_days)
        return cls(name, interactions.item_ids, {"half_life_days": half_life_days}, {})

    def scores(self, histories: Histories, facts: ItemFacts | None = None) -> Floats:
        """Decayed events; nan for items that the user never took."""
        matrix = histories.matrix(self.params["half_life_days"]).tocoo()
        scores = np.full(matrix.shape, np.nan, dtype=np.float32)
        scores[matrix.row, matrix.col] = matrix.data
        return scores

    def propose(
        self,
        histories: Histories,
        facts: ItemFacts,
        k: int,
        *,
        exclude_seen: bool,
        blocked: npt.NDArray[np.bool_] | None = None,
    ) -> Proposals:
        """From the entries of the histories alone, however many items there are."""
        from batch_predictions.models.recommender.kernels import best_entries

        matrix = histories.matrix(self.params["half_life_days"])
        worth = matrix.data
        if exclude_seen:
            worth = np.full_like(worth, np.nan)
        elif blocked is not None:
            worth = np.where(blocked[matrix.indices], np.float32(np.nan), worth)
        places = np.empty((histories.users, k), dtype=np.int64)
        best_entries(matrix.indptr, matrix.indices, worth, k, places)

        def of(asked: Positions) -> Floats:
            entry = histories.entry_of(asked)
            if not len(worth):
                return np.full(asked.shape, np.nan, dtype=np.float32)
            return np.where(entry >= 0, worth[np.maximum(entry, 0)], np.float32(np.nan))

        return Proposals(places, of)

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """The pick itself, where it is in the history."""
        return np.where(histories.entry_of(picks) >= 0, picks, -1)


class SegmentTaste(Recommender):
    """What users of the same age and gender, and of the same place, take more than others do.

    Shares of items in a segment are drawn to everyone's by `kappa` events, and the score is
    everyone's share times both segments' tilts.
    """

    kind = "segment_taste"

    @classmethod
    def fit(cls, interactions: Interactions, as_of: date, **params: Any) -> Self:
        """Parameters: `traits` (user_id and TRAITS; None: nothing is known), `half_life_days`,
        `kappa`, `min_users` of a segment that counts, `segments` kept of each kind at most."""
        traits: pa.Table | None = params.pop("traits", None)
        half_life_days: float | None = params.pop("half_life_days", 30)
        kappa = float(params.pop("kappa", 3000.0))
        min_users = int(params.pop("min_users", 10))
        segments = int(params.pop("segments", 200))
        if params:
            raise TypeError(f"segment_taste: unknown parameters {sorted(params)}")
        rows = interactions.decayed(half_life_days, as_of)
        everyone = np.bincount(rows.items, rows.events, minlength=len(rows.item_ids))
        everyone = everyone / everyone.sum()
        names: dict[str, list[str]] = {}
        tilts: dict[str, npt.NDArray[Any]] = {}
        for kind in ("people", "place"):
            chosen, codes = _segments(kind, rows.user_ids, traits, min_users, segments)
            sums = np.zeros((len(chosen), len(everyone)))
            inside = codes[rows.users] >= 0
            np.add.at(sums, (codes[rows.users[inside]], rows.items[inside]), rows.events[inside])
            totals = sums.sum(axis=1, keepdims=True)
            shares = (sums + kappa * everyone) / (totals + kappa)
            tilts[kind] = np.log(shares / np.maximum(everyone, 1e-300)).astype(np.float32)
            names[kind] = chosen
        settings = {
            "half_life_days": half_life_days,
            "kappa": kappa,
            "min_users": min_users,
            "segments": segments,
            **names,
        }
        arrays = {**tilts, "everyone": np.log(np.maximum(everyone, 1e-12)).astype(np.float32)}
        return cls(cls.kind, rows.item_ids, settings, arrays)

    def scores(self, histories: Histories, facts: ItemFacts | None = None) -> Floats:
        """Logarithm of the share in the user's segments; nan where the user is in none."""
        scores = np.full((histories.users, len(self.items)), np.nan, dtype=np.float32)
        if histories.traits is None:
            return scores
        base = self.arrays["everyone"]
        for kind in ("people", "place"):
            among = pa.array(self.params[kind], pa.string())
            codes = positions(_names(kind, histories.traits), among)
            some = np.flatnonzero(codes >= 0)
            known = np.isfinite(scores[some])
            scores[some] = np.where(known, scores[some], base) + self.arrays[kind][codes[some]]
        return scores


class Promoted(Recommender):
    """What is promoted in the weeks that are known ahead, the more wanted first, in the user's shop
    before all."""

    kind = "promoted"

    @classmethod
    def fit(cls, interactions: Interactions, as_of: date, **params: Any) -> Self:
        """Learns nothing: the calendar and what is wanted come with the facts of the day; `wanted`
        is the count that says how wanted an item is (`facts.COUNTS`)."""
        held = {"wanted": params.pop("wanted", RECENT)}
        if params:
            raise TypeError(f"promoted: unknown parameters {sorted(params)}")
        return cls(cls.kind, interactions.item_ids, held, {})

    def scores(self, histories: Histories, facts: ItemFacts | None = None) -> Floats:
        """Wants times the share of shops that promote the item, summed over weeks, and as much
        again for each week in which the user's own shop does; nan where none does."""
        shape = (histories.users, len(self.items))
        scores = np.full(shape, np.nan, dtype=np.float32)
        if facts is None or facts.promoted is None:
            return scores
        strength, by_shop = facts.promoted.strength, facts.promoted.weeks_by_shop
        # Models of before had no choice.
        wanted = facts.share(self.params.get("wanted", RECENT))
        scores[:] = np.where(strength > 0, wanted * (0.1 + strength), np.nan)
        rows = shop_rows(histories, facts)
        for user in np.flatnonzero(rows >= 0):
            shop = by_shop[rows[user]]
            scores[user, shop.indices] += wanted[shop.indices] * shop.data
        return scores


def shop_rows(histories: Histories, facts: ItemFacts) -> npt.NDArray[np.int64]:
    """Each user's shop among those with promotions, -1 where it has none."""
    if facts.promoted is None or histories.traits is None:
        return np.full(histories.users, -1)
    return positions(_strings(histories.traits["location"]), facts.promoted.shops)


def _segments(
    kind: str, user_ids: pa.StringArray, traits: pa.Table | None, min_users: int, most: int
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Names of the segments that count, the largest first, and each user's (-1: none)."""
    if traits is None:
        return [], np.full(len(user_ids), -1)
    named = _names(kind, traits.take(pc.index_in(user_ids, value_set=_strings(traits["user_id"]))))
    counted = pc.value_counts(named.drop_null()).to_pylist()
    sizes = {entry["values"]: entry["counts"] for entry in counted}
    chosen = sorted((n for n in sizes if sizes[n] >= min_users), key=lambda n: (-sizes[n], n))[
        :most
    ]
    if len(chosen) < 2:
        return [], np.full(len(user_ids), -1)
    return chosen, positions(named, pa.array(chosen, pa.string()))


def _names(kind: str, traits: pa.Table) -> pa.StringArray:
    """Each row's segment; null where nothing of it is known."""
    age, gender, location = (
        pc.if_else(pc.equal(_strings(traits[name]), "unknown"), None, _strings(traits[name]))
        for name in TRAITS
    )
    if kind == "place":
        return location
    known = pc.or_(pc.is_valid(age), pc.is_valid(gender))
    both = pc.binary_join_element_wise(age.fill_null(""), gender.fill_null(""), "|")
    return pc.if_else(known, both, None)


def _strings(column: pa.ChunkedArray | pa.Array) -> pa.StringArray:
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pc.cast(flat, pa.string())

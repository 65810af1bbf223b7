"""Popularity: of all users, within demographic segments, and of the items on promotion.

With a half-life, that of all users is a strong baseline for personal models: in groceries and
films, the last two weeks predict the next one better than many models (Ji et al. 2020, "A Re-visit
of the Popularity Baseline in Recommender Systems").
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.core.arrays import Floats
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions, positions_in
from batch_predictions.models.recommender.data.item_features import (
    POPULARITY_HALF_LIVES,
    ItemFeatures,
    shop_of_user,
)
from batch_predictions.models.recommender.generators.base import Generator
from batch_predictions.models.recommender.generators.shared_scores import SharedScoresRecommender
from batch_predictions.tables import TRAITS


def popularity_name(half_life_days: float | None) -> str:
    """Names popularity in evaluation tables: popularity, recency_popularity_14d."""
    return "popularity" if half_life_days is None else f"recency_popularity_{half_life_days:g}d"


@dataclass(frozen=True)
class PopularityParams:
    """Parameters of the generator Popularity.

    Attributes:
        half_life_days: half-life of events, one of `POPULARITY_HALF_LIVES`; None: all count alike.
    """

    half_life_days: int | None = None


class Popularity(SharedScoresRecommender):
    """The most popular items as of the day of scoring."""

    kind = "popularity"
    Params = PopularityParams

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        as_of: date,
        params: PopularityParams | None = None,
        users: pa.Table | None = None,
    ) -> Self:
        """Learns which items there are; their popularity is read when scoring.

        Raises:
            ValueError: `half_life_days` is not one of `POPULARITY_HALF_LIVES`.
        """
        params = params or PopularityParams()
        half_life = params.half_life_days
        if half_life is not None and half_life not in POPULARITY_HALF_LIVES:
            half_lives = list(POPULARITY_HALF_LIVES)
            raise ValueError(f"popularity: half_life_days must be one of {half_lives} or None")
        return cls(interactions.item_ids, params, name=popularity_name(half_life))

    def segment_of_user(
        self, histories: Histories, item_features: ItemFeatures | None
    ) -> npt.NDArray[np.int64]:
        """Puts all users into one segment, (n,)."""
        return np.zeros(histories.users, dtype=np.int64)

    def segment_scores(self, segment: int, item_features: ItemFeatures | None) -> Floats:
        """Shares of all (decayed) events; nan without events, (m,)."""
        assert item_features is not None, "popularity is read from the day's item features"
        days = self.params.half_life_days
        shares = item_features.share("events" if days is None else f"decayed_events_{days}")
        return np.where(shares > 0, shares, np.nan).astype(np.float32)


recent = Generator(
    "recent",
    Popularity,
    "trend",
    params_for_new_items=PopularityParams(half_life_days=14),
    params_for_repeats=PopularityParams(half_life_days=14),
    order=90,
)


@dataclass(frozen=True)
class PromotedItemsParams:
    """Parameters of the generator PromotedItems.

    Attributes:
        popularity_stat: the item statistic that orders promoted items, one of `ITEM_STATS`.
    """

    popularity_stat: str = "decayed_events_14"


class PromotedItems(SharedScoresRecommender):
    """Popularity times the share of shops that promote the item."""

    kind = "promoted"
    Params = PromotedItemsParams

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        as_of: date,
        params: PromotedItemsParams | None = None,
        users: pa.Table | None = None,
    ) -> Self:
        """Learns which items there are; promotions are read from the day's item features."""
        return cls(interactions.item_ids, params)

    def segment_of_user(
        self, histories: Histories, item_features: ItemFeatures | None
    ) -> npt.NDArray[np.int64]:
        """Numbers each user's shop from 1 on, (n,).

        0 for users without one; -1 where no promotions are known.
        """
        if item_features is None or item_features.promotions is None:
            return np.full(histories.users, -1)
        return 1 + shop_of_user(histories, item_features)

    def segment_scores(self, segment: int, item_features: ItemFeatures | None) -> Floats:
        """Scores of promoted items, nan for all others, (m,).

        Popularity times the share of shops that promote the item, summed over weeks, plus the
        popularity for each week in which the user's own shop does.
        """
        assert item_features is not None and item_features.promotions is not None
        promotions = item_features.promotions
        strength, by_shop = promotions.strength, promotions.weeks_by_shop
        popularity = item_features.share(self.params.popularity_stat)
        scores = np.where(strength > 0, popularity * (0.1 + strength), np.nan).astype(np.float32)
        if segment > 0:
            entries = slice(*by_shop.indptr[segment - 1 : segment + 1])
            items = by_shop.indices[entries]
            scores[items] += popularity[items] * by_shop.data[entries]
        return scores


promoted = Generator(
    "promoted",
    PromotedItems,
    "promotion",
    params_for_new_items=PromotedItemsParams("first_time_events_14"),
    params_for_repeats=PromotedItemsParams("decayed_events_14"),
    requires=("promotions",),
    order=120,
)


SEGMENTATIONS = ("demographic", "location")
"""Age bracket with gender, and location."""


@dataclass(frozen=True)
class SegmentPopularityParams:
    """Parameters of the generator SegmentPopularity.

    Attributes:
        half_life_days: half-life of events; None: all count alike.
        kappa: events by which a segment's shares are shrunk towards those of all users.
        min_users: users of the smallest segment that counts.
        segments: segments of each segmentation at most, the largest first.
    """

    half_life_days: float | None = 30
    kappa: float = 3000.0
    min_users: int = 10
    segments: int = 200


class SegmentPopularity(SharedScoresRecommender):
    """Log share of an item among all users, plus the log lifts of the user's two segments."""

    kind = "segment_taste"
    Params = SegmentPopularityParams

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        as_of: date,
        params: SegmentPopularityParams | None = None,
        users: pa.Table | None = None,
    ) -> Self:
        """Computes the lifts of all segments; without `users` there are none."""
        params = params or SegmentPopularityParams()
        rows = interactions.with_decayed_events(params.half_life_days, as_of)
        overall = np.bincount(rows.items, rows.events, minlength=len(rows.item_ids))
        overall = overall / overall.sum()
        names: dict[str, list[str]] = {}
        arrays: dict[str, npt.NDArray[np.generic]] = {}
        for segmentation in SEGMENTATIONS:
            segments, codes = _segment_users(segmentation, rows.user_ids, users, params)
            sums = np.zeros((len(segments), len(overall)))
            inside = codes[rows.users] >= 0
            np.add.at(sums, (codes[rows.users[inside]], rows.items[inside]), rows.events[inside])
            totals = sums.sum(axis=1, keepdims=True)
            shares = (sums + params.kappa * overall) / (totals + params.kappa)
            lifts = np.log(shares / np.maximum(overall, 1e-300))
            arrays[segmentation] = lifts.astype(np.float32)
            names[segmentation] = segments
        arrays["overall"] = np.log(np.maximum(overall, 1e-12)).astype(np.float32)
        return cls(rows.item_ids, params, arrays, fitted_values=names)

    def segment_of_user(
        self, histories: Histories, item_features: ItemFeatures | None
    ) -> npt.NDArray[np.int64]:
        """The user's pair of segments, either of which may be none; -1 for none at all, (n,)."""
        pairs = np.zeros(histories.users, dtype=np.int64)
        if histories.traits is not None:
            for segmentation in SEGMENTATIONS:
                names = pa.array(self.fitted_values[segmentation], pa.string())
                codes = positions_in(_segment_names(segmentation, histories.traits), names)
                pairs = pairs * (1 + len(names)) + 1 + codes
        return pairs - 1

    def segment_scores(self, segment: int, item_features: ItemFeatures | None) -> Floats:
        """Computes the log shares of all items in a pair of segments, (m,)."""
        scores = np.array(self.arrays["overall"])
        locations = 1 + len(self.fitted_values["location"])
        pair = divmod(segment + 1, locations)
        for segmentation, code in zip(SEGMENTATIONS, pair, strict=True):
            if code:
                scores += self.arrays[segmentation][code - 1]
        return scores


def _segment_users(
    segmentation: str,
    user_ids: pa.StringArray,
    users: pa.Table | None,
    params: SegmentPopularityParams,
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Names of the segments that count, the largest first, and each user's (-1: none)."""
    nothing: list[str] = []
    if users is None:
        return nothing, np.full(len(user_ids), -1)
    rows = pc.index_in(user_ids, value_set=_as_strings(users["user_id"]))
    names = _segment_names(segmentation, users.take(rows))
    counts = pc.value_counts(names.drop_null()).to_pylist()
    sizes = {entry["values"]: entry["counts"] for entry in counts}
    large = (name for name in sizes if sizes[name] >= params.min_users)
    segments = sorted(large, key=lambda name: (-sizes[name], name))[: params.segments]
    if len(segments) < 2:
        return nothing, np.full(len(user_ids), -1)
    return segments, positions_in(names, pa.array(segments, pa.string()))


def _segment_names(segmentation: str, traits: pa.Table) -> pa.StringArray:
    """Names each row's segment; null where the traits are unknown."""
    age, gender, location = (
        pc.if_else(pc.equal(_as_strings(traits[name]), "unknown"), None, _as_strings(traits[name]))
        for name in TRAITS
    )
    if segmentation == "location":
        return location
    is_known = pc.or_(pc.is_valid(age), pc.is_valid(gender))
    joined = pc.binary_join_element_wise(age.fill_null(""), gender.fill_null(""), "|")
    return pc.if_else(is_known, joined, None)


def _as_strings(column: pa.ChunkedArray | pa.Array) -> pa.StringArray:
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pc.cast(flat, pa.string())


# Where lists hold only new items it made the ranking worse.
segment_taste = Generator(
    "segment_taste",
    SegmentPopularity,
    "segment",
    requires=("segments", "repeats"),
    order=110,
)

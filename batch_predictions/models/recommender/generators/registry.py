"""The sources of candidates, one declaration each: how it is fitted, where it applies, what a pick
of it means to people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from batch_predictions.models.recommender.base import Recommender
from batch_predictions.models.recommender.generators.als import ALS
from batch_predictions.models.recommender.generators.ease import EASE
from batch_predictions.models.recommender.generators.heuristics import (
    OwnHistory,
    Promoted,
    SegmentTaste,
)
from batch_predictions.models.recommender.generators.item_neighbours import (
    GraphFilter,
    ItemNeighbours,
)
from batch_predictions.models.recommender.generators.popularity import Popularity
from batch_predictions.models.recommender.generators.ratings import LikedEASE, PredictedRating
from batch_predictions.models.recommender.generators.sequence_ease import SequenceEASE
from batch_predictions.models.recommender.generators.sequence_neighbours import SequenceNeighbours

Reason: TypeAlias = Literal["own", "similar", "segment", "trend", "promotion"]
FAMILIES: tuple[type[Recommender], ...] = (
    ALS,
    EASE,
    ItemNeighbours,
    SequenceNeighbours,
    SequenceEASE,
    GraphFilter,
    Popularity,
    OwnHistory,
    SegmentTaste,
    Promoted,
    PredictedRating,
    LikedEASE,
)

_NEXT = {"name": "next_neighbours", "half_life": 3, "reach": 10, "backward": 0.3}
_CURRENT = {"name": "current_neighbours", "target_half_life_days": 14}


@dataclass(frozen=True)
class Generator:
    """A source of candidates.

    Attributes:
        name: in settings, metrics and features.
        family: what is fitted.
        reason: what its picks tell a user.
        new_items: parameters where seen items are left out.
        repeats: parameters where people take the same again.
        only: what must hold where it applies: repeats or new items are asked for, the source has
            segments, promotions, times, or ratings.
        everything: it knows every item; else `max_items`, those with most events.
        proposes: its best items are candidates; else it only says how good those of others are.
    """

    name: str
    family: type[Recommender]
    reason: Reason
    new_items: Mapping[str, Any] = field(default_factory=dict)
    repeats: Mapping[str, Any] = field(default_factory=dict)
    only: tuple[
        Literal["repeats", "new_items", "segments", "promotions", "times", "ratings"], ...
    ] = ()
    everything: bool = False
    proposes: bool = True


GENERATORS = (
    Generator(
        "als",
        ALS,
        "similar",
        new_items={"regularization": 60.0, "alpha": 10.0},
        repeats={"regularization": 20.0, "alpha": 0.3, "history_half_life_days": 90},
    ),
    Generator(
        "ease",
        EASE,
        "similar",
        new_items={"l2": 200.0},
        repeats={"l2": 10.0, "history_half_life_days": 90},
    ),
    # Among repeats it adds nothing, and costs more than all the others together.
    Generator("graph_filter", GraphFilter, "similar", only=("new_items",)),
    Generator(
        "item_neighbours", ItemNeighbours, "similar", new_items={"newest_days": 1}, repeats={}
    ),
    # Among repeats it adds nothing (.116 alone, own history .298) and costs as much as the others.
    Generator(
        "current_neighbours",
        ItemNeighbours,
        "similar",
        new_items={**_CURRENT, "newest_days": None, "neighbours": 400},
        only=("new_items",),
    ),
    Generator("sequence_neighbours", SequenceNeighbours, "similar", only=("new_items", "times")),
    # What directly follows the very last ones.
    Generator(
        "next_neighbours",
        SequenceNeighbours,
        "similar",
        new_items={**_NEXT, "newest": 5, "fade": 0.7},
        only=("new_items", "times"),
    ),
    Generator("sequence_ease", SequenceEASE, "similar", only=("new_items", "times")),
    Generator(
        "recent",
        Popularity,
        "trend",
        new_items={"half_life_days": 14},
        repeats={"half_life_days": 14},
    ),
    Generator(
        "own_history",
        OwnHistory,
        "own",
        repeats={"half_life_days": 90},
        only=("repeats",),
        everything=True,
    ),
    # Where seen items are left out, MovieLens by time is ranked worse with it: .266 for .271.
    Generator("segment_taste", SegmentTaste, "segment", only=("segments", "repeats")),
    Generator(
        "promoted",
        Promoted,
        "promotion",
        new_items={"wanted": "fresh_14"},
        repeats={"wanted": "recent_14"},
        only=("promotions",),
    ),
    Generator(
        "predicted_rating",
        PredictedRating,
        "similar",
        only=("new_items", "ratings"),
        proposes=False,
    ),
    # The user's own part of it.
    Generator(
        "rating_lift",
        PredictedRating,
        "similar",
        new_items={"name": "rating_lift", "lift": True},
        only=("new_items", "ratings"),
        proposes=False,
    ),
    Generator(
        "liked_ease",
        LikedEASE,
        "similar",
        new_items={"l2": 200.0},
        only=("new_items", "ratings"),
        proposes=False,
    ),
)

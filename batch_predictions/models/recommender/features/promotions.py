"""Features of what is promoted in the weeks that are known ahead."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from batch_predictions.models.recommender.features.candidates import Feature, Pairs, Values
from batch_predictions.models.recommender.generators.heuristics import shop_rows


def later_features(pairs: Pairs) -> list[Feature]:
    """Those of each known week after the coming one: a user who comes then finds them."""
    promoted = pairs.facts.promoted
    features: list[Feature] = []
    for week in promoted.weeks[1:] if promoted else ():
        for kind in week:
            features.append(Feature(f"{kind}_share", "promotion", everywhere(kind)))
            features.append(Feature(f"{kind}_here", "promotion", here(kind)))
    return features


def here(kind: str) -> Callable[[Pairs], Values]:
    """Whether the item is promoted so in the user's own shop; a kind names its week."""

    def of(pairs: Pairs) -> Values:
        promoted = pairs.facts.promoted
        result = np.full(pairs.positions.shape, np.nan)
        if promoted is None:
            return result
        rows = shop_rows(pairs.histories, pairs.facts)
        some = np.flatnonzero(rows >= 0)
        shops, place = np.unique(rows[some], return_inverse=True)
        dense = promoted.by_shop[kind][shops].toarray()
        result[some] = dense[place[:, np.newaxis], pairs.at[some]]
        return result

    return of


def everywhere(kind: str) -> Callable[[Pairs], Values]:
    """The share of shops that promote the item so; a kind names its week."""

    def of(pairs: Pairs) -> Values:
        promoted = pairs.facts.promoted
        if promoted is None:
            return np.full(pairs.positions.shape, np.nan)
        return pairs.of_item(promoted.share[kind])

    return of

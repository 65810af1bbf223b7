"""Features of what items are: their kinds (tags) and numbers, beside those the user takes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from batch_predictions.models.recommender.features.candidates import Feature, Pairs, Values

SHELVES = ("category", "subcategory")
"""Kinds within which one item stands in for another: of these more is said."""


def trait_features(pairs: Pairs) -> list[Feature]:
    """What items are, and how near that is to what the user takes."""
    features: list[Feature] = []
    for kind in pairs.facts.traits.tags:
        features.append(Feature(f"{kind}_affinity", "similar", _affinity(kind)))
        if kind not in SHELVES:
            continue
        features.append(Feature(f"{kind}_taken", "similar", _tag_taken(kind)))
        features.append(Feature(f"{kind}_tried", "similar", _tag_tried(kind)))
        features.append(Feature(f"{kind}_missed", "similar", _tag_missed(kind)))
    for name in pairs.facts.traits.numbers:
        features.append(Feature(f"{name}_value", "trend", _number(name)))
        features.append(Feature(f"{name}_usual", "user", _usual(name)))
    return features


def _affinity(kind: str) -> Callable[[Pairs], Values]:
    """The share of the user's (fading) events on the item's tags, each against everyone's."""

    def of(pairs: Pairs) -> Values:
        tags = pairs.facts.traits.tags[kind].tocsr()
        own = (pairs.histories.matrix(90) @ tags).toarray()
        own /= np.maximum(own.sum(axis=1, keepdims=True), 1e-12)
        everyone = tags.T @ pairs.facts.share("recent_90")
        return _at_tags(pairs, kind, np.log((own + 0.01 * everyone + 1e-9) / (everyone + 1e-9)))

    return of


def _at_tags(pairs: Pairs, kind: str, values: Values) -> Values:
    """A value per user and tag, averaged over the tags of the candidates."""
    from batch_predictions.models.recommender.kernels import affinities

    tags = pairs.facts.traits.tags[kind].tocsr()
    found = np.empty(pairs.positions.shape, dtype=np.float32)
    values = np.ascontiguousarray(values, dtype=np.float32)
    affinities(values, tags.indptr, tags.indices, tags.data, pairs.at, found)
    return found


def _tag_taken(kind: str) -> Callable[[Pairs], Values]:
    """The user's fading events on the item's tags."""
    return lambda pairs: _at_tags(
        pairs,
        kind,
        np.log1p((pairs.histories.matrix(30) @ pairs.facts.traits.tags[kind]).toarray()),
    )


def _tag_tried(kind: str) -> Callable[[Pairs], Values]:
    """How many items of the item's tags the user took for the first time, fading."""

    def of(pairs: Pairs) -> Values:
        h = pairs.histories
        tried = h.csr((0.5 ** (h.oldest / 60.0)).astype(np.float32))
        return _at_tags(pairs, kind, np.log1p((tried @ pairs.facts.traits.tags[kind]).toarray()))

    return of


def _tag_missed(kind: str) -> Callable[[Pairs], Values]:
    """Days since the user took anything of the item's tags; 1,000 where it never did."""

    def of(pairs: Pairs) -> Values:
        h = pairs.histories
        tags = pairs.facts.traits.tags[kind].tocsr()
        newest = np.full((h.users, tags.shape[1]), 1000.0, dtype=np.float32)
        rows = tags[h.entries]
        owners = np.repeat(h.entry_owners, np.diff(rows.indptr))
        ages = np.repeat(h.youngest, np.diff(rows.indptr))
        np.minimum.at(newest, (owners, rows.indices), ages.astype(np.float32))
        return _at_tags(pairs, kind, newest)

    return of


def _number(name: str) -> Callable[[Pairs], Values]:
    return lambda pairs: pairs.of_item(pairs.facts.traits.numbers[name])


def _usual(name: str) -> Callable[[Pairs], Values]:
    """The mean of the user's items."""

    def of(pairs: Pairs) -> Values:
        values = pairs.facts.traits.numbers[name][pairs.histories.items]
        known = np.isfinite(values)
        sums = pairs.histories.per_user(np.where(known, values, 0.0), np.add, np.nan)
        numbers = pairs.histories.per_user(known.astype(np.float64), np.add, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return pairs.of_user(np.where(numbers > 0, sums / numbers, np.nan))

    return of

"""Why an item is offered, in words of a fixed vocabulary, true to what moved its score.

The parts of a ranker's margin (TreeSHAP: Lundberg et al. 2020, "From local explanations to global
understanding with explainable AI for trees"; a straight line's are its terms) are summed by group
of features; the group that moved the score up most, of those that can be said of the item, is the
reason.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from batch_predictions.models.recommender.base import Positions, Ranked, Recommender
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.item_features import ItemFacts
from batch_predictions.models.recommender.generators.registry import GENERATORS
from batch_predictions.models.recommender.two_stage import Reasoned, TwoStage

BOUGHT_BEFORE = "bought_before"
BECAUSE = "because_you_liked:"
SEGMENT = "popular_with_your_segment"
TRENDING = "trending"
PROMOTION = "on_promotion"
GROUPS = ("own", "similar", "segment", "trend", "promotion")
TEXTS = {"own": BOUGHT_BEFORE, "segment": SEGMENT, "trend": TRENDING, "promotion": PROMOTION}


def reasons(
    model: Recommender,
    ranked: Ranked,
    chosen: Positions,
    histories: Histories,
    facts: ItemFacts,
    known: npt.NDArray[np.bool_],
) -> npt.NDArray[Any]:
    """The reason for every chosen item, (n, k); None where there is none.

    `chosen` holds places in `ranked.positions` (n, m), -1 at the end; `known` (n, m) says what the
    user has had.
    """
    there = chosen >= 0
    at = np.maximum(chosen, 0)
    picks = np.where(there, np.take_along_axis(ranked.positions, at, axis=1), -1)
    had = np.take_along_axis(known, at, axis=1) & there
    strength = np.full((*picks.shape, len(GROUPS)), -np.inf)
    if isinstance(model, TwoStage) and isinstance(ranked, Reasoned):
        rows = np.take_along_axis(ranked.rows, at, axis=1)
        parts = _parts(model, ranked, rows[there])
        strength[there] = _summed(model, parts)
        _bar(strength, picks, had, facts)
        causes = _causes(model, parts, there, picks, histories, strength)
    else:
        strength[..., GROUPS.index(_reason_of(model))] = 1.0
        causes = model.explain(histories, picks)
        # "Because you had it" is said by bought_before.
        strength[..., GROUPS.index("own")] = 2.0
        _bar(strength, picks, had, facts)
    strength[..., GROUPS.index("similar")][(causes < 0) | (causes == picks)] = -np.inf
    best = strength.argmax(axis=2)
    positive = np.take_along_axis(strength, best[..., np.newaxis], axis=2)[..., 0] > 0
    # Nothing moved it up: it is what is left of what many take.
    best = np.where(positive, best, GROUPS.index("trend"))
    texts = np.array([TEXTS.get(group, "") for group in GROUPS], dtype=object)[best]
    similar = there & (best == GROUPS.index("similar"))
    if similar.any():
        names = model.items.take(causes[similar]).to_pylist()
        texts[similar] = [f"{BECAUSE}{name}" for name in names]
    texts[~there] = None
    return texts


def _bar(
    strength: npt.NDArray[Any], picks: Positions, had: npt.NDArray[np.bool_], facts: ItemFacts
) -> None:
    """What cannot be said of a pick: that it was bought, or that it is promoted when the list is
    looked up, on the next day."""
    strength[..., GROUPS.index("own")][~had] = -np.inf
    promoted = np.zeros(len(facts.items), dtype=bool)
    if facts.promoted is not None:
        promoted = facts.promoted.tomorrow
    strength[..., GROUPS.index("promotion")][~promoted[np.maximum(picks, 0)]] = -np.inf


def _parts(model: TwoStage, ranked: Reasoned, rows: Positions) -> npt.NDArray[Any]:
    """Each feature's part in the margins of some rows, (rows, f)."""
    features = ranked.features[rows]
    if not len(features):
        return np.empty((0, len(model.groups)))
    parts = model.ranker.trees.parts(features)
    return parts if ranked.straight is None else parts + ranked.straight[rows]


def _summed(model: TwoStage, parts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Parts by group, (rows, groups). The user's features move all candidates alike; what little
    they add to one is not said."""
    sums = np.zeros((len(parts), len(GROUPS)))
    for place, group in enumerate(GROUPS):
        columns = [i for i, (_, each) in enumerate(model.groups) if each == group]
        sums[:, place] = parts[:, columns].sum(axis=1)
    return sums


def _causes(
    model: TwoStage,
    parts: npt.NDArray[Any],
    there: npt.NDArray[np.bool_],
    picks: Positions,
    histories: Histories,
    strength: npt.NDArray[Any],
) -> Positions:
    """The history item that speaks for each pick, by the generator that moved its score most."""
    # Of ALS each cause is a system of equations: the others say as well what is alike.
    members = [
        m for m in model.bundle.members if m.declared.reason == "similar" and m.model.kind != "als"
    ]
    causes = np.full(picks.shape, -1, dtype=np.int64)
    if not members or not len(parts):
        return causes
    names = [name for name, _ in model.groups]
    moved = np.full((*picks.shape, len(members)), -np.inf)
    for place, member in enumerate(members):
        columns = [
            i
            for i, name in enumerate(names)
            if name in (member.declared.name, f"{member.declared.name}_rank")
        ]
        moved[there, place] = parts[:, columns].sum(axis=1)
    order = np.argsort(-moved, axis=2, kind="stable")
    wanted = there & (strength.argmax(axis=2) == GROUPS.index("similar"))
    for turn in range(len(members)):
        for place, member in enumerate(members):
            asked = wanted & (causes < 0) & (order[..., turn] == place)
            if asked.any():
                found = member.explain(histories, np.where(asked, picks, -1))
                causes = np.where(asked & (found != picks), found, causes)
    return causes


def _reason_of(model: Recommender) -> str:
    """The group of a model that serves alone."""
    return next(
        (each.reason for each in GENERATORS if each.family is type(model)),
        "trend",
    )

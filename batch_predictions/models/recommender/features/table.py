"""Features of pairs (user, candidate), one short declaration each: adding one is adding it to
FEATURES."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from batch_predictions.models.recommender.base import Floats
from batch_predictions.models.recommender.data.item_features import (
    FRESH,
    HALF_LIVES,
    RETURNING,
    SHOWN,
)
from batch_predictions.models.recommender.features.candidates import (
    AGES,
    Feature,
    Group,
    Pairs,
    Values,
)
from batch_predictions.models.recommender.features.metadata import trait_features
from batch_predictions.models.recommender.features.promotions import (
    everywhere,
    here,
    later_features,
)


def table(pairs: Pairs, groups: list[tuple[str, Group]] | None = None) -> tuple[Floats, list[Any]]:
    """All features of the real candidates, (rows, features), float32, and (name, group) of each.

    Rows are the pairs with a position, user by user. Names depend on the generators and on which
    traits items have, so a model holds its own: `groups` are those of the model, and what the day
    lacks is nan.
    """
    columns: dict[str, tuple[Group, Values]] = {}
    for name, scores in pairs.scores.items():
        group = pairs.reasons[name]
        columns[f"{name}"] = group, scores
        columns[f"{name}_rank"] = group, _log_rank(scores)
    for each in (*FEATURES, *trait_features(pairs), *later_features(pairs)):
        columns[each.name] = each.group, each.of(pairs)
    names = groups or [(name, group) for name, (group, _) in columns.items()]
    keep = pairs.positions >= 0
    rows = np.empty((int(keep.sum()), len(names)), dtype=np.float32)
    for place, (name, _) in enumerate(names):
        rows[:, place] = columns[name][1][keep] if name in columns else np.nan
    return rows, names


def _log_rank(scores: Floats) -> Values:
    """Logarithm of a candidate's rank among the user's by one generator; nan where it has none."""
    filled = np.where(np.isnan(scores), -np.inf, scores)
    order = np.argsort(-filled, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(scores.shape[1])[np.newaxis], axis=1)
    return np.where(np.isnan(scores), np.nan, np.log1p(ranks))


def _share(name: str) -> Callable[[Pairs], Values]:
    return lambda pairs: np.log(1e-9 + pairs.of_item(pairs.facts.share(name)))


def _ratio(above: str, below: str, prior: float) -> Callable[[Pairs], Values]:
    return lambda pairs: pairs.of_item(
        (pairs.facts.counts[above] + prior) / (pairs.facts.counts[below] + 1.0)
    )


def _again(pairs: Pairs) -> Values:
    """How much those who had it took it again of late."""
    counts = pairs.facts.counts
    again = counts["returning_30"] - counts["fresh_30"]
    return pairs.of_item(again / (counts["users"] + 3.0))


def _gap(pairs: Pairs) -> Values:
    """Mean days between the days on which the user took the item; nan where it took it once."""
    h = pairs.histories
    spans = (h.oldest - h.youngest) / np.maximum(h.days - 1, 1)
    return pairs.of_entry(np.where(h.days > 1, spans, np.nan))


def _overdue(pairs: Pairs) -> Values:
    """Days since the user took the item, in mean gaps."""
    return pairs.of_entry(pairs.histories.youngest.astype(np.float64)) / np.maximum(_gap(pairs), 1)


def _taken(half_life_days: float | None) -> Callable[[Pairs], Values]:
    return lambda pairs: pairs.of_entry(
        pairs.histories.summed(pairs.histories.decayed(half_life_days)), 0.0
    )


def _usual_want(pairs: Pairs) -> Values:
    """How wanted the user's items are, on average."""
    h = pairs.histories
    wanted = np.log(1e-9 + pairs.facts.share("events"))[h.items]
    sums = h.per_user(wanted, np.add, np.nan)
    return pairs.of_user(sums / np.maximum(np.bincount(h.owners, minlength=h.users), 1))


def _repeats(pairs: Pairs) -> Values:
    """The user's share of rows that are of an item taken before."""
    h = pairs.histories
    rows = np.bincount(h.owners, minlength=h.users)
    return pairs.of_user(1 - np.diff(h.indptr) / np.maximum(rows, 1))


def _user_days(pairs: Pairs) -> Values:
    """Days on which the user took anything."""
    return pairs.of_user(np.diff(pairs.came[1]).astype(np.float64))


def _rate(pairs: Pairs) -> Values:
    """Of the user's days since it first took the item, the share on which it took it."""
    h = pairs.histories
    keys, first = pairs.came
    last = np.searchsorted(keys, h.entry_owners.astype(np.int64) * AGES + h.oldest, side="right")
    came = last - first[h.entry_owners]
    return pairs.of_entry((h.days + 0.5) / (came + 2.0), 0.0)


def _missed(pairs: Pairs) -> Values:
    """The user's days since it last took the item."""
    h = pairs.histories
    keys, first = pairs.came
    newer = np.searchsorted(keys, h.entry_owners.astype(np.int64) * AGES + h.youngest)
    return pairs.of_entry((newer - first[h.entry_owners]).astype(np.float64))


def _own_share(half_life_days: float) -> Callable[[Pairs], Values]:
    """The item's share of the user's fading events."""

    def of(pairs: Pairs) -> Values:
        h = pairs.histories
        events = h.decayed(half_life_days)
        totals = np.bincount(h.owners, events, minlength=h.users)[h.entry_owners]
        return pairs.of_entry(h.summed(events) / np.maximum(totals, 1e-12), 0.0)

    return of


FEATURES: tuple[Feature, ...] = (
    # The user's own dealings with the item.
    Feature("own_days", "own", lambda p: p.of_entry(p.histories.days.astype(np.float64), 0.0)),
    Feature("own_events_14d", "own", _taken(14)),
    Feature("own_events_90d", "own", _taken(90)),
    Feature("own_share_30d", "own", _own_share(30)),
    Feature("own_share_180d", "own", _own_share(180)),
    Feature("own_rate", "own", _rate),
    Feature("own_missed", "own", _missed),
    Feature("own_age", "own", lambda p: p.of_entry(p.histories.youngest.astype(np.float64))),
    Feature("own_gap", "own", _gap),
    Feature("own_overdue", "own", _overdue),
    # What everybody wants, and what those want who come back.
    *(Feature(f"recent_{days}", "trend", _share(f"recent_{days}")) for days in HALF_LIVES),
    *(Feature(f"returning_{days}", "trend", _share(f"returning_{days}")) for days in RETURNING),
    # Those who take it for the first time.
    *(Feature(f"fresh_{days}", "trend", _share(f"fresh_{days}")) for days in FRESH),
    Feature("fresh_ratio", "trend", _ratio("fresh_30", "recent_30", 0.1)),
    Feature("fresh_rising", "trend", _ratio("fresh_14", "fresh_90", 0.1)),
    Feature("again_ratio", "trend", _again),
    Feature("wanted", "trend", _share("events")),
    Feature("rising", "trend", _ratio("recent_14", "recent_90", 0.1)),
    Feature("returning_ratio", "trend", _ratio("returning_14", "recent_14", 0.1)),
    Feature("repeat_ratio", "trend", _ratio("events", "users", 0.0)),
    Feature("item_age", "trend", lambda p: p.of_item(p.facts.counts["first_age"])),
    # The coming week's promotions.
    *(Feature(f"{kind}_share", "promotion", everywhere(kind)) for kind in SHOWN),
    *(Feature(f"{kind}_here", "promotion", here(kind)) for kind in SHOWN),
    # The user, alike for all candidates: moves no score alone, but says how to read the others.
    Feature(
        "user_items", "user", lambda p: p.of_user(np.diff(p.histories.indptr).astype(np.float64))
    ),
    Feature("user_days", "user", _user_days),
    Feature("user_inactive", "user", lambda p: p.of_user(p.inactive)),
    Feature("user_since", "user", lambda p: p.of_user(p.since)),
    Feature("user_usual_want", "user", _usual_want),
    Feature("user_repeats", "user", _repeats),
)

"""Generators fitted on the same rows, each over the items that it knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.models.recommender.base import Positions, Recommender
from batch_predictions.models.recommender.data.histories import Histories, positions
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFacts
from batch_predictions.models.recommender.features.candidates import Group, Pairs
from batch_predictions.models.recommender.generators.registry import GENERATORS, Generator

DECLARED = {each.name: each for each in GENERATORS}
Params: TypeAlias = Mapping[str, Mapping[str, Any]]
Say: TypeAlias = Callable[[str], None]


@dataclass(frozen=True)
class Space:
    """Some of the bundle's `width` items, as a model numbers them: `columns` are their positions
    among all."""

    columns: Positions
    width: int

    @property
    def whole(self) -> bool:
        """Whether it is all of them."""
        return len(self.columns) == self.width

    @cached_property
    def back(self) -> npt.NDArray[np.int32]:
        """The model's number of each of all items, -1 where it does not know it, (width,)."""
        back = np.full(self.width, -1, dtype=np.int32)
        back[self.columns] = np.arange(len(self.columns), dtype=np.int32)
        return back

    def inside(self, positions: Positions) -> Positions:
        """Positions among all as the model's own, -1 where it does not know them."""
        return np.where(positions >= 0, self.back[np.maximum(positions, 0)], -1)

    def outside(self, numbers: Positions) -> Positions:
        """The model's numbers as positions among all; -1 stays."""
        return np.where(numbers >= 0, self.columns[np.maximum(numbers, 0)], -1)

    def histories(self, histories: Histories) -> Histories:
        """Histories over the model's items."""
        return histories if self.whole else histories.onto(self.back, len(self.columns))


@dataclass(frozen=True)
class Member:
    """A fitted generator among others, over a space of items that some of them share."""

    declared: Generator
    model: Recommender
    space: Space

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """`Recommender.explain` over all items of the bundle."""
        own = self.space.histories(histories)
        return self.space.outside(self.model.explain(own, self.space.inside(picks)))


@dataclass(frozen=True)
class Bundle:
    """Generators fitted on the same rows; `items` are all that one of them knows."""

    items: pa.StringArray
    members: tuple[Member, ...]

    @classmethod
    def of(cls, items: pa.StringArray, fitted: Sequence[tuple[Generator, Recommender]]) -> Bundle:
        """Of generators over some of the items; those over the same ones share the space."""
        spaces: list[tuple[pa.StringArray, Space]] = []
        members = []
        for declared, model in fitted:
            space = next((known for own, known in spaces if own.equals(model.items)), None)
            if space is None:
                space = Space(positions(model.items, items), len(items))
                spaces.append((model.items, space))
            members.append(Member(declared, model, space))
        return cls(items, tuple(members))

    @cached_property
    def scores(self) -> int:
        """Dense scores that are held for each user."""
        dense = [len(m.model.items) for m in self.members if not m.declared.everything]
        return sum(dense) + max(dense, default=1)

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        as_of: date,
        names: Sequence[str],
        *,
        exclude_seen: bool,
        max_items: int,
        params: Params | None = None,
        traits: pa.Table | None = None,
        say: Say | None = None,
    ) -> Bundle:
        """Fit some generators, most of them on the `max_items` items with most events."""
        wanted = _most_wanted(interactions, max_items)
        fitted = []
        for name in names:
            declared = DECLARED[name]
            rows = interactions if declared.everything else wanted
            if say:
                say(f"fitting {name} on {len(rows):,} rows through {as_of}")
            chosen = dict(declared.new_items if exclude_seen else declared.repeats)
            chosen |= (params or {}).get(name, {})
            if "segments" in declared.only:
                chosen["traits"] = traits
            fitted.append((declared, declared.family.fit(rows, as_of, **chosen)))
        everything = any(declared.everything for declared, _ in fitted)
        return cls.of((interactions if everything else wanted).item_ids, fitted)

    def pairs(
        self,
        histories: Histories,
        facts: ItemFacts,
        each: int,
        exclude_seen: bool,
        blocked: npt.NDArray[np.bool_] | None,
    ) -> Pairs:
        """The `each` best items of every generator that proposes, united, with all generators'
        scores."""
        from batch_predictions.models.recommender.kernels import united

        width, n = len(self.items), histories.users
        known: dict[int, tuple[Histories, ItemFacts, npt.NDArray[np.bool_] | None]] = {}
        tops = []
        scores = []
        alone = not any(member.declared.proposes for member in self.members)
        for member in self.members:
            space = member.space
            if id(space) not in known:
                known[id(space)] = (
                    space.histories(histories),
                    facts if space.whole else facts.at(space.columns),
                    blocked if blocked is None else blocked[space.columns],
                )
            own, counted, barred = known[id(space)]
            proposes = member.declared.proposes or alone
            proposed = member.model.propose(
                own, counted, each if proposes else 0, exclude_seen=exclude_seen, blocked=barred
            )
            if proposes:
                tops.append(space.outside(proposed.positions))
            scores.append(proposed.of)
        union = np.empty((n, len(tops) * each), dtype=np.int64)
        longest = united(np.stack(tops), width, union)
        union = np.ascontiguousarray(union[:, : max(longest, 1)])
        held = {
            member.declared.name: of(member.space.inside(union))
            for member, of in zip(self.members, scores, strict=True)
        }
        reasons: dict[str, Group] = {m.declared.name: m.declared.reason for m in self.members}
        return Pairs(histories, facts, union, held, reasons)


def _most_wanted(interactions: Interactions, max_items: int) -> Interactions:
    """The rows of the items with most events, ties by position."""
    if len(interactions.item_ids) <= max_items:
        return interactions
    sums = np.bincount(interactions.items, interactions.events)
    chosen = np.zeros(len(sums), dtype=bool)
    chosen[np.argsort(-sums, kind="stable")[:max_items]] = True
    return interactions.where(chosen[interactions.items])

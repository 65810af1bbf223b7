"""Two stages: generators propose, a ranker decides.

Candidates of several generators are ranked by gradient-boosted trees, LambdaRank (Burges 2010,
"From RankNet to LambdaRank to LambdaMART") and cross-entropy over the list together, over each
generator's score and rank and over what is known of user, item and both (`pairs`). The ranker
learns from past windows: see `lessons`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch_predictions.models.recommender import pairs as pair_features
from batch_predictions.models.recommender.base import (
    ITEMS,
    MANIFEST,
    Floats,
    Positions,
    Ranked,
    Recommender,
    in_batches,
)
from batch_predictions.models.recommender.data import Interactions
from batch_predictions.models.recommender.facts import ItemFacts
from batch_predictions.models.recommender.generators import GENERATORS, Generator
from batch_predictions.models.recommender.histories import Histories, positions
from batch_predictions.models.recommender.pairs import Group, Pairs
from batch_predictions.models.recommender.trees import Trees

DESCRIBED = "described.parquet"
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
        """The `each` best items of every generator, united, with all generators' scores."""
        from batch_predictions.models.recommender.kernels import united

        width, n = len(self.items), histories.users
        known: dict[int, tuple[Histories, ItemFacts, npt.NDArray[np.bool_] | None]] = {}
        tops = np.empty((len(self.members), n, each), dtype=np.int64)
        scores = []
        for place, member in enumerate(self.members):
            space = member.space
            if id(space) not in known:
                known[id(space)] = (
                    space.histories(histories),
                    facts if space.whole else facts.at(space.columns),
                    blocked if blocked is None else blocked[space.columns],
                )
            own, counted, barred = known[id(space)]
            proposed = member.model.propose(
                own, counted, each, exclude_seen=exclude_seen, blocked=barred
            )
            tops[place] = space.outside(proposed.positions)
            scores.append(proposed.of)
        union = np.empty((n, len(self.members) * each), dtype=np.int64)
        longest = united(tops, width, union)
        union = np.ascontiguousarray(union[:, : max(longest, 1)])
        held = {
            member.declared.name: of(member.space.inside(union))
            for member, of in zip(self.members, scores, strict=True)
        }
        reasons: dict[str, Group] = {m.declared.name: m.declared.reason for m in self.members}
        return Pairs(histories, facts, union, held, reasons)


@dataclass(frozen=True)
class Reasoned(Ranked):
    """A ranking that can say what moved its scores: `features` (rows of `table`, f) of the ranked
    candidates, and for each place of `positions` its row, -1 where there is none."""

    features: Floats
    rows: Positions


class TwoStage(Recommender):
    """A bundle of generators and a ranker of their candidates."""

    kind = "two_stage"

    def __init__(
        self,
        bundle: Bundle,
        trees: Trees,
        params: dict[str, Any],
        described: pa.Table | None = None,
    ) -> None:
        """`trees` rank; `params` hold `each`, the number of candidates per generator, `groups`,
        name and group of each feature, and whatever was chosen; `described` says what items are
        (see `ItemTraits.from_table`)."""
        super().__init__("two_stage", bundle.items, params, {})
        self.bundle = bundle
        self.trees = trees
        self.described = described
        self.groups: list[tuple[str, Group]] = [(name, group) for name, group in params["groups"]]

    @classmethod
    def fit(cls, interactions: Interactions, as_of: date, **params: Any) -> Self:
        """Learn from past windows of the rows: the parameters are those of `lessons.Course`."""
        from batch_predictions.models.recommender.lessons import Course

        course = Course(**params)
        ranker = course.ranker(course.past(interactions, as_of))
        bundle = course.bundle(interactions, as_of)
        return cls(bundle, ranker.trees, ranker.params, course.beside.items())

    def rank(
        self,
        histories: Histories,
        facts: ItemFacts,
        k: int,
        *,
        exclude_seen: bool,
        blocked: npt.NDArray[np.bool_] | None = None,
    ) -> Reasoned:
        """The k best of the candidates; scores are the ranker's margins."""
        from batch_predictions.models.recommender.kernels import best

        places = np.full((histories.users, k), -1, dtype=np.int64)
        values = np.full((histories.users, k), -np.inf, dtype=np.float32)
        rows = np.full((histories.users, k), -1, dtype=np.int64)
        kept: list[Floats] = []
        held = 0
        for start, stop, part in in_batches(histories, self.bundle.scores):
            pairs = self.bundle.pairs(part, facts, int(self.params["each"]), exclude_seen, blocked)
            table, _ = pair_features.table(pairs, self.groups)
            real = pairs.positions >= 0
            scores = np.full(real.shape, np.nan, dtype=np.float32)
            if len(table):
                scores[real] = self.trees.margins(table)
            # Equal scores go to the lower position, as everywhere: candidates in that order.
            order = np.argsort(np.where(real, pairs.positions, len(self.items)), axis=1)
            top = np.empty((len(real), k), dtype=np.int64)
            worth = np.empty((len(real), k), dtype=np.float32)
            best(np.take_along_axis(scores, order, axis=1), k, top, worth)
            found = top >= 0
            chosen = np.take_along_axis(order, np.maximum(top, 0), axis=1)
            picked = np.take_along_axis(pairs.positions, chosen, axis=1)
            places[start:stop] = np.where(found, picked, -1)
            values[start:stop] = worth
            number = np.cumsum(real.ravel()).reshape(real.shape) - 1
            row_of = np.take_along_axis(number, chosen, axis=1)
            used = row_of[found]
            rows[start:stop][found] = held + np.arange(len(used))
            kept.append(table[used])
            held += len(used)
        width = len(self.groups)
        features = np.concatenate(kept) if kept else np.empty((0, width), dtype=np.float32)
        return Reasoned(places, values, features, rows)

    def scores(self, histories: Histories, facts: ItemFacts | None = None) -> Floats:
        """The ranker's margins of the candidates, nan for all other items."""
        assert facts is not None, "the ranker reads the facts of the day"
        scores = np.full((histories.users, len(self.items)), np.nan, dtype=np.float32)
        everything = int(self.params["each"]) * len(self.bundle.members)
        ranked = self.rank(histories, facts, everything, exclude_seen=False)
        users, ranks = np.nonzero(ranked.positions >= 0)
        scores[users, ranked.positions[users, ranks]] = ranked.scores[users, ranks]
        return scores

    def save(self, folder: Path) -> None:
        """The manifest, the ranker as text, each generator in a folder of its name."""
        folder.mkdir(parents=True, exist_ok=True)
        manifest = {
            "kind": self.kind,
            "name": self.name,
            "params": self.params,
            "arrays": [],
            "generators": [each.declared.name for each in self.bundle.members],
        }
        text = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)
        (folder / MANIFEST).write_text(text + "\n")
        self.trees.save(folder)
        pq.write_table(pa.table({"item_id": self.items}), folder / ITEMS)
        if self.described is not None:
            known = pc.is_in(self.described["item_id"], value_set=self.items)
            pq.write_table(self.described.filter(known), folder / DESCRIBED)
        for member in self.bundle.members:
            member.model.save(folder / member.declared.name)

    @classmethod
    def read(cls, folder: Path, manifest: Mapping[str, Any], items: pa.StringArray) -> TwoStage:
        """What `save` wrote."""
        names = manifest["generators"]
        bundle = Bundle.of(
            items, [(DECLARED[name], Recommender.load(folder / name)) for name in names]
        )
        there = (folder / DESCRIBED).exists()
        described = pq.read_table(folder / DESCRIBED) if there else None
        params = dict(manifest["params"])
        return cls(bundle, Trees.load(folder, params["spreads"]), params, described)


def _most_wanted(interactions: Interactions, max_items: int) -> Interactions:
    """The rows of the items with most events, ties by position."""
    if len(interactions.item_ids) <= max_items:
        return interactions
    sums = np.bincount(interactions.items, interactions.events)
    chosen = np.zeros(len(sums), dtype=bool)
    chosen[np.argsort(-sums, kind="stable")[:max_items]] = True
    return interactions.where(chosen[interactions.items])

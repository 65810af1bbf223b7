"""Candidate generation: several fitted generators, and the union of their best items per user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.core.arrays import Positions
from batch_predictions.models.recommender.base import TrainableRecommender
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions, positions_in
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.data.recommender_manifest import ITEMS, read_items
from batch_predictions.models.recommender.data.user_states import UserStates
from batch_predictions.models.recommender.features.candidate_features import (
    CandidateBatch,
    FeatureGroup,
)
from batch_predictions.models.recommender.generators.base import (
    Generator,
    generators,
    load_generator,
)

GeneratorParams: TypeAlias = Mapping[str, Mapping[str, object]]
"""Parameters that differ from the declared ones, by generator and name."""
Progress: TypeAlias = Callable[[str], None]
"""Called with a line about what is being done."""


@dataclass(frozen=True)
class ItemSubset:
    """Some of the ensemble's items, as one model numbers them.

    Attributes:
        columns: the model's items as positions among all, ascending.
        width: number of all items.
    """

    columns: Positions
    width: int

    @property
    def is_complete(self) -> bool:
        """Whether the model knows all items of the ensemble."""
        return len(self.columns) == self.width

    @cached_property
    def local_positions(self) -> npt.NDArray[np.int32]:
        """The model's position of each of all items, -1 where it does not know it, (width,)."""
        local = np.full(self.width, -1, dtype=np.int32)
        local[self.columns] = np.arange(len(self.columns), dtype=np.int32)
        return local

    def to_local(self, positions: Positions) -> Positions:
        """Positions among all as the model's own; -1 where it does not know the item."""
        return np.where(positions >= 0, self.local_positions[np.maximum(positions, 0)], -1)

    def to_global(self, positions: Positions) -> Positions:
        """Maps the model's item positions to those of the ensemble; -1 stays."""
        return np.where(positions >= 0, self.columns[np.maximum(positions, 0)], -1)

    def reindex_histories(self, histories: Histories) -> Histories:
        """Histories over the model's items."""
        if self.is_complete:
            return histories
        return histories.reindex(self.local_positions, len(self.columns))


@dataclass(frozen=True)
class FittedGenerator:
    """A fitted generator and the items that it knows; generators of equal items share a subset."""

    declaration: Generator
    model: TrainableRecommender
    subset: ItemSubset

    @property
    def name(self) -> str:
        """The name under which the generator is declared."""
        return self.declaration.name

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """Finds the history item that explains each pick, in positions of the ensemble's items."""
        local = self.model.explain(
            self.subset.reindex_histories(histories), self.subset.to_local(picks)
        )
        return self.subset.to_global(local)


@dataclass(frozen=True)
class GeneratorEnsemble:
    """Generators fitted on the same rows; `items` are all that any of them knows, (m,)."""

    items: pa.StringArray
    generators: tuple[FittedGenerator, ...]

    @classmethod
    def from_fitted(
        cls, items: pa.StringArray, fitted: Sequence[tuple[Generator, TrainableRecommender]]
    ) -> GeneratorEnsemble:
        """An ensemble of fitted generators over some of the items."""
        subsets: list[tuple[pa.StringArray, ItemSubset]] = []
        members = []
        for declaration, model in fitted:
            subset = next((s for ids, s in subsets if ids.equals(model.items)), None)
            if subset is None:
                subset = ItemSubset(positions_in(model.items, items), len(items))
                subsets.append((model.items, subset))
            members.append(FittedGenerator(declaration, model, subset))
        return cls(items, tuple(members))

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        as_of: date,
        names: Sequence[str],
        *,
        exclude_seen: bool,
        max_items: int,
        params: GeneratorParams | None = None,
        users: pa.Table | None = None,
        items: pa.Table | None = None,
        progress: Progress | None = None,
    ) -> GeneratorEnsemble:
        """Fits generators; those that do not cover the full catalogue know `max_items` items.

        Args:
            interactions: rows up to `as_of`.
            as_of: the last day that is known.
            names: which generators.
            exclude_seen: whether lists hold only new items.
            max_items: the most frequent items that are kept.
            params: overrides of the declared parameters.
            users: user_id and demographic traits, where known.
            items: item_id and a column per attribute, where known.
            progress: called before each fit.
        """
        declared = generators()
        frequent = _most_frequent(interactions, max_items)
        fitted = []
        for name in names:
            declaration = declared[name]
            rows = interactions if declaration.full_catalogue else frequent
            model_params = declaration.params(exclude_seen, (params or {}).get(name, {}))
            if progress:
                minutes = getattr(model_params, "minutes", None)
                bound = f", {minutes:g} minutes on two cores at most" if minutes else ""
                progress(f"fitting {name} on {len(rows):,} rows through {as_of}{bound}")
            model = declaration.recommender_class.fit_with_attributes(
                rows, as_of, model_params, users, items
            )
            model.name = name
            fitted.append((declaration, model))
        is_full = any(declaration.full_catalogue for declaration, _ in fitted)
        return cls.from_fitted((interactions if is_full else frequent).item_ids, fitted)

    def save(self, folder: Path) -> None:
        """Writes the items, and each generator into a folder of its name."""
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"item_id": self.items}), folder / ITEMS)
        for generator in self.generators:
            generator.model.save(folder / generator.name)

    @classmethod
    def load(cls, folder: Path, names: Sequence[str]) -> GeneratorEnsemble:
        """Reads what `save` wrote.

        Args:
            folder: the folder.
            names: of the generators, in their order.
        """
        declared = generators()
        fitted = [(declared[name], load_generator(folder / name)) for name in names]
        return cls.from_fitted(read_items(folder), fitted)

    @cached_property
    def dense_scores_per_user(self) -> int:
        """Scores that `propose` holds for each user at a time."""
        dense = [generator.model.dense_scores for generator in self.generators]
        return sum(dense) + max(dense, default=1)

    def user_states(self, histories: Histories) -> UserStates | None:
        """States of users after all their items by the first generator that has some; else None."""
        for generator in self.generators:
            if generator.model.keeps_states:
                return generator.model.user_states(generator.subset.reindex_histories(histories))
        return None

    def propose(
        self,
        histories: Histories,
        item_features: ItemFeatures,
        candidates_per_generator: int,
        exclude_seen: bool,
        blocked: npt.NDArray[np.bool_] | None,
    ) -> CandidateBatch:
        """The union of every source's best items per user, with all generators' scores of them.

        Args:
            histories: n users over `items`.
            item_features: of `items`.
            candidates_per_generator: items that each candidate source proposes.
            exclude_seen: leave out items of the history.
            blocked: true for items that no user gets, (m,).
        """
        from batch_predictions.models.recommender.kernels.candidate_kernels import union_candidates

        inputs: dict[int, tuple[Histories, ItemFeatures, npt.NDArray[np.bool_] | None]] = {}
        lists, scorers = [], []
        has_source = any(g.declaration.is_candidate_source for g in self.generators)
        for generator in self.generators:
            subset = generator.subset
            if id(subset) not in inputs:
                inputs[id(subset)] = (
                    subset.reindex_histories(histories),
                    item_features if subset.is_complete else item_features.take(subset.columns),
                    blocked if blocked is None else blocked[subset.columns],
                )
            local_histories, local_features, local_blocked = inputs[id(subset)]
            is_source = generator.declaration.is_candidate_source or not has_source
            proposals = generator.model.propose(
                local_histories,
                local_features,
                candidates_per_generator if is_source else 0,
                exclude_seen=exclude_seen,
                blocked=local_blocked,
            )
            if is_source:
                lists.append(subset.to_global(proposals.positions))
            scorers.append(proposals.scores_of)
        union = np.empty((histories.users, len(lists) * candidates_per_generator), dtype=np.int64)
        longest = union_candidates(np.stack(lists), len(self.items), union)
        union = np.ascontiguousarray(union[:, : max(longest, 1)])
        local = {id(g.subset): g.subset for g in self.generators}
        local_union = {key: subset.to_local(union) for key, subset in local.items()}
        scores = {
            generator.name: scores_of(local_union[id(generator.subset)])
            for generator, scores_of in zip(self.generators, scorers, strict=True)
        }
        groups: dict[str, FeatureGroup] = {g.name: g.declaration.reason for g in self.generators}
        return CandidateBatch(histories, item_features, union, scores, groups)


def _most_frequent(interactions: Interactions, max_items: int) -> Interactions:
    """The rows of the items with most events, ties by position."""
    if len(interactions.item_ids) <= max_items:
        return interactions
    is_kept = np.zeros(len(interactions.item_ids), dtype=bool)
    is_kept[interactions.most_frequent_items(max_items)] = True
    return interactions.filter(is_kept[interactions.items])

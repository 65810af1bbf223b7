"""The contract of all recommenders: scores of all items from users' histories.

Scores are computed from the histories known when scoring, not from a table of trained users: users
who appeared after the training are served too, and yesterday's interactions count today. A
`LinearRecommender` has a vector per user (`queries`) and per item (`targets`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.core.arrays import Floats, Positions
from batch_predictions.models.recommender.data.dense_scores import (
    TargetBlocks,
    inner_products,
    mask_scores,
    user_batches,
)
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.data.recommender_manifest import (
    ITEMS,
    read_items,
    read_manifest,
    write_manifest,
)
from batch_predictions.models.recommender.data.user_states import UserStates

if TYPE_CHECKING:
    from batch_predictions.models.common.topk import Index


@dataclass(frozen=True)
class Ranking:
    """Each user's best items, best first.

    Attributes:
        positions: positions in the model's items, -1 at the end of short lists, (n, k).
        scores: their scores, -inf at the end of short lists, (n, k).
    """

    positions: Positions
    scores: Floats


class Proposals(NamedTuple):
    """Each user's best items by one generator, and its scores of any others.

    Attributes:
        positions: best first, -1 at the end of short lists, (n, k).
        scores_of: scores of items (n, m), given as positions or -1; nan where the generator has no
            score or the item is masked.
    """

    positions: Positions
    scores_of: Callable[[Positions], Floats]


class Recommender(ABC):
    """The base class of fitted recommenders.

    Attributes:
        items: the sorted ids of its items, (m,); every position is a position in it.
        params: its parameters, a frozen dataclass.
        name: the name in evaluation tables.
    """

    kind: ClassVar[str]
    """Names the class in stored manifests."""

    def __init__(self, items: pa.StringArray, params: Any, name: str | None = None) -> None:
        self.items = items
        self.params = params
        self.name = name or self.kind

    @abstractmethod
    def scores(self, histories: Histories, item_features: ItemFeatures | None = None) -> Floats:
        """Scores of all items, (n, m), dense: pass users in batches.

        The array is new or read-only: callers overwrite it where they can. A user's scores depend
        on its own rows only; nan means that the model has no score.

        Args:
            histories: n users over `items`.
            item_features: of `items`, as of the day; required by models that use them.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes JSON, Parquet, .npy and text files; equal models give equal bytes."""

    def rank(
        self,
        histories: Histories,
        item_features: ItemFeatures,
        k: int,
        *,
        exclude_seen: bool,
        blocked: npt.NDArray[np.bool_] | None = None,
    ) -> Ranking:
        """The k best items of every user; equal scores are ordered by position.

        Args:
            histories: n users over `items`.
            item_features: of `items`, as of the day.
            k: length of the lists; shorter where fewer items have a score.
            exclude_seen: leave out items of the history.
            blocked: true for items that no user gets, (m,).
        """
        from batch_predictions.models.recommender.kernels.topk import topk_rows

        positions = np.empty((histories.users, k), dtype=np.int64)
        values = np.empty((histories.users, k), dtype=np.float32)
        for start, stop, batch in user_batches(histories):
            scores = mask_scores(self.scores(batch, item_features), batch, exclude_seen, blocked)
            topk_rows(scores, k, positions[start:stop], values[start:stop])
        return Ranking(positions, values)

    def propose(
        self,
        histories: Histories,
        item_features: ItemFeatures,
        k: int,
        *,
        exclude_seen: bool,
        blocked: npt.NDArray[np.bool_] | None = None,
    ) -> Proposals:
        """Ranks the items of one batch of users, and keeps the scores of all items.

        Args:
            histories: n users over `items`.
            item_features: of `items`, as of the day.
            k: items per user; may be 0.
            exclude_seen: whether items that a user has seen are left out.
            blocked: marks items that no user gets, (m,).
        """
        from batch_predictions.models.recommender.kernels.candidate_kernels import scores_of_items
        from batch_predictions.models.recommender.kernels.topk import topk_rows

        scores = mask_scores(
            self.scores(histories, item_features), histories, exclude_seen, blocked
        )
        positions = np.empty((histories.users, k), dtype=np.int64)
        if k:
            topk_rows(scores, k, positions, np.empty((histories.users, k), dtype=np.float32))

        def scores_of(items: Positions) -> Floats:
            values = np.empty(items.shape, dtype=np.float32)
            scores_of_items(scores, items, values)
            return values

        return Proposals(positions, scores_of)

    @property
    def dense_scores(self) -> int:
        """Number of scores of a user that `propose` holds: those of all items."""
        return len(self.items)

    def user_states(self, histories: Histories) -> UserStates | None:
        """States of users after all their items, for the next day; None where the model has none.

        Args:
            histories: n users over `items`; states of an earlier day are advanced.
        """
        return None

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """Finds the history item that contributes most to the score of each pick, (n, k).

        Args:
            histories: n users over `items`.
            picks: distinct item positions of each user, -1 where it has fewer than k, (n, k).

        Returns:
            Item positions; -1 where no history item has a positive contribution. It may be the pick
            itself.
        """
        return np.full(picks.shape, -1, dtype=np.int64)


class TrainableRecommender(Recommender):
    """A recommender that is fitted on interactions and perhaps on items' attributes.

    Every candidate generator is one.

    Attributes:
        arrays: fitted arrays by name; stored as .npy files.
        fitted_values: further fitted values, as JSON can hold them.
    """

    Params: ClassVar[type[Any]]
    """The class of its parameters, a frozen dataclass whose fields have defaults."""
    reads_attributes: ClassVar[bool] = False
    """True for classes that learn from items' attributes; others ignore them."""
    keeps_states: ClassVar[bool] = False
    """True for classes whose `user_states` are kept for the next day; others are not asked."""

    def __init__(
        self,
        items: pa.StringArray,
        params: Any = None,
        arrays: Mapping[str, npt.NDArray[Any]] | None = None,
        fitted_values: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(items, self.Params() if params is None else params, name)
        self.arrays = dict(arrays or {})
        self.fitted_values = dict(fitted_values or {})

    @classmethod
    @abstractmethod
    def fit(
        cls,
        interactions: Interactions,
        as_of: date,
        params: Any = None,
        users: pa.Table | None = None,
    ) -> Self:
        """Learns from all given rows; equal rows give equal bytes.

        Nothing else is read but what `fit_with_attributes` is given: what was fitted is kept for
        the next training (`training.cache`).

        Args:
            interactions: at least one row.
            as_of: the last day that is known.
            params: an instance of `Params`; None: the defaults.
            users: user_id and demographic traits, where they are known.

        Raises:
            ValueError: a parameter is out of range.
        """

    @classmethod
    def fit_with_attributes(
        cls,
        interactions: Interactions,
        as_of: date,
        params: Any = None,
        users: pa.Table | None = None,
        items: pa.Table | None = None,
    ) -> Self:
        """Fits as `fit` does; a class that `reads_attributes` learns from items' attributes too.

        Args:
            interactions: at least one row.
            as_of: the last day that is known.
            params: an instance of `Params`; None: the defaults.
            users: user_id and demographic traits, where they are known.
            items: item_id and a column per attribute, where they are known; others than those of
                the interactions change nothing. See `ItemMetadata.from_table`.

        Raises:
            ValueError: a parameter is out of range.
        """
        return cls.fit(interactions, as_of, params, users)

    def save(self, folder: Path) -> None:
        """Writes JSON, Parquet and .npy files; equal models give equal bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        write_manifest(
            folder,
            kind=self.kind,
            name=self.name,
            params=asdict(self.params),
            fitted_values=self.fitted_values,
            arrays=sorted(self.arrays),
        )
        pq.write_table(pa.table({"item_id": self.items}), folder / ITEMS)
        for name, array in self.arrays.items():
            np.save(folder / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` of this class wrote; arrays stay on disk and are memory-mapped."""
        manifest = read_manifest(folder)
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
            for name in manifest["arrays"]
        }
        params = cls.Params(**manifest["params"])
        return cls(read_items(folder), params, arrays, manifest["fitted_values"], manifest["name"])

    def _check_width(self, histories: Histories) -> None:
        # Compiled code does not check bounds.
        if histories.width != len(self.items):
            raise ValueError(
                f"{self.name}: histories have {histories.width} columns, "
                f"the model has {len(self.items)} items"
            )


MIN_SEARCHED_ITEMS = 20_000
"""Items from which on the best are searched for, so that not all scores are computed."""


class LinearRecommender(TrainableRecommender):
    """A recommender whose scores are inner products of a vector per user and one per item.

    Attributes:
        device: on which `rank` searches: see `use_device`.
        block_mb: memory of a block of products on a GPU, MiB.
    """

    gains_by_gpu: ClassVar[bool] = True
    """False where most of the work is not a product, so that more CPU workers are faster."""
    device = "cpu"
    block_mb = 256
    _index: tuple[npt.NDArray[np.bool_] | None, Index] | None = None

    @abstractmethod
    def queries(self, histories: Histories) -> Floats:
        """User vectors, (n, f); a user's depends on its own rows only, whatever the batch."""

    @abstractmethod
    def targets(self) -> Floats:
        """Item vectors, (m, f); read-only, perhaps memory-mapped."""

    def scores(self, histories: Histories, item_features: ItemFeatures | None = None) -> Floats:
        """Scores all items by inner products of queries and targets, (n, m)."""
        return inner_products(self.queries(histories), self._target_blocks)

    @cached_property
    def _target_blocks(self) -> TargetBlocks:
        return TargetBlocks.of(self.targets())

    def use_device(self, device: str, block_mb: int) -> None:
        """Chooses the device of `rank` and the memory of a block of products there.

        Args:
            device: `cpu`, `cuda` or `cuda:<number>`.
            block_mb: of a GPU, MiB.
        """
        self.device, self.block_mb, self._index = device, block_mb, None

    def rank(
        self,
        histories: Histories,
        item_features: ItemFeatures,
        k: int,
        *,
        exclude_seen: bool,
        blocked: npt.NDArray[np.bool_] | None = None,
    ) -> Ranking:
        """The k best items of every user; of many items, or on a GPU, by an exact search."""
        if not self._is_searched:
            return super().rank(
                histories, item_features, k, exclude_seen=exclude_seen, blocked=blocked
            )
        return self._search(self.queries(histories), histories, k, exclude_seen, blocked)

    def propose(
        self,
        histories: Histories,
        item_features: ItemFeatures,
        k: int,
        *,
        exclude_seen: bool,
        blocked: npt.NDArray[np.bool_] | None = None,
    ) -> Proposals:
        """Searches for the best of many items, and computes the scores of given ones alone."""
        if not self._is_searched:
            return super().propose(
                histories, item_features, k, exclude_seen=exclude_seen, blocked=blocked
            )
        queries = np.ascontiguousarray(self.queries(histories), dtype=np.float32)
        positions = np.empty((histories.users, 0), dtype=np.int64)
        if k:
            positions = self._search(queries, histories, k, exclude_seen, blocked).positions

        def scores_of(items: Positions) -> Floats:
            values = self._scores_of(queries, histories, items)
            values[histories.is_masked(items, exclude_seen, blocked)] = np.nan
            return values

        return Proposals(positions, scores_of)

    @property
    def dense_scores(self) -> int:
        """Number of scores of a user that `propose` holds: none where it searches."""
        return 0 if self._is_searched else super().dense_scores

    def _scores_of(self, queries: Floats, histories: Histories, items: Positions) -> Floats:
        """Scores of given items, any value where there is no item, (n, k)."""
        from batch_predictions.models.recommender.kernels.candidate_kernels import products_of_items

        values = np.zeros(items.shape, dtype=np.float32)
        products_of_items(queries, np.asarray(self.targets()), items, values)
        return values

    @property
    def _is_searched(self) -> bool:
        return self.device != "cpu" or len(self.items) >= MIN_SEARCHED_ITEMS

    def _search(
        self,
        queries: Floats,
        histories: Histories,
        k: int,
        exclude_seen: bool,
        blocked: npt.NDArray[np.bool_] | None,
    ) -> Ranking:
        from batch_predictions.models.common.topk import Index

        if self._index is None or not is_same_mask(self._index[0], blocked):
            index = Index(
                self.targets(), blocked=blocked, device=self.device, block_mb=self.block_mb
            )
            self._index = blocked, index
        seen = histories.seen_matrix() if exclude_seen else None
        return Ranking(*self._index[1].search(queries, k, seen=seen))


def is_same_mask(a: npt.NDArray[np.bool_] | None, b: npt.NDArray[np.bool_] | None) -> bool:
    """Returns whether two masks of items are equal; None is equal to None alone."""
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


def override_params(defaults: Any, overrides: Mapping[str, Any], name: str) -> Any:
    """Returns parameters with some values replaced.

    Args:
        defaults: a dataclass of parameters.
        overrides: new values by name.
        name: of the generator, for the message.

    Raises:
        ValueError: a name is unknown; the message lists the parameters.
    """
    names = [field.name for field in fields(defaults)]
    unknown = sorted(set(overrides) - set(names))
    if unknown:
        raise ValueError(
            f"{name} has no parameters {', '.join(unknown)}: it has {', '.join(names) or 'none'}"
        )
    return type(defaults)(**{**asdict(defaults), **overrides})

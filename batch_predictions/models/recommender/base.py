"""The one contract of all recommenders: scores of all items from what users did so far.

Scores are computed from the histories that are known when scoring, not from a table of trained
users: whoever appeared after the training is served too, and what a user bought yesterday counts
today. A `Linear` one answers with a vector per user (`queries`) and per item (`targets`).
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.models.recommender.data.histories import Histories, batches
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFacts

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats: TypeAlias = npt.NDArray[np.float32]
Positions: TypeAlias = npt.NDArray[np.int64]

MANIFEST = "recommender.json"
DENSE_MB = 128
"""Memory of the dense scores of one batch of users, MiB."""
ITEMS = "items.parquet"


@dataclass(frozen=True)
class Ranked:
    """Each user's best items: `positions` (n, k), -1 at the end of short lists, and `scores`."""

    positions: Positions
    scores: Floats


class Proposals(NamedTuple):
    """Each user's best items, and how to ask for the scores of others.

    `positions` is (n, k), -1 at the end of short lists; `of(positions)` gives the scores of items
    (n, m), nan where the model has nothing to say or must not say it.
    """

    positions: Positions
    of: Callable[[Positions], Floats]


class Recommender(ABC):
    """A fitted recommender. `items` is sorted; every position below is a position in it."""

    kind: ClassVar[str]
    """What `load` dispatches on."""

    def __init__(
        self,
        name: str,
        items: pa.StringArray,
        params: dict[str, Any],
        arrays: dict[str, npt.NDArray[Any]],
    ) -> None:
        self.name = name
        self.items = items
        self.params = params
        self.arrays = arrays

    @classmethod
    @abstractmethod
    def fit(cls, interactions: Interactions, as_of: date, **params: Any) -> Self:
        """Learn from all given rows, as of the end of `as_of`. The same rows give the same bytes.

        Works on any data with at least one row.
        """

    @abstractmethod
    def scores(self, histories: Histories, facts: ItemFacts | None = None) -> Floats:
        """Scores of all items, (n, len(items)), dense: pass users in batches.

        `histories` are over `items`, and so are the facts of the day, where a model uses them. A
        user's scores depend on its own rows alone; nan: the model has nothing to say of an item.
        """

    def rank(
        self,
        histories: Histories,
        facts: ItemFacts,
        k: int,
        *,
        exclude_seen: bool,
        blocked: npt.NDArray[np.bool_] | None = None,
    ) -> Ranked:
        """The k best items of every user, equal scores by position.

        Args:
            histories: over `items`.
            facts: of `items`, as of the day.
            k: length of the lists; shorter where fewer items have a score.
            exclude_seen: leave out what is in the history.
            blocked: (len(items),) true for items that nobody is to get.
        """
        from batch_predictions.models.recommender.kernels import best

        places = np.empty((histories.users, k), dtype=np.int64)
        values = np.empty((histories.users, k), dtype=np.float32)
        for start, stop, part in in_batches(histories):
            scores = barred(self.scores(part, facts), part, exclude_seen, blocked)
            best(scores, k, places[start:stop], values[start:stop])
        return Ranked(places, values)

    def propose(
        self,
        histories: Histories,
        facts: ItemFacts,
        k: int,
        *,
        exclude_seen: bool,
        blocked: npt.NDArray[np.bool_] | None = None,
    ) -> Proposals:
        """`rank` for a batch of users, whose other scores are wanted too; `k` 0: those alone."""
        from batch_predictions.models.recommender.kernels import best

        scores = barred(self.scores(histories, facts), histories, exclude_seen, blocked)
        places = np.empty((histories.users, k), dtype=np.int64)
        if k:
            best(scores, k, places, np.empty((histories.users, k), dtype=np.float32))

        def of(asked: Positions) -> Floats:
            there = np.take_along_axis(scores, np.maximum(asked, 0), axis=1)
            return np.where(asked >= 0, there, np.float32(np.nan))

        return Proposals(places, of)

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """For each pick, the position of the history item that speaks most for it, (n, k).

        `picks` holds item positions, -1 where a user has fewer than k. The answer is -1 where no
        item of the history has a positive part in the score. It may be the pick itself: "because
        you buy it often".
        """
        return np.full(picks.shape, -1, dtype=np.int64)

    def save(self, folder: Path) -> None:
        """Write the model: JSON, Parquet and .npy files; equal models give equal bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        manifest = {
            "kind": self.kind,
            "name": self.name,
            "params": self.params,
            "arrays": sorted(self.arrays),
        }
        text = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)
        (folder / MANIFEST).write_text(text + "\n")
        pq.write_table(pa.table({"item_id": self.items}), folder / ITEMS)
        for name, array in self.arrays.items():
            np.save(folder / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)

    @staticmethod
    def load(folder: Path) -> Recommender:
        """Read any recommender; its arrays stay on disk and are mapped, not copied."""
        manifest = json.loads((folder / MANIFEST).read_text())
        items = pq.read_table(folder / ITEMS)["item_id"].combine_chunks()
        if isinstance(items, pa.ChunkedArray):
            items = items.combine_chunks()
        if manifest["kind"] == "two_stage":
            from batch_predictions.models.recommender.two_stage import TwoStage

            return TwoStage.read(folder, manifest, items)
        kind = _kinds().get(manifest["kind"])
        if kind is None:
            raise ValueError(f"{folder}: unknown kind of recommender {manifest['kind']!r}")
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
            for name in manifest["arrays"]
        }
        return kind(manifest["name"], items, manifest["params"], arrays)


class Linear(Recommender):
    """score = queries @ targets.T."""

    @property
    def history_half_life_days(self) -> float | None:
        """How events of histories fade when scoring; None: every event counts 1."""
        days: float | None = self.params.get("history_half_life_days")
        return days

    @abstractmethod
    def queries(self, histories: csr_matrix) -> Floats:
        """User vectors, (n, f), from histories (n users x len(items), summed, faded events).

        A user's vector depends on its own row alone, whatever the batch around it; an empty row
        gives zeros where the model has nothing to say.
        """

    @abstractmethod
    def targets(self) -> Floats:
        """Item vectors, (len(items), f); read-only, perhaps mapped from disk."""

    @abstractmethod
    def causes(self, histories: csr_matrix, picks: Positions) -> Positions:
        """`explain` over summed, faded events."""

    def scores(self, histories: Histories, facts: ItemFacts | None = None) -> Floats:
        """Inner products, (n, len(items))."""
        return inner_products(
            self.queries(histories.matrix(self.history_half_life_days)), self.targets()
        )

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """The history item with the largest part in the pick's score."""
        return self.causes(histories.matrix(self.history_half_life_days), picks)

    def _check(self, histories: csr_matrix) -> None:
        if histories.shape[1] != len(self.items):
            raise ValueError(
                f"{self.name}: histories have {histories.shape[1]} columns, "
                f"the model has {len(self.items)} items"
            )


def inner_products(queries: Floats, targets: Floats) -> Floats:
    """queries @ targets.T, (n, m), each the same bits whatever rows stand around it."""
    from batch_predictions.models.recommender.kernels import products

    found = np.empty((len(queries), len(targets)), dtype=np.float32)
    products(
        np.ascontiguousarray(queries, dtype=np.float32),
        np.ascontiguousarray(targets, dtype=np.float32),
        found,
    )
    return found


def in_batches(
    histories: Histories, scores: int | None = None
) -> Iterator[tuple[int, int, Histories]]:
    """Spans of users with their histories, as many as have room for so many dense `scores` each
    (None: one of every item), and a copy of one model's."""
    wanted = 2 * histories.width if scores is None else scores
    size = DENSE_MB * 2**20 // (4 * max(wanted, 1))
    for start, stop in batches(histories.users, int(np.clip(size, 16, 256))):
        yield start, stop, histories.part(start, stop)


def barred(
    scores: Floats,
    histories: Histories,
    exclude_seen: bool,
    blocked: npt.NDArray[np.bool_] | None,
) -> Floats:
    """A copy of scores with nan for items that are not to be offered."""
    scores = np.array(scores, dtype=np.float32)
    if exclude_seen:
        scores[histories.entry_owners, histories.entries] = np.nan
    if blocked is not None:
        scores[:, blocked] = np.nan
    return scores


def is_linear(folder: Path) -> bool:
    """Whether the recommender in a folder is a linear one, without reading it."""
    kind = json.loads((folder / MANIFEST).read_text())["kind"]
    return issubclass(_kinds().get(kind, Recommender), Linear)


def _kinds() -> dict[str, type[Recommender]]:
    from batch_predictions.models.recommender.generators.registry import FAMILIES

    return {kind.kind: kind for kind in FAMILIES}

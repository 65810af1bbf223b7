"""The one contract of all recommenders: a user vector times an item vector is a score.

Whatever a model learns, it answers with `queries` (one row per user) and `targets` (one row per
item), score = queries @ targets.T. So one top-k routine, exact or on a GPU, serves them all.
Query vectors are computed from the history that is known when scoring, not from a table of
trained users: whoever appeared after the training is served too, and what a user bought yesterday
counts today.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.models.recommender.data import Interactions

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats: TypeAlias = npt.NDArray[np.float32]
Positions: TypeAlias = npt.NDArray[np.int64]

MANIFEST = "recommender.json"
ITEMS = "items.parquet"


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

    @property
    def history_half_life_days(self) -> float | None:
        """How the counts of histories are to be weighted when scoring: an event counts
        0.5 ** (age in days / half-life); None: every event counts 1, as in training."""
        days: float | None = self.params.get("history_half_life_days")
        return days

    @classmethod
    @abstractmethod
    def fit(cls, interactions: Interactions, as_of: date, **params: Any) -> Self:
        """Learn from all given rows, as of the end of `as_of`. The same rows give the same bytes.

        Works on any data with at least one row.
        """

    @abstractmethod
    def queries(self, histories: csr_matrix) -> Floats:
        """User vectors, (n, f), from histories (n users x len(items), summed events).

        A user's vector depends on its own row alone, whatever the batch around it; an empty row
        gives zeros where the model has nothing to say.
        """

    @abstractmethod
    def targets(self) -> Floats:
        """Item vectors, (len(items), f); read-only, perhaps mapped from disk."""

    def explain(self, histories: csr_matrix, picks: Positions) -> Positions:
        """For each pick, the position of the history item that speaks most for it, (n, k).

        `picks` holds item positions, -1 where a user has fewer than k. The answer is -1 where no
        item of the history has a positive part in the score. It may be the pick itself: "because
        you buy it often".
        """
        self._check(histories)
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
        kind = _kinds().get(manifest["kind"])
        if kind is None:
            raise ValueError(f"{folder}: unknown kind of recommender {manifest['kind']!r}")
        items = pq.read_table(folder / ITEMS)["item_id"].combine_chunks()
        if isinstance(items, pa.ChunkedArray):
            items = items.combine_chunks()
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
            for name in manifest["arrays"]
        }
        return kind(manifest["name"], items, manifest["params"], arrays)

    def _check(self, histories: csr_matrix) -> None:
        if histories.shape[1] != len(self.items):
            raise ValueError(
                f"{self.name}: histories have {histories.shape[1]} columns, "
                f"the model has {len(self.items)} items; use histories_to_csr(model.items, ...)"
            )


def _kinds() -> dict[str, type[Recommender]]:
    from batch_predictions.models.recommender.als import ALS
    from batch_predictions.models.recommender.ease import EASE
    from batch_predictions.models.recommender.popularity import Popularity

    return {kind.kind: kind for kind in (ALS, EASE, Popularity)}

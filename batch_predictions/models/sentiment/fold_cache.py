"""Predictions of finished folds, kept as Parquet, so that a long comparison goes on where it was.

A file a model and fold; its name holds a hash of everything that the predictions depend on but the
code: data, folds, seed, options, and names of vectors and encoder.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.models.sentiment.data import Labels, Reviews
from batch_predictions.models.sentiment.models.base import Floats


@dataclass(frozen=True)
class FoldCache:
    """A folder of finished folds; `basis` is a hash, see `basis_of`."""

    folder: Path
    basis: str

    def path(self, name: str, fold: int) -> Path:
        """Where a model's predictions of a fold are."""
        return self.folder / f"{name}-{fold:02d}-{self.basis}.parquet"

    def read(self, name: str, fold: int) -> tuple[Floats, float] | None:
        """Probabilities (n, classes) and the seconds they took; None where they are to be made."""
        path = self.path(name, fold)
        if not path.is_file():
            return None
        table = pq.read_table(path)
        columns = [each for each in table.column_names if each.startswith("p_")]
        seconds = float((table.schema.metadata or {})[b"seconds"])
        return np.stack([table[each].to_numpy() for each in columns], axis=1), seconds

    def write(
        self, name: str, fold: int, probabilities: Floats, seconds: float, truth: Labels
    ) -> None:
        """Keeps a fold: `label`, and `p_<class>` for every class, in the order judged."""
        columns = {f"p_{n}": probabilities[:, n] for n in range(probabilities.shape[1])}
        table = pa.table({"label": truth, **columns})
        path = self.path(name, fold)
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        pq.write_table(table.replace_schema_metadata({"seconds": repr(seconds)}), draft)
        # Whole or not at all: a run that is ended while it writes leaves no half file.
        draft.replace(path)


def basis_of(reviews: list[Reviews], further: dict[str, Any]) -> str:
    """Hash of reviews (texts, labels, groups) and of further values, 16 characters."""
    found = hashlib.sha256(json.dumps(further, sort_keys=True, default=str).encode())
    for each in reviews:
        found.update(json.dumps([each.documents.texts, each.groups]).encode())
        found.update(np.ascontiguousarray(each.labels).tobytes())
    return found.hexdigest()[:16]

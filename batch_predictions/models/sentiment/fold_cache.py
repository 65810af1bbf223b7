"""Caches the predictions of finished folds, so that an interrupted benchmark can be resumed.

One Parquet file per model and fold, and a text file with the model that was chosen in a fold. The
files' names contain a hash of everything that the predictions depend on except the code: data,
folds, seed, options, paths of vectors and encoder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.core.arrays import Floats
from batch_predictions.core.durability import atomic_write
from batch_predictions.models.sentiment.text.labelled_reviews import Labels, Reviews


@dataclass(frozen=True)
class FoldCache:
    """A folder of predictions of finished folds.

    Attributes:
        folder: created when the first fold is written.
        input_hash: see `hash_inputs`.
    """

    folder: Path
    input_hash: str

    def path(self, model: str, fold: int) -> Path:
        """Returns the file of a model's predictions of a fold."""
        return self.folder / f"{model}-{fold:02d}-{self.input_hash}.parquet"

    def read(self, model: str, fold: int) -> tuple[Floats, float] | None:
        """Probabilities (n, classes) and the seconds that scoring took; None if not cached."""
        path = self.path(model, fold)
        if not path.is_file():
            return None
        table = pq.read_table(path)
        columns = [name for name in table.column_names if name.startswith("p_")]
        seconds = float((table.schema.metadata or {})[b"seconds"])
        return np.stack([table[name].to_numpy() for name in columns], axis=1), seconds

    def write(
        self, model: str, fold: int, probabilities: Floats, seconds: float, truth: Labels
    ) -> None:
        """Writes a fold: `label`, and `p_<class>` for every class, one row per test review.

        Args:
            model: name of the model.
            fold: number of the fold.
            probabilities: of the test reviews, (reviews, classes).
            seconds: duration of the fold.
            truth: class of each test review, (reviews,).
        """
        columns = {f"p_{n}": probabilities[:, n] for n in range(probabilities.shape[1])}
        table = pa.table({"label": truth, **columns})
        path = self.path(model, fold)
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        pq.write_table(table.replace_schema_metadata({"seconds": repr(seconds)}), temporary)
        # Renamed when complete: a run that is killed while it writes leaves no partial file.
        temporary.replace(path)

    def read_choice(self, models: Sequence[str], fold: int) -> str | None:
        """The model that was chosen in a fold's training part; None if not cached."""
        path = self._choice_path(models, fold)
        return path.read_text("utf-8") if path.is_file() else None

    def write_choice(self, models: Sequence[str], fold: int, name: str) -> None:
        """Writes the model that was chosen among others in a fold's training part.

        Args:
            models: names of the models to choose from.
            fold: number of the fold.
            name: of the chosen model.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic_write(self._choice_path(models, fold), name)

    def _choice_path(self, models: Sequence[str], fold: int) -> Path:
        names_hash = hashlib.sha256(json.dumps(models).encode()).hexdigest()[:8]
        return self.folder / f"choice-{names_hash}-{fold:02d}-{self.input_hash}.txt"


def hash_inputs(datasets: Sequence[Reviews], parameters: Mapping[str, object]) -> str:
    """Hash of reviews (texts, labels, groups) and parameters, 16 hexadecimal digits."""
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True, default=str).encode())
    for reviews in datasets:
        digest.update(json.dumps([reviews.documents.texts, reviews.groups]).encode())
        digest.update(np.ascontiguousarray(reviews.labels).tobytes())
    return digest.hexdigest()[:16]

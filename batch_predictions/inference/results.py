"""Result files: one Parquet file per shard with its hash, intact or scored again.

Here is also the manifest of a staged partition: its shards, and all that a worker needs to score
them.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from batch_predictions.core.file_hashes import hash_file
from batch_predictions.core.home_bucket import fetch
from batch_predictions.core.relative_paths import FileName
from batch_predictions.inference.scorer import ScorerMetric, metrics_in

MANIFEST = "manifest.json"
UNSTAGED_KEYS = "unstaged-keys.parquet"
"""File beside the manifest with the eligible keys that are not among the rows, and reasons."""


class Shard(BaseModel):
    """Rows that are scored together, and the name under which their result is stored."""

    model_config = ConfigDict(frozen=True)

    name: FileName
    rows: int
    first_key: str
    last_key: str
    result: FileName


class StagingManifest(BaseModel):
    """A partition that is ready to score. Only the path of this file passes between steps."""

    model_config = ConfigDict(frozen=True)

    table: str
    partition: str
    key: tuple[str, ...]
    rows: int
    unstaged: int = 0
    """Number of the eligible keys in the file `UNSTAGED_KEYS`, which no shard has."""
    shards: tuple[Shard, ...]
    lookup_tables: dict[str, FileName]
    scorer: str
    model: str | None
    model_version: str
    model_folder: str | None
    parameters: dict[str, Any]
    plugins: tuple[str, ...] = ()
    """Modules that a worker imports first: they may declare the scorer, or what its model needs."""
    shared: bool = False
    """True: workers are on machines that share the bucket of the home, and not its folder."""

    @classmethod
    def read(cls, path: Path) -> StagingManifest:
        """Reads the manifest at a path."""
        return cls.model_validate_json(path.read_text(encoding="utf-8"))

    def model_path(self, manifest_path: Path) -> Path | None:
        """The folder of the model's files on this machine; None for a rule."""
        if self.model_folder is None:
            return None
        return Path(os.path.normpath(manifest_path.parent / self.model_folder))


def fetch_stage(manifest_path: Path) -> None:
    """Downloads a stage and its results, as far as other machines have shared them.

    Raises:
        HomeError: the bucket of the home cannot be read.
    """
    fetch(manifest_path.parent)
    for path in fetch(manifest_path.parent.parent / "results"):
        # An object is whole.
        _write_and_rename(digest_path(path), hash_file(path).encode())


def result_path(manifest_path: Path, shard: Shard) -> Path:
    """Path of a shard's result: in the partition's folder, so that all its stages share results."""
    return manifest_path.parent.parent / "results" / f"{shard.result}.parquet"


def write_result(result: pa.RecordBatch, path: Path) -> None:
    """Writes a result and its SHA-256 beside it, each under a temporary name that is renamed."""
    buffer = pa.BufferOutputStream()
    # Written once and read once, whole: dictionaries for text only, no statistics and a fast
    # compression take half the time of the defaults with zstd. Scores are float64 from float32;
    # byte stream split compresses their zero bytes.
    pq.write_table(
        pa.Table.from_batches([result]),
        buffer,
        compression="lz4",
        use_dictionary=_column_paths(result.schema, _is_text),
        use_byte_stream_split=_column_paths(result.schema, pa.types.is_floating),
        write_statistics=False,
    )
    save_result(buffer.getvalue(), path)


def save_result(content: bytes | pa.Buffer, path: Path) -> None:
    """Writes the Parquet file of a result, and its SHA-256 beside it."""
    digest = hashlib.sha256(content).hexdigest()
    # The hash first: a result without one does not count.
    _write_and_rename(digest_path(path), digest.encode())
    _write_and_rename(path, content)


def digest_path(path: Path) -> Path:
    """Returns the path of the file with the SHA-256 of a result, in hexadecimal."""
    return path.with_suffix(".sha256")


def is_intact(path: Path) -> bool:
    """Returns whether a result exists and has its hash.

    Results are not fsynced, for they can be scored again: after a power failure a file may have its
    name and not its bytes.
    """
    try:
        digest = digest_path(path).read_bytes().decode("ascii")
        return hash_file(path) == digest
    except (FileNotFoundError, UnicodeDecodeError):
        return False


def damaged_results(manifest: StagingManifest, manifest_path: Path) -> list[Path]:
    """Results of a partition that are missing or not as they were written."""
    return [path for path in result_files(manifest, manifest_path) if not is_intact(path)]


def _write_and_rename(path: Path, content: bytes | pa.Buffer) -> None:
    draft = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def result_files(manifest: StagingManifest, manifest_path: Path) -> list[Path]:
    """Paths of the results of all shards."""
    return [result_path(manifest_path, shard) for shard in manifest.shards]


def mean_metrics(manifest_path: Path) -> dict[str, ScorerMetric]:
    """The scorers' metrics over all results of a partition, weighted by their sample sizes."""
    sums: dict[str, tuple[float, int]] = {}
    for file in result_files(StagingManifest.read(manifest_path), manifest_path):
        for name, metric in metrics_in(pq.read_schema(file)).items():
            total, size = sums.get(name, (0.0, 0))
            sums[name] = total + metric.mean * metric.sample_size, size + metric.sample_size
    return {
        name: ScorerMetric(mean=total / size, sample_size=size)
        for name, (total, size) in sums.items()
        if size
    }


def _column_paths(
    fields: Iterable[pa.Field], has_type: Callable[[Any], bool], prefix: str = ""
) -> list[str]:
    """Parquet's paths of the columns of a type, including those inside structs and lists."""
    paths = []
    for field in fields:
        path = f"{prefix}{field.name}"
        if pa.types.is_struct(field.type):
            paths += _column_paths(field.type, has_type, f"{path}.")
        elif pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            element = pa.field("element", field.type.value_type)
            paths += _column_paths([element], has_type, f"{path}.list.")
        elif has_type(field.type):
            paths.append(path)
    return paths


def _is_text(type_: object) -> bool:
    """Returns whether a column is stored with a dictionary: text, or one that already is."""
    return (
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_dictionary(type_)
    )

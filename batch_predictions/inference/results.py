"""Result files: one Parquet file per shard, complete or absent."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.inference.manifest import StagingManifest, result_path
from batch_predictions.inference.scorer import ScorerMetric, metrics_in


def write_result(result: pa.RecordBatch, path: Path) -> None:
    """Writes a result under a temporary name and renames it."""
    draft = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        with draft.open("wb") as file:
            # Written once and read once, whole: dictionaries for text only, no statistics and a
            # fast compression take half the time of the defaults with zstd. Scores are float64
            # from float32; byte stream split compresses their zero bytes.
            pq.write_table(
                pa.Table.from_batches([result]),
                file,
                compression="lz4",
                use_dictionary=_column_paths(result.schema, _is_text),
                use_byte_stream_split=_column_paths(result.schema, pa.types.is_floating),
                write_statistics=False,
            )
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def is_complete(path: Path) -> bool:
    """Whether a result exists and has its Parquet footer.

    Results are not fsynced, for they can be scored again: after a power failure a file may have its
    name and not its bytes.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 8))
            footer = file.read()
    except FileNotFoundError:
        return False
    length = int.from_bytes(footer[:4], "little")
    return footer[4:] == b"PAR1" and 0 < length <= size - 12


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


def _is_text(type_: Any) -> bool:
    """Whether a column is stored with a dictionary: text, and columns that have one already."""
    return (
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_dictionary(type_)
    )

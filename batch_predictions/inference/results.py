"""The files of results: one a shard, whole or not there, kept until the partition is swept."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.inference.scorer import ScorerMetric, metrics_in
from batch_predictions.inference.staging import StagingManifest, result_path


def write(result: pa.RecordBatch, target: Path) -> None:
    """Writes a result beside its place and renames it there."""
    draft = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    try:
        with draft.open("wb") as file:
            # Read once, by `load`, and by no one who would skip by statistics: half the time of
            # the defaults with zstd, which try a dictionary on every column of scores. Scores come
            # from float32 mostly: split by bytes, their empty halves take nothing.
            pq.write_table(
                pa.Table.from_batches([result]),
                file,
                compression="lz4",
                use_dictionary=_leaves(result.schema, _is_text),
                use_byte_stream_split=_leaves(result.schema, pa.types.is_floating),
                write_statistics=False,
            )
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def is_complete(result: Path) -> bool:
    """Whether a result is there to its end: a machine that lost its power may have kept the name of
    a file and not its bytes. Results are not forced to the disk one by one: they can be made again.
    """
    try:
        with result.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 8))
            footer = file.read()
    except FileNotFoundError:
        return False
    length = int.from_bytes(footer[:4], "little")
    return footer[4:] == b"PAR1" and 0 < length <= size - 12


def metrics_of(manifest_path: Path) -> dict[str, ScorerMetric]:
    """The figures that scorers noted beside all results of a partition, as one mean each."""
    sums: dict[str, tuple[float, int]] = {}
    for shard in StagingManifest.read(manifest_path).shards:
        for name, note in metrics_in(pq.read_schema(result_path(manifest_path, shard))).items():
            total, of = sums.get(name, (0.0, 0))
            sums[name] = total + note.mean * note.of, of + note.of
    return {name: ScorerMetric(mean=total / of, of=of) for name, (total, of) in sums.items() if of}


def _leaves(fields: Iterable[pa.Field], wanted: Callable[[Any], bool], path: str = "") -> list[str]:
    """Parquet's names of the columns whose type is wanted, those within structs and lists too."""
    found = []
    for field in fields:
        name = f"{path}{field.name}"
        if pa.types.is_struct(field.type):
            found += _leaves(field.type, wanted, f"{name}.")
        elif pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            inside = pa.field("element", field.type.value_type)
            found += _leaves([inside], wanted, f"{name}.list.")
        elif wanted(field.type):
            found.append(name)
    return found


def _is_text(kind: Any) -> bool:
    """Whether a dictionary is for it; a column that comes with one keeps it."""
    return (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)
    )

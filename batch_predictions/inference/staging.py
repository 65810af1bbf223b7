"""The first step of a prediction: writes the rows to score as Parquet shards with a manifest.

The name of a shard's result is a hash of everything that the result depends on: the shard's bytes,
the lookup tables, the model's version, the scorer and its parameters. A shard whose result exists
under its hash is not scored again.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.core.durability import rename_if_absent, write_and_fsync
from batch_predictions.core.file_hashes import hash_file
from batch_predictions.core.home_bucket import share
from batch_predictions.inference.results import MANIFEST, UNSTAGED_KEYS, Shard, StagingManifest
from batch_predictions.inference.scorer import Scorer, scorer_name
from batch_predictions.inference.staged_keys import stream_unstaged_keys, validate_keys
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse

SMALL_PARTITION_SHARDS = 8
"""With fewer full shards, one instance would wait for another for much of the time."""


@dataclass(frozen=True)
class StagingSpec:
    """One partition to stage: its rows, and everything that a worker needs to score them.

    Attributes:
        table: table of the prediction.
        partition: `YYYY-MM-DD`.
        rows: query for the rows to score.
        key: columns of the rows that identify what is scored; unique.
        eligible: query for all keys that should be scored or have a reason; None: those of `rows`.
        scorer: class that scores the rows.
        model_version: version that the predictions carry.
        model: name of the model; None for a rule.
        model_folder: folder of the model's files, may be given from the stage's; None for a rule.
        parameters: the scorer's parameters (JSON values).
        lookup_tables: queries by name.
        child_tables: child tables by column of the scorer's rows.
        sql_parameters: values that the queries may bind.
        plugins: modules that a worker imports before it loads the scorer.
        shared: whether workers are on machines that share a bucket instead of the folder.
        shard_rows: rows of a shard.
        small_shard_rows: rows of a shard where fewer than `SMALL_PARTITION_SHARDS` shards of
            `shard_rows` would be written, so that instances end together; None: as many.
        shard_mb: upper bound of a shard in memory, MiB; wide rows make shards of fewer rows.
    """

    table: Table
    partition: str
    rows: str
    key: tuple[str, ...]
    scorer: type[Scorer]
    model_version: str
    shard_rows: int
    small_shard_rows: int | None = None
    shard_mb: int = 64
    eligible: str | None = None
    model: str | None = None
    model_folder: Path | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    lookup_tables: Mapping[str, str] = field(default_factory=dict)
    child_tables: Mapping[str, Table] = field(default_factory=dict)
    sql_parameters: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    shared: bool = False

    def hashed_values(self, lookup_digests: Mapping[str, str]) -> list[Any]:
        """JSON values that every result depends on, besides its rows.

        Args:
            lookup_digests: SHA-256 of the lookup tables' files, by name.
        """
        values = [
            dict(lookup_digests),
            self.model_version,
            scorer_name(self.scorer),
            self.scorer.version,
            dict(self.parameters),
        ]
        if self.child_tables:
            # Results from before a child table was declared lack its column.
            values.append({name: _column_types(t) for name, t in self.child_tables.items()})
        return values

    def manifest(
        self, shards: list[Shard], lookup_files: dict[str, str], unstaged: int = 0
    ) -> StagingManifest:
        """Builds the manifest of the written shards, lookup tables and unstaged keys."""
        return StagingManifest(
            table=self.table.qualified,
            partition=self.partition,
            key=self.key,
            rows=sum(shard.rows for shard in shards),
            unstaged=unstaged,
            shards=tuple(shards),
            lookup_tables=lookup_files,
            scorer=scorer_name(self.scorer),
            model=self.model,
            model_version=self.model_version,
            model_folder=str(self.model_folder) if self.model_folder else None,
            parameters=dict(self.parameters),
            plugins=self.plugins,
            shared=self.shared,
        )


def stage(warehouse: Warehouse, folder: Path, spec: StagingSpec) -> Path:
    """Writes the rows of a partition as shards, sorted by the key.

    Args:
        warehouse: what the queries read.
        folder: the engine's folder.
        spec: what to stage.

    Returns:
        The manifest's path. An equal stage that exists already is used again.

    Raises:
        StagingError: a column of the key is missing, or a key is not unique or not eligible.
    """
    partition_folder = folder / spec.table.name / spec.partition
    draft = partition_folder / f".draft-{uuid.uuid4().hex}"
    draft.mkdir(parents=True)
    try:
        lookup_files = {name: f"lookup-{name}.parquet" for name in spec.lookup_tables}
        lookup_digests = {}
        for name, sql in spec.lookup_tables.items():
            with warehouse.stream(sql, spec.sql_parameters) as reader:
                lookup_digests[name] = _write_parquet(reader, draft / lookup_files[name])
        hashed_values = spec.hashed_values(lookup_digests)
        shards = _write_shards(warehouse, draft, spec, hashed_values)
        results: list[object] = [[shard.result for shard in shards]]
        unstaged = 0
        if spec.eligible is not None:
            # Their hash is part of the stage's, and of no result's: those are used again.
            results.append(_write_unstaged_keys(warehouse, draft, spec, shards))
            unstaged = pq.read_metadata(draft / UNSTAGED_KEYS).num_rows
        manifest = spec.manifest(shards, lookup_files, unstaged)
        write_and_fsync(draft / MANIFEST, manifest.model_dump_json(indent=1))
        content_hash = _hash([*results, *hashed_values])
        staged = partition_folder / f"staged-{content_hash}"
        if staged.is_dir() and not _is_equal(draft, staged):
            # Damaged, for only the manifest is fsynced; or the model's folder has moved with the
            # home.
            shutil.rmtree(staged)
        rename_if_absent(draft, staged)
        if spec.shared:
            share(staged)
        return staged / MANIFEST
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_shards(
    warehouse: Warehouse, folder: Path, spec: StagingSpec, hashed_values: list[object]
) -> list[Shard]:
    shards = []
    sorted_rows = f"select * from ({spec.rows}) as rows_ order by {', '.join(spec.key)}"
    with warehouse.stream(sorted_rows, spec.sql_parameters, spec.shard_rows) as reader:
        previous_key: tuple[object, ...] | None = None
        for number, table in enumerate(_shard_tables(reader, spec)):
            previous_key = validate_keys(table, spec.key, previous_key, spec.table)
            name = f"shard-{number:05d}.parquet"
            digest = _write_parquet(table, folder / name)
            shards.append(
                Shard(
                    name=name,
                    rows=table.num_rows,
                    first_key=_format_key(table, spec.key, 0),
                    last_key=_format_key(table, spec.key, table.num_rows - 1),
                    result=_hash([digest, *hashed_values]),
                )
            )
    return shards


def _write_unstaged_keys(
    warehouse: Warehouse, folder: Path, spec: StagingSpec, shards: list[Shard]
) -> str:
    """Writes the eligible keys that no shard has, with their reasons. Returns the SHA-256."""
    assert spec.eligible is not None
    files = [folder / shard.name for shard in shards]
    with stream_unstaged_keys(
        warehouse, spec.eligible, spec.sql_parameters, spec.key, spec.table, files
    ) as reader:
        return _write_parquet(reader, folder / UNSTAGED_KEYS)


def _shard_tables(reader: pa.RecordBatchReader, spec: StagingSpec) -> Iterator[pa.Table]:
    """The rows of each shard; those of a small partition in small shards."""
    max_bytes = spec.shard_mb * 2**20
    small_rows = min(spec.small_shard_rows or spec.shard_rows, spec.shard_rows)
    per_shard = spec.shard_rows // small_rows
    tables = _split(reader, small_rows, max_bytes)
    if per_shard == 1:
        yield from tables
        return
    first = list(islice(tables, SMALL_PARTITION_SHARDS * per_shard))
    if len(first) < SMALL_PARTITION_SHARDS * per_shard:
        yield from first
        return
    joined: list[pa.Table] = []
    for table in chain(first, tables):
        size = sum(part.nbytes for part in joined) + table.nbytes
        if joined and (len(joined) == per_shard or size > max_bytes):
            yield pa.concat_tables(joined)
            joined = []
        joined.append(table)
    if joined:
        yield pa.concat_tables(joined)


def _split(reader: pa.RecordBatchReader, max_rows: int, max_bytes: int) -> Iterator[pa.Table]:
    """Yields tables of `max_rows` rows, or of fewer where these take more than `max_bytes`.

    Where a table ends depends on the rows alone, not on the reader's batches.
    """
    slices: list[pa.RecordBatch] = []
    row_count = byte_count = 0
    for batch in reader:
        while batch.num_rows:
            head = batch.slice(0, max_rows - row_count)
            while head.num_rows > 1 and byte_count + head.nbytes > max_bytes:
                head = head.slice(0, head.num_rows // 2)
            if slices and byte_count + head.nbytes > max_bytes:
                yield pa.Table.from_batches(slices)
                slices, row_count, byte_count = [], 0, 0
                continue
            slices.append(head)
            row_count += head.num_rows
            byte_count += head.nbytes
            batch = batch.slice(head.num_rows)
            if row_count == max_rows:
                yield pa.Table.from_batches(slices)
                slices, row_count, byte_count = [], 0, 0
    if row_count:
        yield pa.Table.from_batches(slices)


def _is_equal(draft: Path, staged: Path) -> bool:
    """Returns whether a stage has all files of a draft, byte for byte."""
    try:
        return all(filecmp.cmp(staged / file.name, file, shallow=False) for file in draft.iterdir())
    except FileNotFoundError:
        return False


def _column_types(table: Table) -> list[str]:
    return [f"{column.name} {column.type}" for column in table.columns]


def _format_key(rows: pa.Table, key: tuple[str, ...], row: int) -> str:
    return "|".join(str(rows[name][row].as_py()) for name in key)


def _write_parquet(rows: pa.Table | pa.RecordBatchReader, path: Path) -> str:
    """Writes a Parquet file; equal rows in equal order give equal bytes. Returns its SHA-256."""
    if isinstance(rows, pa.Table):
        pq.write_table(rows.combine_chunks(), path, compression="zstd")
    else:
        with pq.ParquetWriter(path, rows.schema, compression="zstd") as writer:
            for batch in rows:
                writer.write_batch(batch)
    return hash_file(path)


def _hash(values: list[object]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:24]

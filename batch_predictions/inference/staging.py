"""The first step of a prediction: the rows to score, as shards with a manifest.

Everything that a result depends on is hashed: the shard's bytes, the side tables, the model's
version, the scorer and its parameters. A result that is kept under the same hash is not made again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from batch_predictions.home import rename_if_absent, write_and_fsync
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse

MANIFEST = "manifest.json"


class StagingError(ValueError):
    """The rows to score are not what the declaration says; the message names them."""


class Shard(BaseModel):
    """Some rows to score, and the name under which their result is kept."""

    model_config = ConfigDict(frozen=True)

    name: str
    rows: int
    first_key: str
    last_key: str
    result: str


class StagingManifest(BaseModel):
    """A partition that is ready to score. Only the path of this file passes between steps."""

    model_config = ConfigDict(frozen=True)

    table: str
    partition: str
    key: tuple[str, ...]
    rows: int
    shards: tuple[Shard, ...]
    lookup_tables: dict[str, str]
    scorer: str
    model: str | None
    model_version: str
    model_folder: str | None
    parameters: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> StagingManifest:
        """The manifest at a path."""
        return cls.model_validate_json(path.read_text(encoding="utf-8"))


def stage(
    warehouse: Warehouse,
    folder: Path,
    *,
    table: Table,
    partition: str,
    rows: str,
    side: Mapping[str, str],
    key: tuple[str, ...],
    sql_parameters: Mapping[str, Any],
    scorer: str,
    scorer_version: str,
    parameters: Mapping[str, Any],
    model: str | None,
    model_version: str,
    model_folder: Path | None,
    shard_rows: int,
    shard_mb: int = 64,
    companions: Mapping[str, Table] = {},
) -> Path:
    """Writes the rows of a query as shards, in the order of the key.

    Returns:
        The manifest's path. An equal stage that is there already is used again.

    Raises:
        StagingError: a column of the key is missing, or a key stands twice.
    """
    place = folder / table.name / partition
    draft = place / f".draft-{uuid.uuid4().hex}"
    draft.mkdir(parents=True)
    try:
        sides = {}
        for name, sql in side.items():
            with warehouse.stream(sql, sql_parameters) as reader:
                sides[name] = _write(reader, draft / f"side-{name}.parquet")
        basis = [sides, model_version, scorer, scorer_version, dict(parameters)]
        if companions:
            # Results that were kept before a companion was declared do not have its column.
            basis.append({name: _columns(each) for name, each in companions.items()})
        shards = []
        ordered = f"select * from ({rows}) as rows_ order by {', '.join(key)}"
        with warehouse.stream(ordered, sql_parameters, shard_rows) as reader:
            last: tuple[Any, ...] | None = None
            for number, shard in enumerate(_chunks(reader, shard_rows, shard_mb * 2**20)):
                last = _check_key(shard, key, last, table)
                name = f"shard-{number:05d}.parquet"
                digest = _write(shard, draft / name)
                shards.append(
                    Shard(
                        name=name,
                        rows=shard.num_rows,
                        first_key=_key_text(shard, key, 0),
                        last_key=_key_text(shard, key, shard.num_rows - 1),
                        result=_hash([digest, *basis]),
                    )
                )
        manifest = StagingManifest(
            table=table.qualified,
            partition=partition,
            key=key,
            rows=sum(shard.rows for shard in shards),
            shards=tuple(shards),
            lookup_tables={name: f"side-{name}.parquet" for name in side},
            scorer=scorer,
            model=model,
            model_version=model_version,
            model_folder=str(model_folder) if model_folder else None,
            parameters=dict(parameters),
        )
        write_and_fsync(draft / MANIFEST, manifest.model_dump_json(indent=1))
        staged = place / f"staged-{_hash([[shard.result for shard in shards], *basis])}"
        if staged.is_dir() and not _equal(draft, staged):
            # Cut short by a machine that lost its power, for only the manifest was forced to the
            # disk; or the home has moved, and with it the model's folder.
            shutil.rmtree(staged)
        rename_if_absent(draft, staged)
        return staged / MANIFEST
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def result_path(manifest_path: Path, shard: Shard) -> Path:
    """Where a shard's result is kept: beside the stages of its partition, by content."""
    return manifest_path.parent.parent / "results" / f"{shard.result}.parquet"


def _chunks(reader: pa.RecordBatchReader, rows: int, size: int) -> Iterator[pa.Table]:
    """The reader's rows in tables of `rows` rows, or fewer where these take more than `size` bytes.

    Where wide rows (long histories) end a table depends on the rows alone.
    """
    held: list[pa.RecordBatch] = []
    count = taken = 0
    for batch in reader:
        while batch.num_rows:
            part = batch.slice(0, rows - count)
            while part.num_rows > 1 and taken + part.nbytes > size:
                part = part.slice(0, part.num_rows // 2)
            if held and taken + part.nbytes > size:
                yield pa.Table.from_batches(held)
                held, count, taken = [], 0, 0
                continue
            held.append(part)
            count += part.num_rows
            taken += part.nbytes
            batch = batch.slice(part.num_rows)
            if count == rows:
                yield pa.Table.from_batches(held)
                held, count, taken = [], 0, 0
    if count:
        yield pa.Table.from_batches(held)


def _check_key(
    shard: pa.Table, key: tuple[str, ...], last: tuple[Any, ...] | None, table: Table
) -> tuple[Any, ...]:
    """Refuses keys that stand twice; the rows come in the key's order. The shard's last key."""
    missing = [name for name in key if name not in shard.column_names]
    if missing:
        raise StagingError(f"{table.qualified}: the rows to score have no column {missing}")
    keys = shard.select(key)
    first = tuple(keys.slice(0, 1).to_pylist()[0].values())
    equal = [
        pc.or_kleene(
            pc.equal(keys[name].slice(1), keys[name].slice(0, len(keys) - 1)),
            pc.and_(
                pc.is_null(keys[name].slice(1)), pc.is_null(keys[name].slice(0, len(keys) - 1))
            ),
        ).fill_null(False)
        for name in key
    ]
    same = equal[0]
    for each in equal[1:]:
        same = pc.and_(same, each)
    if first == last or pc.any(same).as_py():
        where = 0 if first == last else pc.index(same, True).as_py()
        row = keys.slice(where, 1).to_pylist()[0]
        raise StagingError(f"{table.qualified}: key {row} stands twice among the rows to score")
    return tuple(keys.slice(len(keys) - 1, 1).to_pylist()[0].values())


def _equal(draft: Path, staged: Path) -> bool:
    """Whether a stage has all files of a draft under the same hash, whole, and its manifest."""
    try:
        return (
            all(
                (staged / file.name).stat().st_size == file.stat().st_size
                for file in draft.iterdir()
            )
            and (staged / MANIFEST).read_bytes() == (draft / MANIFEST).read_bytes()
        )
    except FileNotFoundError:
        return False


def _columns(table: Table) -> list[str]:
    return [f"{each.name} {each.type}" for each in table.columns]


def _key_text(shard: pa.Table, key: tuple[str, ...], row: int) -> str:
    return "|".join(str(shard[name][row].as_py()) for name in key)


def _write(rows: pa.Table | pa.RecordBatchReader, path: Path) -> str:
    """Writes Parquet; equal rows in equal order give equal bytes. Returns their hash."""
    if isinstance(rows, pa.Table):
        pq.write_table(rows.combine_chunks(), path, compression="zstd")
    else:
        with pq.ParquetWriter(path, rows.schema, compression="zstd") as writer:
            for batch in rows:
                writer.write_batch(batch)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash(basis: Any) -> str:
    return hashlib.sha256(json.dumps(basis, sort_keys=True).encode()).hexdigest()[:24]

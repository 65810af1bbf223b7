"""The manifest of a staged partition: its shards, and all that a worker needs to score them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from batch_predictions.core.relative_paths import FileName

MANIFEST = "manifest.json"


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
    shards: tuple[Shard, ...]
    lookup_tables: dict[str, FileName]
    scorer: str
    model: str | None
    model_version: str
    model_folder: str | None
    parameters: dict[str, Any]
    plugins: tuple[str, ...] = ()
    """Modules that a worker imports first: they may declare the scorer, or what its model needs."""

    @classmethod
    def read(cls, path: Path) -> StagingManifest:
        """Reads the manifest at a path."""
        return cls.model_validate_json(path.read_text(encoding="utf-8"))


def result_path(manifest_path: Path, shard: Shard) -> Path:
    """Path of a shard's result: in the partition's folder, so that all its stages share results."""
    return manifest_path.parent.parent / "results" / f"{shard.result}.parquet"

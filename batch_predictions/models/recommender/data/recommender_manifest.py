"""The manifest and the item ids of a stored recommender."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MANIFEST = "recommender.json"
ITEMS = "items.parquet"


def write_manifest(folder: Path, **manifest: object) -> None:
    """Writes a model's description; floats that JSON cannot hold are refused."""
    text = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads the manifest of a stored recommender."""
    manifest: dict[str, object] = json.loads((folder / MANIFEST).read_text())
    return manifest


def read_items(folder: Path) -> pa.StringArray:
    """The item ids of a stored model."""
    items = pq.read_table(folder / ITEMS)["item_id"].combine_chunks()
    return items.combine_chunks() if isinstance(items, pa.ChunkedArray) else items

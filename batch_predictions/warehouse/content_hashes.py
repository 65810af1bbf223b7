"""Hashes of partition files, which are computed once for each version of a file.

They are kept in `<home>/warehouse/.content_hashes.json` with the file's size, times and inode: a
file of which any of these has changed is hashed again, so that a restored copy has the same hash.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

from batch_predictions.core.durability import atomic_write
from batch_predictions.tables import Table
from batch_predictions.warehouse.delta_tables import content_hash
from batch_predictions.warehouse.warehouse import Warehouse

FILE_NAME = ".content_hashes.json"


def content_hashes(warehouse: Warehouse, table: Table, partitions: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the files of written partitions, by partition.

    Args:
        warehouse: with the files.
        table: a table with partitions and without parts.
        partitions: keys; those without a file are left out.
    """
    known = _read(warehouse)
    hashes: dict[str, str] = {}
    changed: dict[str, list[int | str]] = {}
    folder = f"{warehouse.folder}"
    for key in partitions:
        # Texts: paths of a year's days take longer than all else here.
        name = f"{table.schema}/{table.name}/{table.partition}={key}/data.parquet"
        try:
            # Before the file is read: one that is replaced meanwhile is hashed again next time.
            state = _state(f"{folder}/{name}")
            entry = known.get(name)
            if entry is None or entry[:-1] != state:
                entry = [*state, content_hash(warehouse.path(table, key))]
                changed[name] = entry
        except FileNotFoundError:
            continue
        hashes[key] = str(entry[-1])
    if changed:
        # Another process may have written others meanwhile, which would only be hashed again.
        atomic_write(warehouse.folder / FILE_NAME, json.dumps({**_read(warehouse), **changed}))
    return hashes


def _state(path: str) -> list[int | str]:
    """Size, times and inode of a file, which change when it is replaced or written to."""
    stat = os.stat(path)  # noqa: PTH116
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _read(warehouse: Warehouse) -> dict[str, list[int | str]]:
    """Known entries: size, times, inode and hash by name; empty if the file cannot be read."""
    try:
        entries = json.loads((warehouse.folder / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}

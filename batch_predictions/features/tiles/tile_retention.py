"""Removes tiles that only a backfill of old days would read; it makes them again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from batch_predictions.features.tiles.base import TILES, Tile
from batch_predictions.features.tiles.tile_fingerprints import last_month_end, month_end
from batch_predictions.warehouse import Warehouse, as_date

KEEP_DAYS = 35
"""Days of every tile that are kept: a late day of the month before needs no longer history."""
MIN_AGE_SECONDS = 7 * 86_400
"""A file that was written since may be of a backfill that is running."""


def remove_old_tiles(warehouse: Warehouse, now: float) -> int:
    """Removes spans of a day in months that ended, and old totals except those of months' ends.

    Args:
        warehouse: with the tiles.
        now: seconds since the epoch.

    Returns:
        The number of files removed.
    """
    removed = 0
    for tile in TILES.values():
        for path in _surplus_files(warehouse, tile):
            with suppress(FileNotFoundError):
                if now - path.stat().st_mtime > MIN_AGE_SECONDS:
                    path.unlink()
                    removed += 1
                    for folder in (path.parent, path.parent.parent):
                        # Of a span of a month the other file stays.
                        with suppress(OSError):
                            folder.rmdir()
    return removed


def _surplus_files(warehouse: Warehouse, tile: Tile) -> Iterator[Path]:
    keys = warehouse.partitions(tile.table)
    if not keys:
        return
    oldest = as_date(keys[-1]) - dt.timedelta(days=KEEP_DAYS)
    for key in keys:
        day = as_date(key)
        if tile.kind == "spans" and day <= last_month_end(oldest):
            yield warehouse.path(tile.table, key, {"span": "day"})
        elif tile.kind == "running" and day < oldest and day != month_end(day):
            yield warehouse.path(tile.table, key)

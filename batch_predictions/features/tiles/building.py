"""Writes tiles, as far as their fingerprints say that they must be made again.

It also checks that the tiles that a query reads were made from the raw days as they are now, and
removes tiles that only a backfill of old days would read, which makes them again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from batch_predictions.features.sql.queries import demand_parameters
from batch_predictions.features.tiles.base import TILES, Tile
from batch_predictions.features.tiles.tile_fingerprints import (
    INPUTS,
    RawDays,
    TileSpan,
    last_month_end,
    month_end,
    written_fingerprint,
)
from batch_predictions.settings import Settings
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse, WriteResult, as_date
from batch_predictions.warehouse.delta_tables import count_rows

NO_BASE = dt.date.min


def write_tile(
    raw_days: RawDays, tile: Tile, days: Sequence[str]
) -> tuple[dict[str, WriteResult], list[str]]:
    """Makes a tile for some days, and what readers as of these days need of earlier ones.

    Args:
        raw_days: up to the newest of the days.
        tile: the tile; those that it reads are made.
        days: partition keys.

    Returns:
        The result of each day; in words, what else was made.
    """
    results: dict[str, WriteResult] = {}
    others: list[str] = []
    for day in sorted(days):
        if tile.kind == "running":
            results[day] = _write_running(raw_days, tile, day)
            continue
        for span, fingerprint in raw_days.span_fingerprints(tile, day).items():
            result = _write_span(raw_days, tile, day, span, fingerprint)
            if span.name == "day" and span.last in days:
                # A day may be needed again as of a later one.
                is_changed = result.changed or (span.last in results and results[span.last].changed)
                results[span.last] = replace(result, changed=is_changed)
            elif result.changed:
                others.append(f"the {span.name} to {span.last}")
    return results, others


def _write_span(
    raw_days: RawDays, tile: Tile, day: str, span: TileSpan, fingerprint: str
) -> WriteResult:
    warehouse, part = raw_days.warehouse, {"span": span.name}
    if written_fingerprint(warehouse, tile, span.last, part) == fingerprint:
        return _unchanged(warehouse, tile.table, span.last, part)
    days = {"date": as_date(day), "first": span.first, "last": as_date(span.last)}
    return warehouse.replace_partition(
        tile.table,
        span.last,
        tile.sql,
        {**raw_days.parameters, **days},
        part=part,
        metadata={INPUTS: fingerprint},
    )


def _write_running(raw_days: RawDays, tile: Tile, day: str) -> WriteResult:
    warehouse = raw_days.warehouse
    fingerprint = raw_days.running_fingerprint(tile, day)
    if written_fingerprint(warehouse, tile, day) == fingerprint:
        return _unchanged(warehouse, tile.table, day, None)
    bound = {**raw_days.parameters, "date": as_date(day), "base": _base(raw_days, tile, day)}
    return warehouse.replace_partition(
        tile.table, day, tile.sql, bound, metadata={INPUTS: fingerprint}
    )


def _base(raw_days: RawDays, tile: Tile, day: str) -> dt.date:
    """The newest day before one whose totals were made from the raw days as they are now."""
    for key in reversed(raw_days.warehouse.partitions(tile.table)):
        if key < day:
            fingerprint = raw_days.running_fingerprint(tile, key)
            if written_fingerprint(raw_days.warehouse, tile, key) == fingerprint:
                return as_date(key)
    return NO_BASE


def _unchanged(
    warehouse: Warehouse, table: Table, key: str, part: dict[str, str] | None
) -> WriteResult:
    path = warehouse.path(table, key, part)
    return WriteResult(table, key, count_rows(path), path, False)


def is_current(raw_days: RawDays, tile: Tile, day: str) -> bool:
    """Returns whether the tile that readers of a day find is made from current rows and settings.

    Args:
        raw_days: the days of raw.interactions up to `day`.
        tile: the tile.
        day: ISO date.
    """
    warehouse = raw_days.warehouse
    if tile.kind == "running":
        return written_fingerprint(warehouse, tile, day) == raw_days.running_fingerprint(tile, day)
    if tile.inputs and not all(
        is_current(raw_days, TILES[name], day) for name in tile.upstreams if name in TILES
    ):
        return False
    return all(
        written_fingerprint(warehouse, tile, span.last, {"span": span.name}) == fingerprint
        for span, fingerprint in raw_days.span_fingerprints(tile, day).items()
    )


def outdated_tiles(
    warehouse: Warehouse, settings: Settings, names: Iterable[str], days: Sequence[str]
) -> dict[str, str]:
    """Finds the first tile, by day, that is missing or was made from other rows or settings.

    Args:
        warehouse: with raw tables and tiles.
        settings: those that the tiles' queries bind.
        names: qualified names of the tables that a query reads.
        days: as of which it reads them.
    """
    tiles = [TILES[name] for name in sorted(names) if name in TILES]
    if not tiles or not days:
        return {}
    raw_days = RawDays(warehouse, demand_parameters(warehouse, settings), as_date(max(days)))
    outdated = {}
    for day in days:
        tile = next((tile for tile in tiles if not is_current(raw_days, tile, day)), None)
        if tile is not None:
            outdated[day] = tile.name.replace(".", "/")
    return outdated


def tile_problems(
    warehouse: Warehouse, settings: Settings, names: Iterable[str], days: Sequence[str]
) -> list[str]:
    """Returns what to do about outdated tiles, one text for all days; empty if there are none.

    Args:
        warehouse: with raw tables and tiles.
        settings: those that the tiles' queries bind.
        names: qualified names of the tables that a query reads.
        days: as of which it reads them, ISO dates.
    """
    outdated = outdated_tiles(warehouse, settings, names, days)
    return [
        f"{name} of {day} is missing, or was made from other rows or settings than those of now: "
        "materialize it first, or use `batch-predictions run`"
        for day, name in list(outdated.items())[:1]
    ]


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
        old = []
        for path in _surplus_files(warehouse, tile):
            with suppress(FileNotFoundError):
                if now - path.stat().st_mtime > MIN_AGE_SECONDS:
                    old.append(path)
        warehouse.remove_files(tile.table, old)
        removed += len(old)
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

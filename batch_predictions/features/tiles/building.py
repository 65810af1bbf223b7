"""Writes tiles, as far as their fingerprints say that they must be made again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

import pyarrow.parquet as pq

from batch_predictions.features.tiles.base import TILES, Tile
from batch_predictions.features.tiles.tile_fingerprints import (
    INPUTS,
    RawDays,
    TileSpan,
    written_fingerprint,
)
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse, WriteResult, as_date

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
    return WriteResult(table, key, pq.read_metadata(path).num_rows, path, False)


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

"""Writes tiles, as far as their fingerprints say that they must be made again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pyarrow.parquet as pq

from batch_predictions.features.tiles.declaration import Tile
from batch_predictions.features.tiles.fingerprints import (
    INPUTS,
    RawDays,
    needed_spans,
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
        tile: the tile.
        days: partition keys.

    Returns:
        The result of each day; in words, what else was made.
    """
    days = sorted(days)
    if tile.kind == "running":
        return {day: _write_running(raw_days, tile, day) for day in days}, []
    return _write_spans(raw_days, tile, days)


def _write_spans(
    raw_days: RawDays, tile: Tile, days: Sequence[str]
) -> tuple[dict[str, WriteResult], list[str]]:
    spans = {span: None for day in days for span in needed_spans(raw_days, tile, day)}
    results: dict[str, WriteResult] = {}
    others: list[str] = []
    for span, key, first in spans:
        result = _write_span(raw_days, tile, span, key, first)
        if span == "day" and key in days:
            results[key] = result
        elif result.changed:
            others.append(f"{span} to {key}" if span == "month" else key)
    return results, others


def _write_span(
    raw_days: RawDays, tile: Tile, span: str, key: str, first: dt.date
) -> WriteResult:
    warehouse, part = raw_days.warehouse, {"span": span}
    fingerprint = raw_days.span_fingerprint(tile, first, as_date(key))
    if written_fingerprint(warehouse, tile, key, part) == fingerprint:
        return _unchanged(warehouse, tile.table, key, part)
    bound = {**raw_days.parameters, "first": first, "last": as_date(key)}
    return warehouse.replace_partition(
        tile.table, key, tile.sql, bound, part=part, metadata={INPUTS: fingerprint}
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


def outdated_tiles(raw_days: RawDays, tiles: Sequence[Tile], days: Sequence[str]) -> list[str]:
    """What to do about tiles that are missing or older than raw days, one text per tile.

    Args:
        raw_days: up to the newest of the days.
        tiles: that a query reads.
        days: as of which it reads them.
    """
    problems = []
    for tile in tiles:
        outdated = next((day for day in days if not _is_current(raw_days, tile, day)), None)
        if outdated:
            name = tile.table.qualified.replace(".", "/")
            problems.append(
                f"{name} of {outdated} is missing or was made from other rows or settings than "
                "those of now: materialize it first, or use `batch-predictions run`"
            )
    return problems


def _is_current(raw_days: RawDays, tile: Tile, day: str) -> bool:
    warehouse = raw_days.warehouse
    if tile.kind == "running":
        return written_fingerprint(warehouse, tile, day) == raw_days.running_fingerprint(tile, day)
    return all(
        written_fingerprint(warehouse, tile, key, {"span": span})
        == raw_days.span_fingerprint(tile, first, as_date(key))
        for span, key, first in needed_spans(raw_days, tile, day)
    )

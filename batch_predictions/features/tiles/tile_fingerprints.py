"""Fingerprints of what tiles are made from: raw days, by content, the query, and its settings."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.features.tiles.base import Tile
from batch_predictions.tables import INTERACTIONS
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.schema_sql import used_parameters

INPUTS = "inputs"
"""Key of the fingerprint in the footer of a tile's file."""
_DAYS = ("date", "base", "first", "last")
"""Parameters that say which days are read."""


class TileSpan(NamedTuple):
    """Days whose rows are in one file.

    Attributes:
        name: `day`, or `month` for a calendar month.
        first: the first day.
        last: the last day, which is the partition's key.
    """

    name: str
    first: dt.date
    last: str


class RawDays:
    """The written days of raw.interactions up to a day, with the hashes of their files.

    Args:
        warehouse: with the days.
        parameters: what the tiles' queries bind besides days.
        last: the last day.

    Attributes:
        hashes: hash of the file by day, oldest first.
    """

    def __init__(self, warehouse: Warehouse, parameters: Mapping[str, Any], last: dt.date) -> None:
        self.warehouse, self.parameters = warehouse, parameters
        keys = [key for key in warehouse.partitions(INTERACTIONS) if key <= last.isoformat()]
        self.hashes = warehouse.digests(INTERACTIONS).of_partitions(keys)
        self._running: dict[str, dict[str, str]] = {}

    def span_fingerprints(self, tile: Tile, day: str) -> dict[TileSpan, str]:
        """Fingerprints of the spans of which readers as of a day compose history.

        These are months that have ended, then the days since. A span that was written is among them
        even if its raw days are gone: it must be made without rows.
        """
        inputs, keys = self._inputs(tile, day), list(self.hashes)
        blank = _new_digest(tile, self.parameters)
        fingerprints = {}
        for span in self._needed_spans(tile, day):
            digest = blank.copy()
            begin, end = bisect_left(keys, span.first.isoformat()), bisect_right(keys, span.last)
            for key in keys[begin:end]:
                digest.update(f"{key} {self.hashes[key]}".encode())
            digest.update(inputs.get((span.last, span.name), "").encode())
            fingerprints[span] = digest.hexdigest()[:32]
        return fingerprints

    def running_fingerprint(self, tile: Tile, day: str) -> str:
        """The fingerprint of running totals: of all raw days up to one."""
        if tile.name not in self._running:
            digest = _new_digest(tile, self.parameters)
            fingerprints = {"": digest.hexdigest()[:32]}
            for key, content in self.hashes.items():
                digest.update(f"{key} {content}".encode())
                fingerprints[key] = digest.hexdigest()[:32]
            self._running[tile.name] = fingerprints
        fingerprints = self._running[tile.name]
        return fingerprints[max(key for key in fingerprints if key <= day)]

    def _needed_spans(self, tile: Tile, day: str) -> list[TileSpan]:
        date, ended = as_date(day), last_month_end(as_date(day))
        first = dt.date.min
        if tile.history:
            first = date - dt.timedelta(days=self.parameters[tile.history] - 1)
        keys = {*self.hashes, *self.warehouse.partitions(tile.table)}
        # The day itself too: its tile is written, maybe the only one of a month that has ended.
        dates = {date, *(as_date(key) for key in keys if key <= day)}
        months = sorted({month_end(key) for key in dates if key <= ended})
        days = sorted({key for key in dates if key > ended} | {date})
        return [
            *(
                TileSpan("month", end.replace(day=1), end.isoformat())
                for end in months
                if end >= first
            ),
            *(TileSpan("day", key, key.isoformat()) for key in days if key >= first),
        ]

    def _inputs(self, tile: Tile, day: str) -> dict[tuple[str, str], str]:
        """Reads the further inputs of a tile's spans, besides raw days, by last day and span."""
        if not tile.inputs_sql:
            return {}
        bound = {**self.parameters, "date": as_date(day)}
        rows = self.warehouse.query(tile.inputs_sql, bound).to_pylist()
        return {(row["date"], row["span"]): row["inputs"] for row in rows}


def written_fingerprint(
    warehouse: Warehouse, tile: Tile, partition: str, part: Mapping[str, str] | None = None
) -> str | None:
    """Reads the fingerprint that a tile's file was written with; None if no file can be read.

    Args:
        warehouse: with the tile's table.
        tile: the tile.
        partition: day of the file, ISO date.
        part: further keys of the file, such as its span.
    """
    try:
        metadata = pq.read_metadata(warehouse.file(tile.table, partition, part)).metadata
    except (OSError, pa.ArrowException):
        return None
    value = (metadata or {}).get(INPUTS.encode())
    return value.decode() if value else None


def month_end(day: dt.date) -> dt.date:
    """The last day of a day's month."""
    return (day.replace(day=28) + dt.timedelta(days=4)).replace(day=1) - dt.timedelta(days=1)


def last_month_end(day: dt.date) -> dt.date:
    """The newest end of a month up to a day, itself included."""
    return day if month_end(day) == day else day.replace(day=1) - dt.timedelta(days=1)


def _new_digest(tile: Tile, parameters: Mapping[str, object]) -> Any:
    bound = used_parameters(tile.sql, parameters)
    values = {name: value for name, value in bound.items() if name not in _DAYS}
    text = json.dumps([tile.sql, values], sort_keys=True, default=str)
    return hashlib.sha256(text.encode())

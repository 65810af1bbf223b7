"""Checks that the tiles that a query reads were made from the raw days as they are now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from batch_predictions.features.sql.demand_sql import parameters
from batch_predictions.features.tiles.base import TILES
from batch_predictions.features.tiles.building import is_current
from batch_predictions.features.tiles.tile_fingerprints import RawDays
from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse, as_date


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
    raw_days = RawDays(warehouse, parameters(warehouse, settings), as_date(max(days)))
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

"""Whether the tiles that a query reads were made from the raw days as they are now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from batch_predictions.features.queries import parameters
from batch_predictions.features.tiles.building import outdated_tiles
from batch_predictions.features.tiles.declaration import TILES
from batch_predictions.features.tiles.fingerprints import RawDays
from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse, as_date


def tile_problems(
    warehouse: Warehouse, settings: Settings, names: Iterable[str], days: Sequence[str]
) -> list[str]:
    """What to do about tiles that are missing or outdated, one text per tile.

    Args:
        warehouse: with raw tables and tiles.
        settings: those that the tiles' queries bind.
        names: qualified names of the tables that a query reads.
        days: as of which it reads them.
    """
    tiles = [TILES[name] for name in sorted(names) if name in TILES]
    if not tiles or not days:
        return []
    raw_days = RawDays(warehouse, parameters(settings), as_date(max(days)))
    return outdated_tiles(raw_days, tiles, days)

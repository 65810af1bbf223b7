"""Makes tiles without assets."""

from __future__ import annotations

import datetime as dt

from batch_predictions.features.sql.queries import demand_parameters
from batch_predictions.features.tiles.base import TILES
from batch_predictions.features.tiles.building import write_tile
from batch_predictions.features.tiles.tile_fingerprints import RawDays
from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse


def make_all_tiles(warehouse: Warehouse, settings: Settings, day: dt.date) -> None:
    """Makes all tiles as of a day."""
    raw_days = RawDays(warehouse, demand_parameters(warehouse, settings), day)
    for tile in TILES.values():
        write_tile(raw_days, tile, [day.isoformat()])

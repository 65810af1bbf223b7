"""A tile, declared: a table, and the query of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from batch_predictions.features.queries import sql
from batch_predictions.tables import (
    ITEM_TOTALS,
    USER_ITEMS,
    USER_LOCATIONS,
    USER_TOTALS,
    USER_VISITS,
    Table,
)


@dataclass(frozen=True)
class Tile:
    """A table that is made from the days of raw.interactions.

    Attributes:
        table: where the rows go; declared with schema `tiles`.
        kind: `spans`, rows of days, whose query binds the `$first` and `$last` day of a span; or
            `running`, totals at the end of `$date`, whose query reads the tile's partition of `$base`
            and the raw days after it. Without a base, `$base` is a day before all others.
    """

    table: Table
    kind: Literal["spans", "running"]

    @property
    def sql(self) -> str:
        """The query in `features/sql/tiles/<table>.sql`."""
        return sql(f"tiles/{self.table.name}")


user_items = Tile(USER_ITEMS, "spans")
user_totals = Tile(USER_TOTALS, "running")
item_totals = Tile(ITEM_TOTALS, "running")
user_locations = Tile(USER_LOCATIONS, "running")
user_visits = Tile(USER_VISITS, "running")

TILES = {
    tile.table.qualified: tile
    for tile in (user_items, user_totals, item_totals, user_locations, user_visits)
}
"""Every tile by the qualified name of its table."""

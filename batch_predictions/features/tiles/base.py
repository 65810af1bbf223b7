"""A tile, declared: a table, and the query of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from batch_predictions.features.sql.queries import sql
from batch_predictions.tables import (
    DAILY_SALES,
    ITEM_QUANTITIES,
    ITEM_TOTALS,
    LARGEST_QUANTITIES,
    USER_ITEMS,
    USER_LOCATIONS,
    USER_TOTALS,
    Table,
)
from batch_predictions.warehouse.schema_sql import tables_in


@dataclass(frozen=True)
class Tile:
    """A table that is made from the days of raw.interactions.

    Attributes:
        table: where the rows go; declared with schema `tiles`.
        kind: `spans`, rows of days, whose query binds the `$first` and `$last` day of a span; or
            `running`, totals at the end of `$date`, whose query reads the tile's partition of
            `$base` and the raw days after it. Without a base, `$base` is a day before all others.
        history: parameter with the number of days that readers need of spans; None: all.
        inputs: name of a query for what spans depend on besides raw days, as of `$date`: columns
            date, span and inputs, a text.
    """

    table: Table
    kind: Literal["spans", "running"]
    history: str | None = None
    inputs: str | None = None

    @property
    def name(self) -> str:
        """Qualified name of the table."""
        return self.table.qualified

    @property
    def sql(self) -> str:
        """The query in `features/sql/tiles/<table>.sql`."""
        return sql(f"tiles/{self.table.name}", tiles=True)

    @property
    def inputs_sql(self) -> str | None:
        """The query in `features/sql/<inputs>.sql` for the inputs besides raw days."""
        return sql(self.inputs, tiles=True) if self.inputs else None

    @property
    def upstreams(self) -> list[str]:
        """Qualified names of the other tables that the queries read."""
        queries = [self.sql, *([self.inputs_sql] if self.inputs_sql else [])]
        return sorted(set().union(*map(tables_in, queries)) - {self.name})


TILES = {
    tile.name: tile
    for tile in (
        Tile(USER_ITEMS, "spans"),
        Tile(USER_TOTALS, "running"),
        Tile(ITEM_TOTALS, "running"),
        Tile(USER_LOCATIONS, "running"),
        Tile(ITEM_QUANTITIES, "running"),
        Tile(LARGEST_QUANTITIES, "spans", history="history_days"),
        Tile(DAILY_SALES, "spans", history="history_days", inputs="sales_inputs"),
    )
}
"""Every tile by the qualified name of its table, those before it that it reads."""

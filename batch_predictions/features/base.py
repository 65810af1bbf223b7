"""A feature table, declared: one query, one row per key and day."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from batch_predictions.features.sql.queries import parameters, sql
from batch_predictions.settings import Settings
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _query_parameters(warehouse: Warehouse, settings: Settings) -> Mapping[str, Any]:
    return parameters(settings)


@dataclass(frozen=True)
class FeatureTable:
    """A daily asset that is one query over raw tables and other features.

    Attributes:
        table: where the rows go; declared with schema `features` and partition `date`.
        query: SQL of the rows of one day; None: the file `features/sql/<table>.sql`. `$date` and
            the parameters are bound. Every table it reads is filtered by `date <= $date`.
        parameters: what the query binds besides `$date`.
        plot: draws one day's partition for the asset's metadata; None: no plot.
        build_query: builds the query from the settings, where parameters do not suffice.
    """

    table: Table
    query: str | None = None
    parameters: Callable[[Warehouse, Settings], Mapping[str, Any]] = _query_parameters
    plot: Callable[[Warehouse, str], Figure | None] | None = None
    build_query: Callable[[Settings], str] | None = None

    def with_settings(self, settings: Settings) -> Self:
        """Returns the declaration with the query that its settings give.

        Raises:
            SettingsError: the settings give no query.
        """
        if self.build_query is None:
            return self
        return replace(self, query=self.build_query(settings), build_query=None)

    @property
    def sql(self) -> str:
        """The query's text; the platform's own read tiles."""
        return self.query if self.query is not None else sql(self.table.name, tiles=True)

    @property
    def sql_without_tiles(self) -> str | None:
        """The query of the same rows from raw tables, for days whose tiles are not made.

        None for a given query, which reads just what it names.
        """
        return None if self.query is not None else sql(self.table.name)

"""Daily feature tables of predictive queries: one for all queries over the same entities."""

from __future__ import annotations

from collections.abc import Sequence

from batch_predictions.features.base import FeatureTable
from batch_predictions.features.history.history_sql import History, history_keys
from batch_predictions.settings.predictive_query import PredictiveQuery
from batch_predictions.tables import Table
from batch_predictions.tables.base import Column


def group_by_entity(queries: Sequence[PredictiveQuery]) -> list[tuple[PredictiveQuery, ...]]:
    """Queries whose features are rows of one table, in the order of the first of each.

    Every `top` has a table of its own: which values are popular depends on its events.
    """
    groups: dict[tuple[object, ...], list[PredictiveQuery]] = {}
    for query in queries:
        own = query.name if query.target.task == "top" else None
        groups.setdefault((history_keys(query), own), []).append(query)
    return [tuple(group) for group in groups.values()]


def history_table(history: History) -> FeatureTable:
    """The daily table of a history, and the query that computes it."""
    words = {**dict.fromkeys(history.keys, "the entity"), **history.features()}
    columns = [
        Column(name, type_, words.get(name, "newest value of the source"))
        for name, type_ in history.columns().items()
    ]
    entity = " and ".join(key.removesuffix("_id") for key in history.keys)
    table = Table(
        "features",
        history.name,
        f"One row per {entity} with an event in 364 days: what predictive queries are made from.",
        (Column("date", "DATE", "as of the end of this day"), *columns),
        key=history.keys,
    )
    return FeatureTable(table, query=f"select $date::DATE as date, * from ({history.sql()})")

"""Labels of predictive queries: what happened in the window after a past day, for each entity."""

from __future__ import annotations

import re

from batch_predictions.features.history.event_measures import event_condition, finite
from batch_predictions.features.history.history_sql import (
    EVENT_COLUMNS,
    ITEM_COLUMNS,
    USER_COLUMNS,
    History,
    events,
    history_keys,
)
from batch_predictions.settings import SettingsError
from batch_predictions.settings.predictive_query import PredictiveQuery

TARGET = "target"
"""Column of the labels; null where there is none, such as the average of no events."""


def labels_sql(query: PredictiveQuery) -> str:
    """The query of the target by entity in the window after `$date`; entities with events only.

    Args:
        query: what is predicted. Of a `top`, the target of an entity's value is 1.
    """
    target, condition = query.target, event_condition(query)
    aggregate = {
        "count": "count(*)",
        "distinct": f"count(distinct {target.expression})",
        "sum": f"fsum({finite(target.expression)})",
        "avg": f"favg({finite(target.expression)})",
        "first": f"min(date) - $date::DATE - {query.starts_in}",
        "top": "1",
    }.get(target.function, f"{target.function}({finite(target.expression)})")
    if target.comparison:
        aggregate = f"({aggregate} {target.comparison})"
    keys = history_keys(query)
    known = " and ".join(f"{key} is not null" for key in keys)
    first, last = query.starts_in, query.starts_in + query.days
    days = f"date > $date::DATE + {first} and date <= $date::DATE + {last}"
    relation = events(days, f"{condition} {target.expression} {' '.join(keys)}")
    names = ", ".join(keys)
    return (
        f"select {names}, ({aggregate})::DOUBLE as {TARGET} from ({relation}) "
        f"where {condition} and {known} group by {names}"
    )


def target_sql(query: PredictiveQuery) -> str:
    """SQL of the target of an entity that `labels`, the rows of `labels_sql`, may lack.

    An entity without events has a sum, a count or a comparison of these, and no average.
    """
    target = query.target
    if target.is_zero_without_events or target.task == "top":
        return f"coalesce(labels.{TARGET}, (0 {target.comparison or '+ 0'})::DOUBLE)"
    return f"labels.{TARGET}"


def examples_sql(query: PredictiveQuery, history: History) -> str:
    """The query of entities as they were at the end of a past `$date`, with what happened since.

    Args:
        query: what is predicted.
        history: the features of its entities.
    """
    keys = ", ".join(f"history.{key}" for key in history.keys)
    on = " and ".join(f"labels.{key} = history.{key}" for key in history.keys)
    among = f"where {query.among}" if query.among else ""
    return (
        f"select history.*, {target_sql(query)} as {TARGET} "
        f"from (select * from ({history.sql(is_sample=True)}) {among}) as history "
        f"left join ({labels_sql(query)}) as labels on {on} order by {keys}"
    )


def check_query(query: PredictiveQuery, history: History) -> None:
    """Checks the SQL of a query against the columns that there are, without data.

    Raises:
        SettingsError: a column does not exist or the SQL is wrong; the message lists the columns.
    """
    columns = {**EVENT_COLUMNS, **ITEM_COLUMNS, **USER_COLUMNS}
    expression = query.target.expression
    parts = {
        "predict": expression if expression not in ("*", "date") else "1",
        "where": query.where or "true",
    }
    for part, sql in parts.items():
        _bind(query, part, sql, columns)
    if query.target.function in ("sum", "avg", "min", "max"):
        _bind(query, "predict", f"fsum(({expression})::DOUBLE)", columns)
    if query.among:
        _bind(query, "among", query.among, history.columns())


def _bind(query: PredictiveQuery, part: str, sql: str, columns: dict[str, str]) -> None:
    import duckdb

    names = ", ".join(columns)
    forbidden = re.search(r";|\bselect\b|\bfrom\b|\$", sql, re.IGNORECASE)
    if forbidden:
        raise SettingsError(
            f"prediction {query.name}, {part}: {sql!r} has {forbidden[0]!r}: write an "
            f"expression of the columns {names}"
        )
    nulls = ", ".join(f'null::{type_} as "{name}"' for name, type_ in columns.items())
    try:
        with duckdb.connect() as db:
            db.sql(f"select {sql} from (select {nulls} where false)").fetchall()
    except duckdb.Error as error:
        first_line = str(error).splitlines()[0]
        raise SettingsError(
            f"prediction {query.name}, {part}: {sql!r} is no expression of the columns "
            f"{names}: {first_line}"
        ) from None

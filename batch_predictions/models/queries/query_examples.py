"""Entities as of past days with what happened since: what models of queries are fitted on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Doubles
from batch_predictions.features.history.event_measures import (
    HISTORY_DAYS,
    REVIEW,
    event_condition,
)
from batch_predictions.features.history.history_sql import (
    POPULAR_VALUES,
    History,
    events,
    history_keys,
)
from batch_predictions.features.history.query_labels import TARGET, examples_sql
from batch_predictions.models.queries.feature_encoder import WEEKDAY
from batch_predictions.settings import Settings
from batch_predictions.settings.predictive_query import PredictiveQuery
from batch_predictions.sources import source_registry
from batch_predictions.warehouse import Warehouse

MAX_EXAMPLES = 30_000
"""Examples of a past day that models are fitted on; a hash selects the same entities every day."""
FIT_DAYS = 8
"""Past days that models are fitted on."""
MIN_HISTORY = 28
"""Days of events before the oldest of them."""


@dataclass(frozen=True)
class QueryExamples:
    """Entities as they were at the end of one or several past days.

    Attributes:
        rows: keys and features, with the weekday of the day.
        target: what happened in the window after it; nan where there is no value, (rows,).
    """

    rows: pa.Table
    target: Doubles

    def __len__(self) -> int:
        return len(self.target)

    @classmethod
    def concat(cls, days: Sequence[QueryExamples]) -> QueryExamples:
        """The examples of several days as one."""
        rows = pa.concat_tables([examples.rows for examples in days])
        return cls(rows, np.concatenate([examples.target for examples in days]))

    def known(self) -> QueryExamples:
        """The examples with a value."""
        is_known = ~np.isnan(self.target)
        return QueryExamples(self.rows.filter(pa.array(is_known)), self.target[is_known])


def outcomes(query: PredictiveQuery, target: Doubles) -> Doubles:
    """Returns 1 for each example in which the predicted event happened, else 0, (n,).

    Args:
        query: a comparison, a `first` or a `top`.
        target: see `QueryExamples`, (n,).
    """
    happened = ~np.isnan(target) if query.target.task == "first" else target > 0
    return happened.astype(np.float64)


@dataclass(frozen=True)
class QueryWindows:
    """The past days of a training, by what they are used for.

    The window after a day ends before the next use begins, so that nothing is fitted on what is
    judged.

    Attributes:
        fit_days: days that estimators are fitted on, oldest first.
        calibration_day: day that ends the fitting of trees and calibrates predictions.
        test_day: day that candidates are compared on; None for the model that serves.
    """

    fit_days: tuple[dt.date, ...]
    calibration_day: dt.date
    test_day: dt.date | None


def query_windows(
    query: PredictiveQuery, first: dt.date, through: dt.date, *, with_test: bool
) -> QueryWindows | None:
    """The past days of a history; None where it is too short.

    Args:
        query: says how far ahead the window ends.
        first: day of the oldest event.
        through: last day whose events are known.
        with_test: whether the newest day is kept for the comparison of candidates.
    """
    window = dt.timedelta(days=query.starts_in + query.days)
    newest = through - window
    calibration_day = newest - window if with_test else newest
    # Whole weeks apart where a window has every weekday equally often, else all weekdays in turn.
    step = 14 if query.days % 7 == 0 else 9
    steps = (dt.timedelta(days=step * number) for number in range(FIT_DAYS))
    days = (calibration_day - window - back for back in steps)
    oldest = first + dt.timedelta(days=MIN_HISTORY - 1)
    fit_days = tuple(sorted(day for day in days if day >= oldest))
    if not fit_days:
        return None
    return QueryWindows(fit_days, calibration_day, newest if with_test else None)


def history_of(settings: Settings, queries: tuple[PredictiveQuery, ...]) -> History:
    """The features of some queries over the same entities, by the types of a home's source."""
    types = tuple(source_registry.event_types(settings).types)
    return History.of(queries, types)


def max_entities(warehouse: Warehouse, query: PredictiveQuery, day: dt.date) -> int:
    """Number of the first keys that examples of a past day have at most.

    Args:
        warehouse: with the raw tables.
        query: what is predicted; its pairs are as many rows as entities else are.
        day: as of which pairs are counted.
    """
    keys = history_keys(query)
    if len(keys) == 1:
        return MAX_EXAMPLES
    days = f"date > $date::DATE - {HISTORY_DAYS} and date <= $date::DATE"
    pairs_each = warehouse.value(
        f"select count(distinct ({', '.join(keys)})) / nullif(count(distinct {keys[0]}), 0) "
        f"from ({events(days, ' '.join(keys))}) where {keys[1]} is not null",
        {"date": day},
    )
    popular = POPULAR_VALUES if query.target.task == "top" else 0
    return max(100, int(MAX_EXAMPLES / ((pairs_each or 1) + popular)))


def read_examples(
    warehouse: Warehouse,
    query: PredictiveQuery,
    history: History,
    day: dt.date,
    limit: int = MAX_EXAMPLES,
) -> QueryExamples:
    """Reads the entities as they were at the end of a past day, and what happened in the window.

    Args:
        warehouse: with the raw tables.
        query: what is predicted.
        history: the features.
        day: the past day.
        limit: number of the first keys, see `max_entities`.
    """
    rows = warehouse.query(examples_sql(query, history), {"date": day, "max_entities": limit})
    target = rows[TARGET].combine_chunks().to_numpy(zero_copy_only=False)
    weekday = pa.array(np.full(rows.num_rows, float(day.weekday())))
    rows = rows.drop_columns(TARGET).append_column(WEEKDAY, weekday)
    return QueryExamples(rows, np.asarray(target, np.float64))


def event_types_in(warehouse: Warehouse, through: dt.date) -> list[str]:
    """Types of the events of the last year up to a day, the most frequent ones first."""
    days = f"date > $date::DATE - {HISTORY_DAYS} and date <= $date::DATE"
    rows = warehouse.query(
        f"select event_type from ({events(days, REVIEW)}) group by 1 order by count(*) desc, 1",
        {"date": through},
    )
    return [str(name) for name in rows["event_type"].to_pylist()]


def first_event_day(
    warehouse: Warehouse, query: PredictiveQuery, through: dt.date
) -> dt.date | None:
    """Reads the day of the oldest event that a query is about; None without any."""
    condition = event_condition(query)
    relation = events(f"date > $date::DATE - {3 * HISTORY_DAYS} and date <= $date::DATE", condition)
    day: dt.date | None = warehouse.value(
        f"select min(date) from ({relation}) where {condition}", {"date": through}
    )
    return day

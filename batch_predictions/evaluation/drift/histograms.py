"""The rows of `evaluation.histograms` of a day: its columns, counted in bins that a training froze.

The bins of a column are made from its rows on the last day of the training, and kept with their
counts in the histograms of every day up to the next training. So that day is read once, on the day
after; later days are counted, and compared, without reading history again.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import pyarrow as pa

from batch_predictions.evaluation.drift.bins import MISSING, Bins, Counts, count_rows, make_bins
from batch_predictions.evaluation.drift.compute import (
    compared_columns,
    drift_tables,
    is_category,
    reference_days,
)
from batch_predictions.models.model_store import ModelStore
from batch_predictions.tables import HISTOGRAMS, Column, Table
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.arrow_rows import arrow_rows

FrozenBins: TypeAlias = tuple[Bins, Counts]
"""The bins of a column, and the rows of the training's last day in them."""


def compute_histograms(warehouse: Warehouse, models: ModelStore, day: dt.date) -> pa.Table:
    """Computes the rows of `evaluation.histograms` of a day, without its date.

    Left out are tables that were not made for the day, and those of which the training's last day
    has neither rows nor kept bins.
    """
    references = reference_days(models, day)
    kept = {
        (table, column): bins
        for reference in {*references.values()}
        for (table, column), bins in _kept_bins(warehouse, reference, day).items()
        if references.get(table) == reference
    }
    rows: list[dict[str, object]] = []
    for table in drift_tables():
        if day.isoformat() not in warehouse.partitions(table):
            continue
        columns, reference = compared_columns(table), references[table.qualified]
        frozen = {
            column.name: kept[table.qualified, column.name]
            for column in columns
            if (table.qualified, column.name) in kept
        }
        new = [column for column in columns if column.name not in frozen]
        frozen |= _freeze(warehouse, table, new, reference)
        columns = [column for column in columns if column.name in frozen]
        bins = {name: bins for name, (bins, _) in frozen.items()}
        counted = count_rows(warehouse, table, columns, bins, day)
        for column in columns:
            for row in _histogram(column, frozen[column.name], counted[column.name]):
                rows.append({"table_name": table.qualified, "reference": reference, **row})
    return arrow_rows(HISTOGRAMS, rows)


def _freeze(
    warehouse: Warehouse, table: Table, columns: list[Column], reference: dt.date
) -> dict[str, FrozenBins]:
    if not columns or reference.isoformat() not in warehouse.partitions(table):
        return {}
    bins = make_bins(warehouse, table, columns, reference)
    binned = [column for column in columns if column.name in bins]
    counted = count_rows(warehouse, table, binned, bins, reference)
    return {name: (bins[name], counted[name]) for name in bins}


def _kept_bins(
    warehouse: Warehouse, reference: dt.date, day: dt.date
) -> dict[tuple[str, str], FrozenBins]:
    """Reads the bins, by table and column, of the earliest histogram since a training."""
    rows = warehouse.query(
        f"""select table_name, column_name, bin, upper, category, reference_rows
        from {HISTOGRAMS.qualified}
        where date > $reference::DATE and date < $day::DATE and reference = $reference::DATE
        qualify date = min(date) over (partition by table_name, column_name)
        order by table_name, column_name, bin""",
        {"reference": reference, "day": day},
    ).to_pylist()
    by_column: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        by_column.setdefault((row["table_name"], row["column_name"]), []).append(row)
    return {
        (table, name): (
            # Without rows that have no value, and all others.
            tuple(_end_of(row) for row in of_column[1:-1]),
            Counts({row["bin"]: row["reference_rows"] for row in of_column}),
        )
        for (table, name), of_column in by_column.items()
    }


def _histogram(column: Column, frozen: FrozenBins, counted: Counts) -> Iterator[dict[str, object]]:
    """Builds the rows of a column's histogram, without table and reference."""
    ends, reference = frozen
    for number in range(MISSING, len(ends) + 2):
        is_end = MISSING < number <= len(ends)
        lower = upper = category = None
        if is_category(column):
            category = ends[number - 1] if is_end else None
        elif number != MISSING:
            # The outer bins reach as far as the day's numbers.
            lower = ends[number - 2] if number > 1 else _reach(min, counted.lowest, ends[:1])
            upper = ends[number - 1] if is_end else _reach(max, counted.highest, ends[-1:])
        yield {
            "column_name": column.name,
            "bin": number,
            "lower": lower,
            "upper": upper,
            "category": category,
            "reference_rows": reference.rows.get(number, 0),
            "rows": counted.rows.get(number, 0),
        }


def _end_of(row: Mapping[str, object]) -> Any:
    return row["upper"] if row["category"] is None else row["category"]


def _reach(furthest: Callable[[Any], float], value: float | None, end: Bins) -> float | None:
    """The smallest or largest of a number of the day, if it has one, and the end of a bin."""
    values = [*end, *([value] if value is not None and math.isfinite(value) else [])]
    return furthest(values) if values else None

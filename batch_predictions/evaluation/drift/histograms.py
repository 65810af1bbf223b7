"""The rows of `evaluation.histograms` of a day: its columns, counted in bins that a training froze.

The bins of a column are made from its rows on the last day of the training, and kept with their
counts in the histograms of every day up to the next training. So that day is read once, on the day
after; later days are counted, and compared, without reading history again.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa

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

QUANTILES = (
    *(0.0, 0.001, 0.005, 0.01, 0.025),
    *(step / 20 for step in range(1, 20)),
    *(0.975, 0.99, 0.995, 0.999, 1.0),
)
"""At which bins of numbers end: twentieths, and finer ones where tails are long."""
MAX_CATEGORIES = 50
"""A column of text with more values has no bins."""
MISSING = 0
"""The bin of rows without a value."""
_VALUES_AT_A_TIME = 40_000_000
"""Numbers whose quantiles are computed together, 8 bytes each."""
Bins: TypeAlias = tuple[object, ...]
"""Of numbers, the largest of each bin but the last, ascending; of text, the categories. One more
bin follows, of all other values."""


@dataclass(frozen=True)
class Counts:
    """The rows of a column in its bins.

    Attributes:
        rows: by bin: `MISSING`, 1, 2, …; bins without rows may be left out.
        lowest: the smallest number; None of text, and where there is none.
        highest: the largest number, likewise.
    """

    rows: Mapping[int, int]
    lowest: float | None = None
    highest: float | None = None


def make_bins(
    warehouse: Warehouse, table: Table, columns: Sequence[Column], day: dt.date
) -> dict[str, Bins]:
    """Makes bins from the rows of a day, by name of the column.

    Without columns of text that have too many values; empty where the day has no rows.

    Args:
        warehouse: with the table.
        table: whose columns are compared.
        columns: of the table.
        day: whose rows make the bins.
    """
    where = _rows_of(table)
    rows = warehouse.value(f"select count(*) {where}", {"day": day})
    if not columns or not rows:
        return {}
    bins: dict[str, Bins] = {}
    numbers, texts = _by_kind(columns)
    at_a_time = max(1, _VALUES_AT_A_TIME // rows)
    for first in range(0, len(numbers), at_a_time):
        selected = ", ".join(
            f'quantile_disc({_number(column)}, {list(QUANTILES)}) as "{column.name}"'
            for column in numbers[first : first + at_a_time]
        )
        found = warehouse.query(f"select {selected} {where}", {"day": day}).to_pylist()[0]
        bins |= {name: _ends(values or []) for name, values in found.items()}
    for column in texts:
        values = warehouse.query(
            f'select "{column.name}" as category {where} and category is not null '
            f"group by 1 order by count(*) desc, 1 limit {MAX_CATEGORIES + 1}",
            {"day": day},
        )["category"].to_pylist()
        if len(values) <= MAX_CATEGORIES:
            bins[column.name] = tuple(values)
    return bins


def count_rows(
    warehouse: Warehouse,
    table: Table,
    columns: Sequence[Column],
    bins: Mapping[str, Bins],
    day: dt.date,
) -> dict[str, Counts]:
    """Counts the rows of a day in the bins of each column, by its name; numbers in one scan.

    Args:
        warehouse: with the table.
        table: whose columns are compared.
        columns: of the table.
        bins: by name of the column.
        day: whose rows are counted.
    """
    where, parameters = _rows_of(table), {"day": day}
    numbers, texts = _by_kind(columns)
    counted = _count_numbers(warehouse, where, numbers, bins, parameters) if numbers else {}
    for column in texts:
        ends = bins[column.name]
        found = warehouse.query(
            f"""select case when "{column.name}" is null then {MISSING} else
                coalesce(list_position($ends::VARCHAR[], "{column.name}"), $other) end as bin,
            count(*) as rows {where} group by 1""",
            {**parameters, "ends": list(ends), "other": len(ends) + 1},
        ).to_pylist()
        counted[column.name] = Counts({row["bin"]: row["rows"] for row in found})
    return counted


def _count_numbers(
    warehouse: Warehouse,
    where: str,
    columns: Sequence[Column],
    bins: Mapping[str, Bins],
    parameters: Mapping[str, object],
) -> dict[str, Counts]:
    bound, selected = dict(parameters), ["count(*) as rows"]
    for place, column in enumerate(columns):
        value = _number(column)
        selected += [
            f"count({value}) as known_{place}",
            f"min({value}) as lowest_{place}",
            f"max({value}) as highest_{place}",
        ]
        if bins[column.name]:
            bound[f"ends_{place}"] = list(bins[column.name])
            selected.append(f"histogram({value}, $ends_{place}::DOUBLE[]) as histogram_{place}")
    found = warehouse.query(f"select {', '.join(selected)} {where}", bound).to_pylist()[0]
    counted = {}
    for place, column in enumerate(columns):
        known, ends = found[f"known_{place}"], bins[column.name]
        # Arrow has DuckDB's map of ends and rows as pairs.
        by_end = dict(found.get(f"histogram_{place}") or [])
        rows = {number: by_end.get(end, 0) for number, end in enumerate(ends, start=1)}
        rows[len(ends) + 1] = known - sum(rows.values())
        rows[MISSING] = found["rows"] - known
        counted[column.name] = Counts(rows, found[f"lowest_{place}"], found[f"highest_{place}"])
    return counted


def _by_kind(columns: Sequence[Column]) -> tuple[list[Column], list[Column]]:
    """Columns of numbers, and those of text."""
    return (
        [column for column in columns if not is_category(column)],
        [column for column in columns if is_category(column)],
    )


def _rows_of(table: Table) -> str:
    return f'from {table.qualified} where "{table.partition}" = $day::DATE'


def _ends(quantiles: Sequence[float]) -> Bins:
    """Returns the upper ends of bins between quantiles.

    The smallest value has a bin of its own, which many zeros fill.
    """
    ends = sorted({value for value in quantiles if math.isfinite(value)})
    return (math.nextafter(ends[0], -math.inf), *ends) if ends else ()


def _number(column: Column) -> str:
    """A column as a number; null where it is not one."""
    value = f'"{column.name}"::DOUBLE'
    return f"(case when not isnan({value}) then {value} end)"


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

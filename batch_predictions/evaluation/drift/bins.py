"""The bins of columns: made from the rows of one day, and filled with those of another."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from batch_predictions.evaluation.drift.compute import is_category
from batch_predictions.tables import Column, Table
from batch_predictions.warehouse import Warehouse

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

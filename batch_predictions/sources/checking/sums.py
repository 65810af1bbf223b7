"""Sums of interactions or reviews by month, to be compared with the books of a company."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from batch_predictions.sources.validation.event_types import RETURN, EventTypes

ALL = "all"
MAX_MONTHS = 24
"""Months that are printed; those before are in the JSON."""
PURCHASE_TYPES, RETURN_TYPE = "purchase_types", "return_type"
_SUMS: dict[str, str] = {
    "interactions": "sum(coalesce(quantity, 1)) filter (is_purchase) as units, "
    "sum(amount) filter (is_purchase) as amount, "
    f"sum(amount) filter (event_type = ${RETURN_TYPE}) as returned",
    "reviews": "null as units, null as amount, null as returned",
}


@dataclass(frozen=True)
class MonthSums:
    """Sums of accepted rows of a month.

    Attributes:
        month: such as 2026-03; all: of all these months.
        rows: rows of the raw table.
        customers: distinct users.
        items: distinct items.
        units: units of purchases; a row without a quantity is one; None: a table without units.
        amount: amounts of purchases, negative ones subtracted; None: no row has one.
        returned: amounts of rows of the type return; None: there are none.
        first_day: with a row.
        last_day: with a row.
    """

    month: str
    rows: int
    customers: int
    items: int
    units: float | None
    amount: float | None
    returned: float | None
    first_day: dt.date
    last_day: dt.date


def sums_query(
    table: str, relation: str, event_types: EventTypes
) -> tuple[str, dict[str, object]] | None:
    """The query of the sums of a table by month and in all, and its parameters; None: it has none.

    Args:
        table: name of a raw table.
        relation: SQL of its rows, as it stands after `from`.
        event_types: of the source.
    """
    if table not in _SUMS:
        return None
    flag = ""
    parameters: dict[str, object] = {}
    if table == "interactions":
        flag = f", list_contains(${PURCHASE_TYPES}, event_type) as is_purchase"
        parameters = {PURCHASE_TYPES: list(event_types.purchases), RETURN_TYPE: RETURN}
    month = "strftime(date, '%Y-%m')"
    return (
        f"select coalesce({month}, '{ALL}') as month, count(*) as rows, "
        "count(distinct user_id) as customers, count(distinct item_id) as items, "
        f"{_SUMS[table]}, min(date) as first_day, max(date) as last_day "
        f"from (select *{flag} from {relation}) group by grouping sets (({month}), ()) "
        f"having count(*) > 0 order by {month} nulls last",
        parameters,
    )


def sum_months(
    db: duckdb.DuckDBPyConnection, table: str, relation: str, event_types: EventTypes
) -> list[MonthSums]:
    """The sums of rows of a table by month, the total last; empty if it has nothing to sum.

    Args:
        db: connection of the rows.
        table: name of a raw table.
        relation: SQL of its rows, as it stands after `from`.
        event_types: of the source.
    """
    query = sums_query(table, relation, event_types)
    if query is None:
        return []
    rows = db.sql(query[0], params=query[1]).to_arrow_table()
    return [MonthSums(**row) for row in rows.to_pylist()]


def describe_sums(
    db: duckdb.DuckDBPyConnection, table: str, relation: str, event_types: EventTypes
) -> str:
    """Number of rows and sum of amounts, such as `394 rows (38,248.62)`; empty without rows."""
    *_, total = [None, *sum_months(db, table, relation, event_types)]
    if total is None:
        return ""
    amount = "" if total.amount is None else f" ({total.amount:,.2f})"
    return f"{total.rows:,} row{'s' if total.rows > 1 else ''}{amount}"


def sums_lines(sums: Sequence[MonthSums] | Sequence[Mapping[str, object]]) -> list[str]:
    """Sums as lines of a table, the total last."""
    rows = [row if isinstance(row, MonthSums) else MonthSums(**row) for row in sums]  # type: ignore[arg-type]
    if not rows:
        return []
    columns = ["rows", "customers", "items", "units", "amount", "returned"]
    columns = [name for name in columns if any(getattr(row, name) is not None for row in rows)]
    widths = {
        name: max(len(name), 14 if name in ("amount", "returned") else 10) for name in columns
    }
    lines = ["month    " + "".join(f"{name:>{widths[name] + 2}}" for name in columns)]
    for row in [*rows[:-1][-MAX_MONTHS:], rows[-1]]:
        cells = ""
        for name in columns:
            value = getattr(row, name)
            text = (
                "" if value is None else f"{value:,.2f}" if widths[name] > 10 else f"{value:,.0f}"
            )
            cells += f"{text:>{widths[name] + 2}}"
        lines.append(f"{row.month:<9}{cells}")
    return lines

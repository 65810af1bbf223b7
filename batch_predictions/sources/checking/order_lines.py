"""Proposes a query for orders with a line per item: what was sold, and for how much.

Exports such as Shopify's fill the columns of an order (status, discount, refund) on its first line
only. The query takes them for all lines of the order, and spreads amounts of the order over its
lines in proportion to their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import duckdb

from batch_predictions.sources.checking.file_guesses import OTHER_COLUMNS, normalise_name
from batch_predictions.sources.checking.suggestions import Preview, Suggestions
from batch_predictions.sources.checking.value_guesses import (
    SOLD,
    guess_time_format,
    number_sql,
)
from batch_predictions.warehouse.path_sql import quote_identifier, quote_literal

_NAMES = (
    "order_id order_number order_no order_name order name bestellnummer bestell_nr auftragsnummer "
    "numero_commande commande numero_pedido id_pedido pedido numero_ordine ordine bestelnummer "
    "invoice invoice_no invoice_id receipt bon_nr transaction_id"
)
ORDER_NAMES = _NAMES.split()
"""Names of the column of the order's id, in lower case with underscores, the likeliest first."""
ORDER_AMOUNTS = ("discount", "refund")
MIN_ORDERS = 5
"""Orders of several lines with a discount, from which it can be of the order."""
CONSISTENT_SHARE = 0.99
"""Share of orders that have one value of a column, and of its gaps that they fill."""


@dataclass(frozen=True)
class Orders:
    """The column with the id of the order, and the columns that are of the order.

    Attributes:
        by: the column of the order's id; None: there is none.
        gaps: columns that are filled on one line of each order and empty on the others.
        repeated: amounts of the order that stand on each of its lines.
    """

    by: str | None = None
    gaps: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()


def find_orders(db: duckdb.DuckDBPyConnection, relation: str, columns: Mapping[str, str]) -> Orders:
    """Finds the order's id as the finest column by which every gap is filled by one value.

    Args:
        db: connection of the rows.
        relation: SQL of all rows of the files.
        columns: column of the raw table, or one of `OTHER_COLUMNS`, to column of the files.
    """
    described = db.execute(f"describe select * exclude (filename) from {relation}").fetchall()
    names = [row[0] for row in described]
    counts = db.execute(
        "select count(*), "
        + ", ".join(f"count({_text(n)}), approx_count_distinct({_text(n)})" for n in names)
        + f" from {relation}"
    ).fetchall()[0]
    total, filled, distinct = counts[0], counts[1::2], counts[2::2]
    gaps = [
        n for n, f in zip(names, filled, strict=True) if 0 < f < total and n in columns.values()
    ]
    ids = [
        name
        for name, rows_with, values in zip(names, filled, distinct, strict=True)
        if rows_with == total and 1 < values < 0.98 * total and name not in gaps
    ]
    fitting = [(n, c) for n in ids if (c := _fill_count(db, relation, n, gaps))[0]] if gaps else []
    named = sorted((n for n in ids if _order_rank(n) < len(ORDER_NAMES)), key=_order_rank)
    best = named[0] if named else None
    if fitting:
        best = max(fitting, key=lambda entry: (entry[1], -_order_rank(entry[0])))[0]
    gaps = [gap for gap in gaps if best and _is_of_order(db, relation, best, gap)]
    repeated = [
        columns[name]
        for name in ORDER_AMOUNTS
        if best and name in columns and columns[name] not in gaps
        if _is_repeated(db, relation, best, columns[name])
    ]
    return Orders(best, tuple(gaps), tuple(repeated))


def _text(column: str) -> str:
    return f"nullif(trim({quote_identifier(column)}::VARCHAR), '')"


def _order_rank(column: str) -> int:
    name = normalise_name(column)
    return ORDER_NAMES.index(name) if name in ORDER_NAMES else len(ORDER_NAMES)


def _fill_count(
    db: duckdb.DuckDBPyConnection, relation: str, by: str, gaps: Sequence[str]
) -> tuple[int, int]:
    """Counts the columns whose gaps groups of rows fill, each by one value; and the groups."""
    grouped = ", ".join(
        f"count(distinct {_text(gap)}) as v{n}, count({_text(gap)}) as f{n}"
        for n, gap in enumerate(gaps)
    )
    checks = ", ".join(
        f"avg((v{n} <= 1)::INTEGER), "
        f"sum(case when f{n} > 0 then lines - f{n} else 0 end) / sum(lines - f{n})"
        for n in range(len(gaps))
    )
    groups, *shares = db.execute(
        f"select count(*), {checks} from (select count(*) as lines, {grouped} "
        f"from {relation} group by {quote_identifier(by)})"
    ).fetchall()[0]
    pairs = zip(shares[::2], shares[1::2], strict=True)
    return sum(min(pair) >= CONSISTENT_SHARE for pair in pairs), groups


def _is_of_order(db: duckdb.DuckDBPyConnection, relation: str, by: str, gap: str) -> bool:
    """Returns whether a column with gaps has one value for each order that has any."""
    if _fill_count(db, relation, by, [gap])[0]:
        return True
    orders, once = db.execute(
        "select count(*), count(*) filter (f = 1) from (select count(*) as lines, "
        f"count({_text(gap)}) as f from {relation} group by {quote_identifier(by)}) "
        "where lines > 1 and f > 0"
    ).fetchall()[0]
    return bool(orders >= MIN_ORDERS and once == orders)


def _is_repeated(db: duckdb.DuckDBPyConnection, relation: str, by: str, column: str) -> bool:
    """Returns whether a column repeats one value, not 0, on all lines of an order."""
    orders, constant = db.execute(
        "select count(*), count(*) filter (v = 1) from (select count(distinct value) as v from "
        f"(select {quote_identifier(by)} as id, {_text(column)} as value from {relation}) "
        "where value not in ('0', '0.0', '0.00') group by id having count(*) > 1)"
    ).fetchall()[0]
    return bool(orders >= MIN_ORDERS and constant >= CONSISTENT_SHARE * orders)


@dataclass(frozen=True)
class LineQuery:
    """A query for the lines of orders, with what was paid for each.

    Attributes:
        columns: column of raw.interactions, or one of `OTHER_COLUMNS`, to column of the files.
        orders: the order of a line.
        preview: texts of the first rows, by which formats are guessed.
        several_files: whether rows of several files are read.
    """

    columns: Mapping[str, str]
    orders: Orders
    preview: Preview
    several_files: bool

    @property
    def is_needed(self) -> bool:
        """True if amounts or states of the lines need a query, not only a mapping of columns."""
        has_rate = "exchange_rate" in self.columns and self._line_sql() is not None
        return bool(self.orders.gaps) or self._price is not None or has_rate

    @property
    def _price(self) -> str | None:
        """The price of a unit, where no column has the amount of the line."""
        return None if self._line_amount else self.columns.get("unit_price")

    @property
    def _line_amount(self) -> str | None:
        amount = self.columns.get("amount")
        return (
            amount if amount not in self.orders.gaps or "unit_price" not in self.columns else None
        )

    @property
    def _window(self) -> str:
        """The lines of an order, under the name `orders`."""
        names = [
            quote_identifier(self.orders.by or ""),
            *(["filename"] if self.several_files else []),
        ]
        return f" window orders as (partition by {', '.join(names)})"

    def _is_of_order(self, column: str) -> bool:
        return column in (*self.orders.gaps, *self.orders.repeated)

    def _line_sql(self) -> str | None:
        """SQL of a line's own amount; None: there is no amount."""
        if self._line_amount is not None:
            return self._number(self._line_amount)
        if self._price is None:
            return None
        quantity = self.columns.get("quantity")
        line = " * ".join(map(self._number, filter(None, (quantity, self._price))))
        own = [self.columns.get(name) for name in ("line_discount", *ORDER_AMOUNTS)]
        parts = [line, *(self._or_zero(c) for c in own if c and not self._is_of_order(c))]
        return " - ".join(parts)

    def _amount_sql(self) -> str:
        """SQL of what was paid for a line, in one currency."""
        amount, rate = self._paid_sql(), self.columns.get("exchange_rate")
        return f"({amount}) * {self._number(rate)}" if rate else amount

    def _paid_sql(self) -> str:
        """SQL of what was paid for a line, over the line's own amount `line_value`."""
        if self._line_amount is not None:
            if self._line_amount in self.orders.gaps and "quantity" in self.columns:
                units = self._number(self.columns["quantity"])
                return f"line_value * {units} / sum({units}) over orders"
            return "line_value"
        columns = [self.columns.get(name) for name in ORDER_AMOUNTS]
        shared = " + ".join(self._or_zero(c) for c in columns if c and self._is_of_order(c))
        if not shared:
            return "line_value"
        share = f"({shared}) * line_value / nullif(sum(line_value) over orders, 0)"
        return f"line_value - coalesce({share}, 0)"

    def lines(self, scan: str) -> tuple[str, str | None, str]:
        """SQL of the lines, of what was paid for each, and of the window that both need.

        Args:
            scan: the files, as they stand after `from`.
        """
        line, window = self._line_sql(), self._window if self.orders.by else ""
        rows = scan
        if self.orders.gaps:
            filled = ", ".join(
                f"max({quote_identifier(name)}) over orders as {quote_identifier(name)}"
                for name in self.orders.gaps
            )
            rows = f"(select * replace ({filled}) from {scan}{window})"
        if line is None:
            return rows, None, window
        return f"(select *, {line} as line_value from {rows})", self._amount_sql(), window

    def sql(self, scan: str, condition: str | None, formats: bool = False) -> str:
        """The query.

        Args:
            scan: the files, as they stand after `from`.
            condition: of the rows to take; None: all.
            formats: whether times are read by their format here.
        """
        rows, amount, window = self.lines(scan)
        selected = []
        for name, column in self.columns.items():
            if name in OTHER_COLUMNS or name == "amount":
                continue
            value = quote_identifier(column)
            if formats and name == "occurred_at":
                pattern = guess_time_format(list(self.preview.get(column, ())))[0]
                value = f"strptime({value}, {quote_literal(pattern)})" if pattern else value
            selected.append(f"{value} as {name}")
        selected += [f"{amount} as amount"] if amount else []
        where = f" where {condition}" if condition else ""
        used = window if amount and " over orders" in amount else ""
        return f"select {', '.join(selected)} from {rows}{where}{used}"

    def questions(self) -> list[str]:
        """Questions about what the query assumes of orders, prices and discounts."""
        asked = []
        if self._price is not None:
            asked.append(
                f"is {self._price!r} the price of one unit? amount is what was paid for the whole "
                "line: proposed is quantity times price"
            )
        if self.orders.gaps:
            asked.append(
                f"{', '.join(map(repr, self.orders.gaps))}: filled on one line of each order, "
                f"proposed is to take them for all lines of the same {self.orders.by!r}. Is "
                f"{self.orders.by!r} the order?"
            )
        for name in (*ORDER_AMOUNTS, "line_discount"):
            if column := self.columns.get(name):
                asked.append(self._amount_question(name, column))
        if column := self.columns.get("exchange_rate"):
            asked.append(
                f"is {column!r} what a unit of the line's currency is worth in yours? Amounts are "
                "multiplied by it: divide instead, if it is how many units yours is worth"
            )
        return asked

    def _amount_question(self, name: str, column: str) -> str:
        if self._price is None:
            return f"is amount what was paid after {column!r}? Nothing is subtracted"
        is_shared = self._is_of_order(column)
        way = "spread over the lines of its order" if is_shared else "subtracted from its line"
        units = "; units stay those that were ordered" if name == "refund" else ""
        return f"does {column!r} lower what was paid? Proposed: it is {way}{units}"

    def _number(self, column: str) -> str:
        """SQL of a number in a column."""
        is_rate = column == self.columns.get("exchange_rate")
        return number_sql(column, self.preview.get(column, ()), is_rate=is_rate)

    def _or_zero(self, column: str) -> str:
        return f"coalesce({self._number(column)}, 0)"


def sold_condition(
    db: duckdb.DuckDBPyConnection, relation: str, query: LineQuery, suggestions: Suggestions
) -> str | None:
    """A condition for the lines that were sold, by the order's status; asks about the others."""
    status = query.columns.get("status")
    if status is None:
        return None
    states = _count_states(db, relation, query, status)
    is_partial = {s: "partial" in s.lower() and "refund" in s.lower() for s in states}
    sold = [
        state
        for state in states
        if state.strip().lower() in SOLD or (is_partial[state] and "refund" in query.columns)
    ]
    if not sold:
        return None
    left_out = [text for state, text in states.items() if state not in sold]
    if left_out:
        suggestions.questions.append(
            f"which states of {status!r} are sales? Proposed are "
            f"{', '.join(states[state] for state in sold)}; left out are {', '.join(left_out)}"
        )
    return f"{quote_identifier(status)} in ({', '.join(map(quote_literal, sold))})"


def _count_states(
    db: duckdb.DuckDBPyConnection, relation: str, query: LineQuery, column: str
) -> dict[str, str]:
    """Values of a column on all lines, empty ones too, with the lines and what they amount to."""
    lines, amount, window = query.lines(relation)
    tried = [f"{amount} as amount from {lines}{window}"] if amount else []
    for selected in (*tried, f"null as amount from {relation}"):
        # An amount that is no number: the check of the proposed query says which.
        with suppress(duckdb.Error):
            counted = db.execute(
                "select state, count(*), sum(amount) from (select "
                f"coalesce({_text(column)}, '') as state, {selected}) group by 1 order by 2 desc, 1"
            ).fetchall()
            break
    return {
        state: f"{state or '(empty)'} ({number:,} rows"
        + (f", {total:,.2f})" if total is not None else ")")
        for state, number, total in counted
    }

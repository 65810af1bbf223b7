"""Exports of orders, as shop systems write them, are proposed so that their sums are right."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.sources.checking.check import check_source
from batch_predictions.sources.checking.check_report import SourceReport

ORDERS = 40


def write(path: Path, header: str, rows: Sequence[Sequence[object]], separator: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=separator).writerows([header.split(","), *rows])


def check(folder: Path) -> tuple[SourceReport, SourceReport]:
    """The report of the bare files, and that of the settings which it proposes."""
    base: dict[str, Any] = {"kind": "files", "path": folder, "timezone": "UTC"}
    home = folder.parent / "home"
    first = check_source(Settings(home=home, source=SourceSettings(**base)))
    proposed = {**base, "naive_times": "utc", **first.suggested_settings}
    return first, check_source(Settings(home=home, source=SourceSettings(**proposed)))


def totals(report: SourceReport) -> tuple[int, float, float]:
    """Accepted rows of interactions, their units and amount."""
    [table] = [table for table in report.tables if table.table == "interactions"]
    assert table.problem is None and not table.refused
    *months, total = table.sums
    assert sum(month.rows for month in months) == total.rows
    return total.rows, total.units or 0.0, round(total.amount or 0.0, 2)


def order(number: int, lines: int = 2) -> list[tuple[str, str, int, float]]:
    """Lines of an order: its name, item, quantity and price of a unit."""
    return [(f"#{number}", f"i{n}", n + 1, 10.0 + number % 7 + n) for n in range(lines)]


@pytest.mark.parametrize("is_filled_once", [True, False])
def test_state_and_discount_of_an_order_are_of_all_its_lines(
    tmp_path: Path, is_filled_once: bool
) -> None:
    rows: list[list[object]] = []
    lines, units, amount = 0, 0, 0.0
    for number in range(ORDERS):
        state = "paid" if number % 4 else ("refunded", "")[number % 8 // 4]
        discount = 2.0 if number % 3 == 0 else 0.0
        for n, (name, item, quantity, price) in enumerate(order(number)):
            of_order = (state, discount) if n == 0 or not is_filled_once else ("", "")
            day = f"2026-01-{number % 28 + 1:02d} 10:00:00"
            rows.append([name, f"u{number % 5}", *of_order, day, quantity, price, item])
            if state == "paid":
                lines, units, amount = lines + 1, units + quantity, amount + quantity * price
        amount -= discount if state == "paid" else 0.0
    header = "Name,Email,Financial Status,Discount Amount,Created at,"
    header += "Lineitem quantity,Lineitem price,Lineitem sku"
    write(tmp_path / "export" / "orders_1.csv", header, rows[: len(rows) // 2])
    write(tmp_path / "export" / "orders_2.csv", header, rows[len(rows) // 2 :])
    first, second = check(tmp_path / "export")
    assert totals(second) == (lines, units, round(amount, 2))
    asked = "\n".join(first.questions)
    paid, refunded = sum(1 for row in rows if row[2] == "paid"), 10
    counted = lines if is_filled_once else paid
    assert f"paid ({counted} rows" in asked and f"refunded ({refunded} rows" in asked
    assert "(empty) (10 rows" in asked
    assert ("filled on one line of each order" in asked) == is_filled_once
    assert "'Discount Amount' lower" in asked and "spread over" in asked
    [table] = second.tables
    assert table.rows_in_files == len(rows) and f"the files have {len(rows)} rows" in str(second)


@pytest.mark.parametrize("swapped", ["", ",."], ids=["1,234.50", "1.234,50"])
def test_a_discount_of_the_line_is_subtracted_from_it(tmp_path: Path, swapped: str) -> None:
    def number(value: float) -> str:
        return f"{1000 * value:,.2f}".translate(str.maketrans(swapped, swapped[::-1]))

    rows = [
        [name, "u1", f"2026-02-{n % 28 + 1:02d}", quantity, price, item, (n * 7 + k) % 5]
        for n in range(ORDERS)
        for k, (name, item, quantity, price) in enumerate(order(n, 3))
    ]
    # The number of the line is no amount of the line.
    rows = [[*row, n] for n, row in enumerate(rows)]
    header = "order_id,customer,order_date,qty,unit_price,sku,discount,line"
    written = [[*r[:4], number(r[4]), r[5], number(r[6]), r[7]] for r in rows]  # type: ignore[arg-type]
    write(tmp_path / "export" / "orders.csv", header, written)
    first, second = check(tmp_path / "export")
    paid = sum(r[3] * r[4] - r[6] for r in rows)  # type: ignore[operator]
    assert totals(second)[2] == pytest.approx(1000 * paid)
    assert "subtracted from its line" in "\n".join(first.questions)


def test_an_amount_on_the_first_line_is_spread_by_units(tmp_path: Path) -> None:
    rows = []
    for n in range(ORDERS):
        for k, (name, item, quantity, _) in enumerate(order(n)):
            rows.append(
                [
                    name,
                    f"u{n % 6}",
                    f"2026-02-{n % 28 + 1:02d}",
                    quantity,
                    item,
                    "" if k else 30 + n,
                ]
            )
    write(
        tmp_path / "export" / "orders.csv",
        "order_id,customer,order_date,quantity,sku,revenue",
        rows,
    )
    _, second = check(tmp_path / "export")
    assert totals(second) == (2 * ORDERS, 3 * ORDERS, sum(30 + n for n in range(ORDERS)))


@pytest.mark.parametrize(
    ("header", "separator"),
    [
        ("Kunden-Nr.,Artikel-Nr.,Bestelldatum,Menge,Stückpreis,Bestellnummer", ";"),
        ("ID client,Référence,Date commande,Quantité,Prix unitaire,Numéro commande", ";"),
        ("Cliente,Producto,Fecha,Cantidad,Precio,Pedido", ","),
        ("Codice cliente,Codice articolo,Data ordine,Quantità,Prezzo unitario,Ordine", ";"),
        ("Cliente,Produto,Data pedido,Quantidade,Preço,Pedido", ";"),
        ("Klantnummer,Artikelnummer,Besteldatum,Aantal,Stuksprijs,Bestelnummer", ";"),
    ],
)
def test_headers_of_six_languages(tmp_path: Path, header: str, separator: str) -> None:
    rows = [
        [
            f"u{n % 9}",
            item,
            f"2026-03-{n % 28 + 1:02d}",
            quantity,
            f"{price:.2f}".replace(".", ","),
            name,
        ]
        for n in range(ORDERS)
        for name, item, quantity, price in order(n)
    ]
    write(tmp_path / "export" / "verkauf.csv", header, rows, separator)
    _, second = check(tmp_path / "export")
    expected = sum(q * p for n in range(ORDERS) for _, _, q, p in order(n))
    assert totals(second) == (2 * ORDERS, 3 * ORDERS, round(expected, 2))


def test_two_marketplaces_with_columns_of_their_own(tmp_path: Path) -> None:
    mine = [
        [
            name,
            f"u{n % 9}",
            f"2026-03-{n % 28 + 1:02d}",
            quantity,
            price,
            item.replace("i0", "0012"),
        ]
        for n in range(ORDERS)
        for name, item, quantity, price in order(n)
    ]
    theirs = [
        [
            f"K{n % 4}",
            "0012",
            f"{n % 28 + 1:02d}.03.2026 09:30",
            20.5,
            ("bezahlt", "storniert")[n % 2],
            ("EUR", "CHF")[n // 20],
        ]
        for n in range(ORDERS)
    ]
    write(
        tmp_path / "export" / "orders_a.csv",
        "order_id,customer,order_date,qty,unit_price,sku",
        mine,
    )
    write(
        tmp_path / "export" / "bestellungen_b.csv",
        "Kunde,Artikel,Datum,Umsatz,Status,Währung",
        theirs,
        ";",
    )
    first, second = check(tmp_path / "export")
    sold = [row for row in theirs if row[4] == "bezahlt"]
    expected = sum(r[3] * r[4] for r in mine) + sum(r[3] for r in sold)  # type: ignore[operator, misc]
    assert totals(second) == (len(mine) + len(sold), 3 * ORDERS + len(sold), round(expected, 2))
    asked = "\n".join(first.questions)
    assert "several currencies, CHF (20 rows), EUR (20 rows)" in asked
    assert "left out are storniert (20 rows, 410.00)" in asked
    # Ids keep their zeros: 0012 of both files is one item.
    assert second.tables[0].sums[-1].items == 2


@pytest.mark.parametrize(
    ("has_price", "written"), [(True, "1.065"), (False, "1.065"), (True, "1,065")]
)
def test_amounts_are_multiplied_by_the_rate_of_their_currency(
    tmp_path: Path, has_price: bool, written: str
) -> None:
    header = f"order,user,sku,qty,{'price' if has_price else 'amount'},currency,exchange_rate,ts"
    rates = {"EUR": "1", "CHF": written}
    rows = [
        [number, f"u{number % 5}", "i", 2, 10.0 + number, currency, rate, "2026-01-05 10:00"]
        for number in range(ORDERS)
        for currency, rate in rates.items()
    ]
    write(tmp_path / "source" / "orders.csv", header, rows)
    first, second = check(tmp_path / "source")
    units = 2 if has_price else 1
    expected = sum(units * (10.0 + number) for number in range(ORDERS)) * 2.065
    assert totals(second) == (len(rows), 2.0 * len(rows), round(expected, 2))
    [question] = [text for text in first.questions if "exchange_rate" in text]
    assert "Amounts are multiplied by it" in question
    assert not any("several currencies" in text for text in first.questions)


def test_files_of_one_kind_have_one_encoding_which_later_ones_have_too(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    line = "u1;i1;2026-01-05;Köln\n"
    for name in ("sales_2026-01.csv", "sales_2026-02.csv", "towns.csv", "list_1.csv", "list_2.csv"):
        text = f"user;sku;ts;Ort\n{line}"
        (folder / name).write_bytes(text.encode("utf-8" if name == "list_1.csv" else "cp1252"))
    first, _ = check(folder)
    # A pattern would read a file that is UTF-8 by another encoding.
    names = ["list_2.csv", "sales_*.csv", "towns.csv"]
    assert first.suggested_settings["encoding"] == dict.fromkeys(names, "cp1252")
    assert sum("written in cp1252" in text for text in first.questions) == len(names)

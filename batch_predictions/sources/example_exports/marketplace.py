"""A marketplace's orders in three currencies, with articles, customers and merged customers."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

from batch_predictions.sources.example_exports.example_files import (
    FIRST_DAY,
    LAST_DAY,
    decimal_comma,
    price,
)

MARKET_CUSTOMERS = 90
MARKET_ARTICLES = 48
_RATES = {"EUR": "1,0000", "CHF": "1,0650", "PLN": "0,2340"}
"""By currency, what a unit of it is worth in euros, as the export writes it."""
_SURNAMES = ("Müller", "Größmann", "Schäfer", "Lévêque", "Weiß", "Jäger", "Çelik", "Søndergård")
_MARKET_STATES = ("bezahlt",) * 6 + ("versendet",) * 3 + ("storniert", "offen")


def market_customer(number: int) -> str:
    """The number of a customer of the marketplace."""
    return f"K-{10_000 + number}"


def merged_customers() -> dict[str, str]:
    """By former number, the number that follows: of customers 1 to 8, with a chain from 7 to 9."""
    pairs = {number: number + 40 for number in range(1, 7)} | {7: 8, 8: 9}
    return {market_customer(old): market_customer(new) for old, new in pairs.items()}


def write_marketplace_export(folder: Path, seed: int = 7) -> None:
    """Orders of three months in three currencies, customers, articles and merges of customers.

    The files are as German software writes them: cp1252, semicolons, decimal commas. The discount
    of an order stands on its first line. Customers that were merged have orders under both numbers;
    some have a row under both, some under the former only. Customers of even number like even
    articles.
    """
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    days = (LAST_DAY - FIRST_DAY).days + 1
    lines: dict[str, list[list[str]]] = {}
    for number in range(days * 9):
        day = FIRST_DAY + dt.timedelta(days=number // 9)
        lines.setdefault(f"{day:%Y-%m}", []).extend(_market_order(rng, number, day))
    for month, rows in lines.items():
        _write_cp1252(folder / f"bestellungen_{month}.csv", [_MARKET_HEADER, *rows])
    _write_cp1252(
        folder / "artikel.csv",
        [
            ["Artikel-Nr.", "Bezeichnung", "Warengruppe", "Hersteller", "Preis"],
            *(
                [
                    f"A{number:04d}",
                    f"{('Töpfe', 'Gläser')[number % 2]} Größe {number}",
                    ("Küche", "Geschirr")[number % 2],
                    f"Händler {number % 4}",
                    decimal_comma(price(number)),
                ]
                for number in range(MARKET_ARTICLES)
            ),
        ],
    )
    # Of those who were merged, the first three have no row under their present number.
    listed = [n for n in range(MARKET_CUSTOMERS) if n not in (41, 42, 43)]
    _write_cp1252(
        folder / "kunden.csv",
        [
            ["Kunden-Nr.", "Name", "Anrede", "Geburtsdatum", "Ort"],
            *(
                [
                    market_customer(number),
                    _SURNAMES[number % len(_SURNAMES)],
                    ("Frau", "Herr")[number % 2],
                    f"{number % 28 + 1:02d}.{number % 12 + 1:02d}.{1950 + number % 55}",
                    ("Köln", "Zürich", "Graz")[number % 3],
                ]
                for number in listed
            ),
        ],
    )
    write_merges(folder, merged_customers())


def write_merges(folder: Path, merges: dict[str, str]) -> None:
    """The marketplace's file of merges: present number by former one."""
    header = ["Alte Kunden-Nr.", "Neue Kunden-Nr.", "zusammengeführt am"]
    rows = [[old, new, "01.03.2026"] for old, new in merges.items()]
    _write_cp1252(folder / "kunden_zusammenfuehrung.csv", [header, *rows])


_MARKET_HEADER = [
    *("Bestell-Nr.", "Bestelldatum", "Status", "Kunden-Nr.", "Artikel-Nr.", "Menge"),
    *("Einzelpreis", "Währung", "Wechselkurs", "Rabatt"),
]


def _market_order(rng: random.Random, number: int, day: dt.date) -> list[list[str]]:
    """The lines of an order, its discount on the first."""
    customer = rng.randrange(MARKET_CUSTOMERS)
    currency = rng.choice(("EUR", "EUR", "EUR", "CHF", "PLN"))
    time = dt.datetime.combine(day, dt.time(7)) + dt.timedelta(minutes=rng.randrange(900))
    state, discount = rng.choice(_MARKET_STATES), rng.choice(("", "", "4,00", "2,50"))
    articles = [
        2 * rng.randrange(MARKET_ARTICLES // 2) + customer % 2 for _ in range(rng.randrange(1, 4))
    ]
    return [
        [
            *(f"B{200_000 + number}", f"{time:%d.%m.%Y %H:%M}", state, market_customer(customer)),
            *(f"A{article:04d}", str(rng.choice((1, 1, 2, 3))), decimal_comma(price(article))),
            *(currency, _RATES[currency], "" if line else discount),
        ]
        for line, article in enumerate(dict.fromkeys(articles))
    ]


def _write_cp1252(path: Path, rows: list[list[str]]) -> None:
    text = "\r\n".join(";".join(row) for row in rows) + "\r\n"
    path.write_bytes(text.encode("cp1252"))

"""Exports as other systems write them: a shop's or marketplace's orders, clicks, reviews."""

from __future__ import annotations

import csv
import datetime as dt
import json
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIRST_DAY = dt.date(2026, 1, 5)
LAST_DAY = dt.date(2026, 3, 15)
"""A Sunday, on which a training is possible."""
PRODUCTS = 60
CUSTOMERS = 120
DRAFTS = 18
_STATES = ("paid",) * 8 + ("partially_refunded", "refunded", "voided", "pending")
_ENGLISH = (
    ("awful", "broken", "useless", "a waste of money"),
    ("ok", "average", "nothing special"),
    ("great", "lovely", "perfect", "so easy to use"),
)
_GERMAN = (
    ("furchtbar", "kaputt", "nutzlos", "leider schlecht"),
    ("ganz ok", "mittelmäßig", "nichts besonderes"),
    ("super", "wunderbar", "perfekt", "sehr einfach zu bedienen"),
)


def sku(number: int) -> str:
    """The stock keeping unit of a product."""
    return f"SKU-{number:03d}"


def price(number: int) -> float:
    """The price of a product."""
    return round(4.9 + number * 19.35, 2)


def decimal_comma(number: float) -> str:
    """A number as it is written in Germany: 1.164,60."""
    return f"{number:,.2f}".replace(",", " ").replace(".", ",").replace(" ", ".")


def write_shop_export(folder: Path, seed: int = 3) -> None:
    """Orders with a line per item in two files, products with drafts, customers with a BOM.

    As a shop system writes them, state, discount and refund of an order stand on its first line
    only. The price of a line is that of one unit. Some e-mail addresses differ in case, and a third
    of the orders was voided, refunded or not paid. Customers of even number like even products.
    """
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    days = (LAST_DAY - FIRST_DAY).days + 1
    orders = [_order_lines(rng, number) for number in range(days * 14)]
    half = len(orders) // 2
    for number, part in enumerate((orders[:half], orders[half:]), start=1):
        lines = [line for order in part for line in order]
        _write_csv(folder / f"orders_export_{number}.csv", [list(_ORDER_HEADER), *lines])
    _write_csv(
        folder / "products_export.csv",
        [
            ["Variant SKU", "Title", "Vendor", "Type", "Variant Price", "Status"],
            *(
                [
                    sku(number),
                    f"Product {number}",
                    f"Vendor {number % 5}",
                    ("shoes", "bags")[number % 2],
                    decimal_comma(price(number)),
                    "draft" if number < DRAFTS else "active",
                ]
                for number in range(PRODUCTS)
            ),
        ],
    )
    customers = [["Email", "Anrede", "Geburtsdatum", "Ort"]] + [
        [
            address(number),
            ("Frau", "Herr")[number % 2],
            f"{number % 28 + 1:02d}.{number % 12 + 1:02d}.{1950 + number % 55}",
            ("Köln", "Hamburg", "München")[number % 3],
        ]
        for number in range(CUSTOMERS)
    ]
    text = "\r\n".join(";".join(row) for row in customers)
    (folder / "customers.csv").write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n")


_ORDER_HEADER = (
    *("Name", "Email", "Financial Status", "Discount Amount", "Refunded Amount", "Created at"),
    *("Lineitem quantity", "Lineitem name", "Lineitem price", "Lineitem sku"),
)


def _order_lines(rng: random.Random, number: int) -> list[list[str]]:
    """The lines of an order, the columns of the order on the first."""
    customer = rng.randrange(CUSTOMERS)
    email = f"Customer{customer}@Example.com" if rng.random() < 0.3 else address(customer)
    time = dt.datetime.combine(FIRST_DAY, dt.time(8)) + dt.timedelta(
        days=number // 14, minutes=rng.randrange(720)
    )
    state = rng.choice(_STATES)
    products = [
        2 * rng.randrange(PRODUCTS // 2) + customer % 2
        if rng.random() < 0.85
        else rng.randrange(PRODUCTS)
        for _ in range(rng.randrange(1, 4))
    ]
    lines: list[list[str]] = []
    for product in dict.fromkeys(products):
        discount = f"{rng.choice((0, 0, 0, 3.5)):.2f}"
        refund = "4.00" if state == "partially_refunded" else "0.00"
        of_order = [state, discount, refund] if not lines else ["", "", ""]
        lines.append(
            [
                *(f"#{1000 + number}", email, *of_order, f"{time:%Y-%m-%d %H:%M:%S} -0500"),
                *(str(rng.choice((1, 1, 1, 2, 3))), f"Product {product}"),
                *(f"{price(product):.2f}", sku(product)),
            ]
        )
    return lines


def address(customer: int) -> str:
    """The e-mail address of a customer, as the shop has it."""
    return f"customer{customer}@example.com"


def write_click_stream(folder: Path, users: int = 2000, items: int = 800) -> None:
    """The click stream of `benchmarks/generate_click_stream.py`."""
    script = ROOT / "benchmarks" / "generate_click_stream.py"
    command = [sys.executable, str(script), str(folder)]
    command += ["--users", str(users), "--items", str(items)]
    subprocess.run(command, check=True, capture_output=True)


def write_review_export(folder: Path, seed: int = 5, reviews: int = 1200) -> None:
    """Reviews of apps in two stores: JSON Lines with nested users, and CSV with month names.

    A third is German. Some have emoji, HTML, or no text.
    """
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    play, apple = [], [["id", "app", "author", "date", "stars", "title", "review"]]
    for number in range(reviews):
        german = number % 3 == 0
        stars = rng.choice((1, 2, 3, 4, 5, 5))
        words = (_GERMAN if german else _ENGLISH)[0 if stars < 3 else 1 if stars == 3 else 2]
        day = FIRST_DAY + dt.timedelta(days=number * 69 // reviews)
        text = (
            f"das ist ein {rng.choice(words)} programm und ich habe es auf dem telefon {number}"
            if german
            else f"this is {rng.choice(words)} and i have it on the phone {number}"
        )
        kind = number % 20
        if kind == 1:
            text = f"<p>{text} &amp; more</p><br/>"
        elif kind == 2:
            text += " \U0001f600\U0001f44d"
        elif kind == 3:
            text = ""
        app = f"app-{number % 4}"
        if number % 2:
            moment = dt.datetime.combine(day, dt.time(12), dt.UTC)
            play.append(
                {
                    "review_id": f"p{number}",
                    "app": app,
                    "user": {"id": f"u{number % 97}", "locale": "de" if german else "en"},
                    "at": int(moment.timestamp() * 1000),
                    "score": stars,
                    "content": text,
                }
            )
        else:
            date = f"{day:%b} {day.day}, {day.year}"
            apple.append([f"a{number}", app, f"user {number % 89}", date, str(stars), "", text])
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in play)
    (folder / "playstore.jsonl").write_text(lines + "\n", encoding="utf-8")
    _write_csv(folder / "appstore.csv", apple)


def _write_csv(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


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

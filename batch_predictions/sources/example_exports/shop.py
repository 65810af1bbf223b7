"""A shop's orders: a line for each item in two files, products, and customers."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

from batch_predictions.sources.example_exports.example_files import (
    FIRST_DAY,
    LAST_DAY,
    decimal_comma,
    price,
    write_csv,
)

PRODUCTS = 60
CUSTOMERS = 120
DRAFTS = 18
_STATES = ("paid",) * 8 + ("partially_refunded", "refunded", "voided", "pending")


def sku(number: int) -> str:
    """The stock keeping unit of a product."""
    return f"SKU-{number:03d}"


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
        write_csv(folder / f"orders_export_{number}.csv", [list(_ORDER_HEADER), *lines])
    write_csv(
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

"""Guesses which table a file belongs to, and which of its columns are which."""

from __future__ import annotations

import pytest

from batch_predictions.sources.checking.file_guesses import guess_table, pattern_of


@pytest.mark.parametrize(
    ("name", "columns", "table"),
    [
        ("orders.csv", ["Email", "Lineitem sku", "Created at", "Total"], "interactions"),
        ("events/dt=2026-01-01/a.parquet", ["user", "product", "event_name", "ts"], "interactions"),
        ("products.csv", ["Variant SKU", "Title", "Variant Price", "Status"], "items"),
        ("Kunden.csv", ["Email", "Anrede", "Geburtsdatum"], "users"),
        ("appstore.csv", ["app", "author", "date", "stars", "review"], "reviews"),
        ("stock.csv", ["sku", "stock", "warehouse"], "inventory"),
        ("merges.csv", ["old_id", "new_id"], "user_aliases"),
        ("x.csv", ["Alte Kunden-Nr.", "Neue Kunden-Nr.", "am"], "user_aliases"),
        ("notes.csv", ["when", "what"], None),
    ],
)
def test_tables(name: str, columns: list[str], table: str | None) -> None:
    guess = guess_table(name, columns)
    assert (guess.table if guess else None) == table


def test_columns_are_used_once_the_likeliest_first() -> None:
    guess = guess_table("reviews.csv", ["id", "app", "title", "review", "score", "date"])
    assert guess is not None and guess.columns == {
        "item_id": "app",
        "rating": "score",
        "text": "review",
        "headline": "title",
        "written_at": "date",
        "review_id": "id",
    }


def test_the_former_id_of_a_merge_is_the_alias() -> None:
    guess = guess_table("merges.csv", ["customer_id", "old_customer_id"])
    assert guess is not None
    assert guess.columns == {"alias": "old_customer_id", "user_id": "customer_id"}


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["orders.csv"], "orders.csv"),
        (["orders_1.csv", "orders_2.csv"], "orders_*.csv"),
        (["e/dt=2026-01-01/p-0.parquet", "e/dt=2026-01-02/p-0.parquet"], "e/dt=*/p-*.parquet"),
        (["sales-2026-01.csv.gz", "sales-2026-02.csv.gz"], "sales-*.csv.gz"),
    ],
)
def test_patterns(names: list[str], pattern: str) -> None:
    assert pattern_of(names) == pattern

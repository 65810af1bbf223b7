"""Numbers of a declared format are read exactly; others are never guessed."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_predictions.sources.base import SourceError
from batch_predictions.sources.checking.check import check_source
from batch_predictions.sources.validation.number_formats import NumberFormat
from batch_predictions.tables import ITEMS
from batch_predictions.warehouse.shared_database import open_cursor
from batch_predictions_tests.worlds.source_folders import HEADER, SourceFolder, total_counts

EXAMPLES = ("1.234,56", "1 234,56", "1,234.56", "1'234.56", "1234,56", "1234.56", "1 234.56")


def read_number(example: str, text: str) -> str | None:
    """A text as a number of a format."""
    sql = NumberFormat.parse("setting", example).value_sql("text")
    with open_cursor() as db:
        [(number,)] = db.execute(f"select {sql} from (select $1 as text)", [text]).fetchall()
    return None if number is None else str(number)


@pytest.mark.parametrize(
    ("example", "text", "number"),
    [
        ("1.234,56", "1.164,60", "1164.60"),
        ("1.234,56", "1164,6", "1164.6"),
        ("1.234,56", "12", "12"),
        ("1.234,56", "1.234", "1234"),
        ("1.234,56", "1.234.567,8", "1234567.8"),
        ("1.234,56", "€ 1.164,60", "1164.60"),
        ("1.234,56", "1.164,60 €", "1164.60"),
        ("1.234,56", "-1,5 kr", "-1.5"),
        ("1.234,56", "€ -1,5", "-1.5"),
        ("1.234,56", "−€1,5", "-1.5"),
        ("1.234,56", "+7,00", "7.00"),
        ("1,234.56", "12.50 EUR", "12.50"),
        ("1,234.56", "US$1,164.60", "1164.60"),
        ("1'234.56", "CHF 1’164.60", "1164.60"),
        ("1'234.56", "Fr. 12.50", "12.50"),
        ("1 234,56", "1\u202f164,60\u00a0€", "1164.60"),
        ("1234.56", "1164.60", "1164.60"),
        ("€ 1.234,56", "€1,50", "1.50"),
        ("€ 1.234,56", "1,50", "1.50"),
        # Other formats, which could mean another number.
        ("1.234,56", "12.50", None),
        ("1.234,56", "1.16,60", None),
        ("1.234,56", "1,164.60", None),
        ("1.234,56", "1 164,60", None),
        ("1,234.56", "12,50", None),
        ("1234.56", "1,164.60", None),
        ("1234.56", "1e5", None),
        ("1.234,56", "1.164,60 oder so", None),
        ("1.234,56", "", None),
        ("1.234,56", "--1,50", None),
        ("1.234,56 EUR", "1,50 USD", None),
        ("1.234,56", "1,50 € 2,00", None),
    ],
)
def test_values_of_a_format(example: str, text: str, number: str | None) -> None:
    assert read_number(example, text) == number


@given(
    example=st.sampled_from(EXAMPLES),
    number=st.decimals(-(10**9), 10**9, places=2),
    currency=st.sampled_from(("", "€", "EUR ", "$")),
)
def test_a_number_written_in_a_format_is_read_back(
    example: str, number: Decimal, currency: str
) -> None:
    number_format = NumberFormat.parse("setting", example)
    marks: dict[str, str | int | None] = {
        ",": number_format.thousands[:1],
        ".": number_format.decimal,
    }
    text = f"{abs(number):,.2f}".translate(str.maketrans(marks))
    text = f"{'-' if number < 0 else ''}{currency}{text}"
    assert Decimal(read_number(example, text) or "nan") == number


@pytest.mark.parametrize("example", ["1.234", "12,5", "1.234.56", "%d", "", "1234"])
def test_an_example_that_could_be_read_in_two_ways_is_an_error(example: str) -> None:
    with pytest.raises(SourceError, match=r"is not an example of a number .* write 1\.234,56"):
        NumberFormat.parse("source.formats.items.price", example)


ITEMS_CSV = "item_id;price\na;1.164,60\nb;12.50\nc;€ 3,00\nd;\n"


def test_optional_numbers_that_contradict_the_format_are_null_and_counted(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path, formats={"items": {"price": "1.234,56"}})
    shop.write("interactions.csv", HEADER).write("items.csv", ITEMS_CSV)
    results = shop.ingest(ITEMS, ["2024-01-10"])
    assert total_counts(results) == (4, 4, 0)
    assert results["2024-01-10"].counts.nulled == {"price": 1}
    rows = shop.rows("select price from raw.items order by item_id")
    assert [row["price"] for row in rows] == [1164.6, None, 3.0, None]


def test_amounts_that_contradict_the_format_are_refused(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path, formats={"interactions": {"amount": "1.234,56"}})
    text = HEADER.replace(",", ";") + "u;i;2024-01-02;1.164,60\nu;i;2024-01-02;12.50\n"
    shop.write("interactions.csv", text)
    assert total_counts(shop.ingest()) == (2, 1, 1)
    [reason] = shop.reasons()
    assert reason.startswith("amount '12.50' is not a number such as 1.234,56, the format that")
    assert shop.rows("select amount from raw.interactions") == [{"amount": 1164.6}]


def test_numbers_of_parquet_files_need_no_format(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path, formats={"items": {"price": "1.234,56"}})
    shop.write("interactions.csv", HEADER)
    duckdb.execute(
        f"copy (select 'a' as item_id, 12.5 as price) to '{shop.folder / 'items.parquet'}'"
    )
    shop.ingest(ITEMS)
    assert shop.rows("select price from raw.items") == [{"price": 12.5}]


@pytest.mark.parametrize(
    ("text", "examples"),
    [
        ("1.164,60", ["1.234,56"]),
        ("12,50 €", ["1.234,56"]),
        ("1 164,60", ["1 234,56"]),
        ("1,164.60", ["1,234.56"]),
        ("€ 12.50", ["1,234.56"]),
        ("1'164.60", ["1'234.56"]),
        ("1,164", ["1.234,56", "1,234.56"]),
        ("free", []),
    ],
)
def test_the_report_quotes_the_value_and_names_the_setting_to_paste(
    tmp_path: Path, text: str, examples: list[str]
) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER + "u,i,2024-01-02,1\n")
    shop.write("items.csv", f"item_id;price\na;{text}\n")
    report = check_source(shop.settings)
    items = report.tables[1]
    assert (items.accepted, list(items.values_not_read.values())) == (1, [1])
    [line] = [line for line in str(report).splitlines() if "left empty" in line]
    assert "left empty 1: price … is not a number" in line
    assert line.count("source.formats") == len(examples)
    for example in examples:
        assert f'source.formats: {{items: {{price: "{example}"}}}}' in line
    assert f"values: '{text}'" in line

"""Of two columns, with and without tax, it is asked which is the amount."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_predictions.settings import SourceSettings
from batch_predictions.sources.checking.check import check_source
from batch_predictions.sources.checking.tax_columns import TaxColumns, find_tax_columns
from batch_predictions_tests.worlds.source_folders import SourceFolder


@pytest.mark.parametrize(
    ("names", "amount", "columns"),
    [
        (["gross_amount", "net_amount"], None, ("gross_amount", "net_amount")),
        (["Bruttobetrag", "Nettobetrag"], None, ("Bruttobetrag", "Nettobetrag")),
        (["Total TTC", "Total HT"], None, ("Total TTC", "Total HT")),
        (["amount", "amount_net"], "amount", ("amount", "amount_net")),
        (["gross", "amount"], "amount", ("gross", "amount")),
        (["gross_price", "net_price", "amount"], "amount", ("amount", "net_price")),
        (["amount", "network", "internet"], "amount", None),
        (["net_amount"], "net_amount", None),
    ],
)
def test_columns_are_found_by_their_names(
    names: list[str], amount: str | None, columns: tuple[str, str] | None
) -> None:
    assert find_tax_columns(names, amount) == (columns and TaxColumns(*columns))


def rows(gross: str, net: str, ratio: float = 1.19, decimal: str = ".") -> str:
    lines = [f"customer;sku;order_date;qty;{gross};{net}"]
    for n in range(30):
        values = (f"{(10 + n) * ratio:.2f}", f"{10 + n:.2f}")
        written = ";".join(values).replace(".", decimal)
        lines.append(f"u{n % 4};i{n % 5};2024-01-{n % 28 + 1:02d};2;{written}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("decimal", [".", ","])
def test_an_export_with_both_is_asked_about_with_the_sums(tmp_path: Path, decimal: str) -> None:
    shop = SourceFolder(tmp_path).write(
        "orders.csv", rows("gross_amount", "net_amount", decimal=decimal)
    )
    report = check_source(shop.settings)
    [question] = [q for q in report.questions if "which is amount" in q]
    assert "'gross_amount' (in all 874.65) or 'net_amount' (735.00)?" in question
    assert "'gross_amount' is taken" in question
    proposed = report.suggested_settings
    assert proposed["columns"]["interactions"]["amount"] == "gross_amount"
    # Once the settings say it, nothing is asked.
    source = SourceSettings(kind="files", path=shop.folder, **proposed)
    settings = shop.settings.model_copy(update={"source": source})
    assert not any("which is amount" in q for q in check_source(settings).questions)


def test_prices_with_and_without_tax_are_prices(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("orders.csv", rows("gross_price", "net_price"))
    report = check_source(shop.settings)
    assert any("which is amount" in q for q in report.questions)
    assert '"gross_price"' in report.suggested_settings["queries"]["interactions"]


def test_a_file_that_is_named_like_its_table_is_asked_about(tmp_path: Path) -> None:
    text = rows("amount", "amount_net").replace("customer;sku;order_date", "user;item;time")
    shop = SourceFolder(tmp_path).write("interactions.csv", text)
    [question] = [q for q in check_source(shop.settings).questions if "which is amount" in q]
    assert "'amount' is taken" in question


def test_columns_that_are_not_alike_are_not_asked_about(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("orders.csv", rows("gross_weight", "net_amount", 7.0))
    assert not any("which is amount" in q for q in check_source(shop.settings).questions)

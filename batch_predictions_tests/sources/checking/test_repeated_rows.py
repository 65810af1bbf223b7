"""Rows that repeat others are asked about, with what they sum up to; none is left out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from batch_predictions.settings import SourceSettings
from batch_predictions.sources.checking.check import check_source
from batch_predictions.sources.example_exports.shop import write_shop_export
from batch_predictions_tests.worlds.source_folders import SourceFolder

HEADER = "order_id,user_id,item_id,occurred_at,quantity,amount,note\n"
MONTHS = {
    month: "".join(
        f"{month}-{n},u{n % 7},i{n % 5},2024-{month}-{n + 1:02d}T10:00:00Z,1,{n}.25,\n"
        for n in range(20)
    )
    for month in ("01", "02")
}
KEY = "{interactions: {by: [order_id, user_id, item_id, occurred_at, quantity, amount]}}"


def asked(shop: SourceFolder, **settings: object) -> list[str]:
    """What is asked about repeats."""
    shop.settings.source = shop.settings.source.model_copy(update={"timezone": "UTC", **settings})
    words = ("delivered twice", "repeated by mistake", "number of an order")
    return [q for q in check_source(shop.settings).questions if any(w in q for w in words)]


def test_a_file_delivered_twice_is_named_with_its_sum(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    for month, rows in MONTHS.items():
        shop.write(f"interactions/2024-{month}.csv", HEADER + rows)
    assert asked(shop) == []
    # Other line ends and another order of the rows: the rows are the same.
    again = HEADER + "".join(reversed(MONTHS["02"].splitlines(keepends=True)))
    shop.write("interactions/2024-02 (1).csv", again.replace("\n", "\r\n"))
    [question] = asked(shop)
    assert (
        "All rows of 'interactions/2024-02.csv' are in 'interactions/2024-02 (1).csv', too: "
        "20 rows (195.00) count twice" in question
    )
    # `note` is always empty, and so is no column by which rows are told apart.
    assert question.endswith(f"source.deduplicate: {KEY}")
    rule = {"by": KEY.split("[")[1].split("]")[0].split(", ")}
    assert asked(SourceFolder(tmp_path, deduplicate={"interactions": rule})) == []


def test_exact_repeats_are_counted_and_summed(tmp_path: Path) -> None:
    lines = MONTHS["01"].splitlines(keepends=True)
    text = HEADER + "".join([*lines, lines[3], lines[3], lines[8], "x,,i,2024-01-02,1,1,\n" * 2])
    shop = SourceFolder(tmp_path).write("interactions.csv", text)
    # Rows that are refused do not count.
    [question] = asked(shop)
    assert "3 rows (14.75) equal another row in every column" in question
    assert check_source(shop.settings).tables[0].accepted == 23


def test_rows_without_a_time_are_no_repeats(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", "user_id,item_id\n" + "u,i\n" * 3)
    assert asked(shop) == []


@pytest.mark.parametrize("is_configured", [False, True])
def test_the_number_of_an_order_is_asked_about_with_the_sums(
    tmp_path: Path, is_configured: bool
) -> None:
    header = "transaction_id,user_id,item_id,occurred_at,amount\n"
    rows = "T1,u,i,2024-01-02,1.5\nT1,u,j,2024-01-02,2\nT2,v,i,2024-01-02,8\n"
    columns = {"interactions": {"event_id": "transaction_id"}} if is_configured else {}
    shop = SourceFolder(tmp_path, columns=columns).write("interactions.csv", header + rows)
    [question] = asked(shop)
    assert question.startswith("is 'transaction_id' the id of a row or the number of an order?")
    if is_configured:
        assert "of 3 rows (11.50), 1 row (2.00) are refused as repeats" in question
        assert "take it out of source.columns.interactions" in question
    else:
        assert "all count, 3 rows (11.50)" in question
        assert "(source.columns.interactions.event_id: transaction_id), 1 row (2.00)" in question


def test_copies_of_rows_with_an_id_are_not_taken_for_an_order(tmp_path: Path) -> None:
    header, row = "event_id,user_id,item_id,occurred_at,amount\n", "T1,u,i,2024-01-02,1.5\n"
    shop = SourceFolder(tmp_path).write("interactions.csv", header + row * 2)
    report = check_source(shop.settings)
    assert report.tables[0].refused == 1 and asked(shop) == []


def test_a_file_of_a_query_delivered_twice_is_named_too(tmp_path: Path) -> None:
    write_shop_export(tmp_path / "source")
    shop = SourceFolder(tmp_path)
    proposed = check_source(shop.settings).suggested_settings
    queries = {"queries": proposed["queries"]}
    assert asked(shop, **queries) == []
    before = check_source(shop.settings).tables[0].sums[-1]
    shutil.copy(shop.folder / "orders_export_2.csv", shop.folder / "orders_export_2 (1).csv")
    [question] = asked(shop, **queries)
    after = check_source(shop.settings).tables[0].sums[-1]
    assert "'orders_export_2.csv' are in 'orders_export_2 (1).csv', too" in question
    lost = (after.amount or 0) - (before.amount or 0)
    assert f"{after.rows - before.rows:,} rows ({lost:,.2f}) count twice" in question


def test_an_id_that_reviews_share_is_not_proposed(tmp_path: Path) -> None:
    rows = [f"{n // 2},app,2024-01-02,good {n},4\n" for n in range(8)]
    shop = SourceFolder(tmp_path).write(
        "app_reviews.csv", "id,app,date,review,stars\n" + "".join(rows)
    )
    proposed = check_source(shop.settings).suggested_settings
    assert "review_id" not in proposed["columns"]["reviews"]
    report = check_source(
        shop.settings.model_copy(
            update={"source": SourceSettings(kind="files", path=shop.folder, **proposed)}
        )
    )
    assert (report.tables[0].accepted, report.tables[0].refused) == (8, 0)
    assert report.questions[0].startswith("is 'id' the id of a row? Rows of a day share it")

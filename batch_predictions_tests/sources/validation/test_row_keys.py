"""An id that only a synonym suggests is taken where it is unique; else it is an order's."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_predictions.sources.adapters.files import MappedFilesSource
from batch_predictions.sources.due_partitions import days_to_ingest
from batch_predictions.sources.files.mapped_groups import MappedGroup
from batch_predictions.tables import INTERACTIONS, REVIEWS
from batch_predictions.warehouse import as_date
from batch_predictions_tests.worlds.source_database import SourceDatabase
from batch_predictions_tests.worlds.source_folders import (
    FIRST_DAY,
    SourceFolder,
    day_keys,
    total_counts,
)

HEADER = "transaction_id,user_id,item_id,occurred_at,amount\n"
# Two orders of three lines and of one; on the next day, the ids are unique.
ORDERS = (
    "T1,u,i,2024-01-02 10:00,1.5\nT1,u,j,2024-01-02 10:00,2\nT1,u,k,2024-01-02 10:00,4\n"
    "T2,v,i,2024-01-02 11:00,8\nT3,v,i,2024-01-03 11:00,16\n"
)
COLUMNS = {"interactions": {"event_id": "transaction_id"}}


def amounts(shop: SourceFolder | SourceDatabase) -> float:
    return float(shop.rows("select sum(amount) as total from raw.interactions")[0]["total"])


def test_all_lines_of_an_order_are_read(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER + ORDERS)
    assert total_counts(shop.ingest()) == (5, 5, 0)
    assert amounts(shop) == 31.5
    ids = [row["event_id"] for row in shop.rows("from raw.interactions order by date, amount")]
    assert len({*ids}) == 5 and ids[-1] == "T3" and not {"T1", "T2"} & {*ids}


def test_all_lines_of_an_order_in_a_database_are_read(tmp_path: Path) -> None:
    names = HEADER.strip().split(",")
    shop = SourceDatabase(tmp_path, driver="sqlalchemy").create(**dict.fromkeys(names, ""))
    shop.insert([dict(zip(names, row.split(","), strict=True)) for row in ORDERS.splitlines()])
    assert total_counts(shop.ingest()) == (5, 5, 0) and amounts(shop) == 31.5


def test_a_configured_id_that_repeats_is_refused(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path, columns=COLUMNS).write("interactions.csv", HEADER + ORDERS)
    assert total_counts(shop.ingest()) == (5, 3, 2)
    assert all("map no column to event_id if it is the number of an" in r for r in shop.reasons())


def test_ids_of_reviews_are_taken_where_they_are_unique(tmp_path: Path) -> None:
    rows = "id,item_id,text,written_at\n1,i,good,2024-01-02\n1,j,bad,2024-01-02\n"
    shop = SourceFolder(tmp_path).write("reviews.csv", f"{rows}2,j,fine,2024-01-03\n")
    assert total_counts(shop.ingest(REVIEWS)) == (3, 3, 0)
    ids = [row["review_id"] for row in shop.rows("from raw.reviews order by date")]
    assert len({*ids}) == 3 and ids[-1] == "2"


def test_rows_that_an_earlier_version_refused_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER + ORDERS)
    last = as_date(day_keys(10)[-1])

    def due() -> list[str]:
        return days_to_ingest(shop.warehouse, shop.source, INTERACTIONS, FIRST_DAY, last)

    with monkeypatch.context() as patch:
        patch.setattr(MappedFilesSource, "guesses_ids", lambda *_: False)
        patch.setattr(MappedGroup, "guesses_id", lambda *_: False)
        assert total_counts(shop.ingest()) == (5, 3, 2) and due() == []
    assert due() == ["2024-01-02", "2024-01-03"]
    shop.ingest(days=due())
    assert amounts(shop) == 31.5 and due() == []

"""What a home's tables leave out, as the summary of a run says it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa

from batch_predictions.operations.left_out import describe_left_out
from batch_predictions.sources.source_registry import build_source
from batch_predictions.tables import EXCLUSIONS, INTERACTIONS
from batch_predictions_tests.worlds.source_folders import SourceFolder

LAST = dt.date(2024, 1, 7)


def lines(shop: SourceFolder) -> list[str]:
    return describe_left_out(shop.warehouse, shop.settings, shop.source, LAST)


def test_refused_filtered_and_unread_rows_are_summed_up(tmp_path: Path) -> None:
    shop = SourceFolder(
        tmp_path,
        where={"interactions": "status <> 'void'"},
        events={"purchase": {}, "view": {"weight": 0.1}},
    ).write(
        "interactions.csv",
        "user_id,item_id,occurred_at,event,status\n"
        "u1,a,2024-01-02,purchase,paid\n"
        "u1,b,2024-01-03,wishlist,paid\n"
        "u1,b,2024-01-04,wishlist,paid\n"
        "u1,c,2024-01-04,purchase,void\n"
        ",c,2024-01-05,purchase,paid\n"
        "u1,,2024-01-05,purchase,paid\n"
        "u1,d,soon,purchase,paid\n"
        "u2,d,later,purchase,paid\n",
    )
    shop.ingest()
    assert lines(shop)[1:] == [
        "4 of 7 rows of interactions were refused: occurred_at … is not a time (2); "
        "item_id is empty (1) …",
        "1 rows of interactions do not meet source.where.interactions",
        "interactions of types that source.events does not name: wishlist (2)",
    ]


def test_a_source_that_has_ended_is_said(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write(
        "interactions.csv", "user_id,item_id,occurred_at\nu1,a,2024-01-07\n"
    )
    shop.ingest()
    [line] = lines(shop)
    assert line.startswith("the source ends on 2024-01-07: no newer day in the ")


def test_keys_without_a_prediction_are_counted_by_reason(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", "user_id,item_id\nu1,a\n")
    shop.ingest()
    reasons = ["no item is left", "no item is left", "language 'de' has no model"]
    rows = pa.table(
        {
            "key": [f"u{n}" for n in range(3)],
            "reason": reasons,
        }
    )
    shop.warehouse.replace_partition(
        EXCLUSIONS, LAST.isoformat(), rows, part={"table_name": "recommendations"}
    )
    assert "3 of 3 recommendations: no item is left (2); language … has no model (1)" in lines(shop)
    assert build_source(shop.settings.source, shop.state).tables() == (INTERACTIONS,)

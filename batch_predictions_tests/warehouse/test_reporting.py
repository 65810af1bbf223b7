"""What a person sees of an asset."""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.
import base64
import re
from typing import Any

import dagster as dg
import pytest

from batch_predictions.core import redaction
from batch_predictions.tables import ITEM_ACTIVITY, ITEM_STATE
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.plot_style import new_axes
from batch_predictions.warehouse.reporting import (
    figure_metadata,
    item_labels,
    lineage_metadata,
    markdown,
    preview,
    record_materializations,
    table_metadata,
)
from batch_predictions_tests.worlds.home import PARTITIONS

ITEMS = (
    "select 'i' || i as item_id, 'a|b' as title, 'c' as category, i / 3 as price, "
    "false as is_excluded, true as available from range($n) as r(i)"
)


def test_columns_are_shown_with_types_and_descriptions_and_keys_are_not_null() -> None:
    metadata = table_metadata(ITEM_ACTIVITY)
    shown = {column.name: column for column in metadata["dagster/column_schema"].columns}
    assert list(shown) == [column.name for column in ITEM_ACTIVITY.columns]
    assert shown["users_7d"].type == "BIGINT"
    assert shown["users_7d"].description == "different users in the last 7 days"
    assert not shown["item_id"].constraints.nullable
    assert shown["users_7d"].constraints.nullable
    assert metadata["dagster/table_name"] == "features.item_activity"


def test_a_lineage_leads_to_columns_of_other_assets() -> None:
    paid = ["raw.interactions.amount", "raw.interactions.quantity", "raw.items.price"]
    lineage = {
        "item_id": ["raw.items.item_id", "features.item_state.item_id"],
        "price": paid,
        "available": paid,
        "category": ["features.item_state.category"],
        "title": [],
        "of_no_table": ["raw.items.item_id"],
    }
    metadata = lineage_metadata(ITEM_STATE, lineage)
    shown = metadata["dagster/column_lineage"].deps_by_column
    item_id = dg.TableColumnDep(dg.AssetKey(["raw", "items"]), "item_id")
    assert shown["item_id"] == [item_id]
    assert list(shown) == ["item_id", "price", "available"] and len(shown["price"]) == 3
    assert metadata["computed_from"].value.splitlines() == [
        "- **item_id** from raw.items: item_id",
        "- **price, available** from raw.interactions: amount, quantity; raw.items: price",
    ]
    assert lineage_metadata(ITEM_STATE, {}) == {}


def test_rows_become_a_markdown_table_that_no_cell_can_break() -> None:
    text = markdown(["a", "b"], [("x|y\nz", 1234567.891), (None, 0.123456), ("w" * 99, 3)])
    assert text.splitlines() == [
        "| a | b |",
        "| --- | --- |",
        "| x\\|y z | 1,234,568 |",
        "|  | 0.1235 |",
        f"| {'w' * 57}… | 3 |",
    ]
    assert markdown(["a"], []).endswith("*no rows*")


def test_a_preview_shows_the_first_rows_of_a_partition(warehouse: Warehouse) -> None:
    result = warehouse.replace_partition(ITEM_STATE, "2024-01-02", ITEMS, {"n": 30})
    lines = str(preview(warehouse, result).value).splitlines()
    assert lines[0].startswith("| date | item_id | title |")
    assert lines[2] == "| 2024-01-02 | … | … | c | 0 | True | False |"
    assert len(lines) == 2 + 8 + 2 and "execution.show_identifiers" in lines[-1]


@pytest.mark.usefixtures("identifiers_shown")
def test_a_preview_has_ids_and_texts_if_the_settings_say_so(warehouse: Warehouse) -> None:
    result = warehouse.replace_partition(ITEM_STATE, "2024-01-02", ITEMS, {"n": 30})
    lines = str(preview(warehouse, result).value).splitlines()
    assert lines[2] == "| 2024-01-02 | i0 | a\\|b | c | 0 | True | False |"
    assert len(lines) == 2 + 8


def test_items_of_plots_are_named_by_title_or_number(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [("Whole milk", "i7"), (None, "i8"), ("i9", "i9"), ("Whole milk", "i10"), ("Tea", "i")]
    assert item_labels(items, width=5) == ["Whole (1)", "item 2", "item 3", "Whole (2)", "Tea"]
    monkeypatch.setattr(redaction, "_shows_identifiers", True)
    assert item_labels(items)[:2] == ["Whole milk · i7", "i8"]


def test_a_figure_becomes_an_inline_png() -> None:
    figure, ax = new_axes("title")
    ax.plot([1, 2, 3])
    match = re.fullmatch(
        r"!\[plot\]\(data:image/png;base64,(.+)\)", str(figure_metadata(figure).value)
    )
    assert match and base64.b64decode(match[1]).startswith(b"\x89PNG")


def test_in_a_range_every_day_has_its_count_and_the_newest_preview_and_plot(
    warehouse: Warehouse,
) -> None:
    plotted: list[int] = []

    @dg.asset(partitions_def=PARTITIONS.daily, backfill_policy=dg.BackfillPolicy.single_run())
    def goods(context: dg.AssetExecutionContext) -> None:
        results = {
            day: warehouse.replace_partition(ITEM_STATE, day, ITEMS, {"n": int(day[-1])})
            for day in context.partition_keys
        }

        def plot() -> Any:
            plotted.append(1)
            return new_axes("goods")[0]

        extra = {"2024-01-01": {"note": "first"}}
        record_materializations(
            context,
            warehouse,
            results,
            extra=extra,
            plot=plot,
            lineage=lambda: {"price": ["raw.items.price"]},
        )
        record_materializations(context, warehouse, {})

    with dg.DagsterInstance.ephemeral() as instance:
        days = {
            "dagster/asset_partition_range_start": "2024-01-01",
            "dagster/asset_partition_range_end": "2024-01-03",
        }
        assert dg.materialize([goods], instance=instance, tags=days).success
        events = instance.fetch_materializations(goods.key, limit=10).records
        shown = {event.partition_key: event.asset_materialization for event in events}
    metadata = {str(day): event.metadata for day, event in shown.items() if event}
    assert {day: event["dagster/partition_row_count"].value for day, event in metadata.items()} == {
        "2024-01-01": 1,
        "2024-01-02": 2,
        "2024-01-03": 3,
    }
    assert {day for day, event in metadata.items() if "preview" in event} == {"2024-01-03"}
    assert {day for day, event in metadata.items() if "plot" in event} == {"2024-01-03"}
    lineage = "dagster/column_lineage"
    assert {day for day, event in metadata.items() if lineage in event} == {"2024-01-03"}
    assert metadata["2024-01-01"]["note"].value == "first" and "note" not in metadata["2024-01-02"]
    assert plotted == [1]

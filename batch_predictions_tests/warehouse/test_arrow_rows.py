"""Rows as Arrow by the declaration of their table."""

from __future__ import annotations

import pyarrow as pa
import pytest

from batch_predictions.tables import (
    COSTS,
    DRIFT,
    HISTOGRAMS,
    ITEMS,
    MODEL_METRICS,
    Table,
)
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.arrow_rows import arrow_rows


def test_columns_of_folders_are_left_out_and_missing_ones_are_null() -> None:
    rows = arrow_rows(MODEL_METRICS, [{"candidate": "a", "metric": "m", "value": 1, "n": 2}])
    assert rows.schema.names == ["candidate", "metric", "value", "lower", "upper", "n"]
    assert rows.to_pylist()[0]["value"] == 1.0 and rows["lower"].null_count == 1


@pytest.mark.parametrize("table", [COSTS, DRIFT, HISTOGRAMS], ids=lambda table: table.name)
def test_no_rows_are_a_partition_too(warehouse: Warehouse, table: Table) -> None:
    rows = arrow_rows(table, [])
    assert warehouse.replace_partition(table, "2024-03-01", rows).rows == 0


def test_other_types_and_values_are_refused() -> None:
    with pytest.raises(KeyError):
        arrow_rows(ITEMS, [])
    with pytest.raises(pa.ArrowException):
        arrow_rows(MODEL_METRICS, [{"n": "many"}])

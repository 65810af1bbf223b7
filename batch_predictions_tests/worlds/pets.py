"""A table of the tests of the warehouse: one row per pet."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from batch_predictions.tables import Table, columns
from batch_predictions.warehouse import Warehouse, as_date

DAY, NEXT = "2024-03-01", "2024-03-02"


PETS = Table(
    "raw",
    "pets",
    "One row per pet, for these tests.",
    columns("""
        date DATE: day
        pet_id VARCHAR: pet
        weight DOUBLE: kg
        legs BIGINT: number of legs
        tags MAP(VARCHAR, VARCHAR): attributes
        toys VARCHAR[]: toys
        passport JSON: document
        born TIMESTAMP: moment, UTC
    """),
    key=("pet_id",),
)


ROW = (
    "select '1' as pet_id, 1.5::DOUBLE as weight, 4 as legs, map {'a': 'b'} as tags, "
    "['ball'] as toys, '{\"no\": 7}'::JSON as passport, timestamp '2024-02-01 03:04:05' as born"
)


EMPTY = f"{ROW} where false"


def read_pets(warehouse: Warehouse, day: str = DAY) -> list[dict[str, Any]]:
    """The rows of a day."""
    rows: list[dict[str, Any]] = warehouse.query(
        "select * exclude (date) from raw.pets where date = $day", {"day": as_date(day)}
    ).to_pylist()
    return rows


def read_ids(warehouse: Warehouse, day: str = DAY) -> list[str]:
    """The keys of a day's rows."""
    return [row["pet_id"] for row in read_pets(warehouse, day)]


def make_pets(**columns_: Any) -> pa.Table:
    """Rows of the table as Arrow, which has text instead of JSON."""
    n = len(columns_["pet_id"])
    types = {
        "pet_id": pa.string(),
        "weight": pa.float64(),
        "legs": pa.int64(),
        "tags": pa.map_(pa.string(), pa.string()),
        "toys": pa.list_(pa.string()),
        "passport": pa.string(),
        "born": pa.timestamp("us"),
    }
    return pa.table(
        {name: pa.array(columns_.get(name, [None] * n), type_) for name, type_ in types.items()}
    )

"""Checks the rows of a release against what PostgreSQL can hold, before the release is begun."""

from __future__ import annotations

from batch_predictions.serving.release.pointer import ReleaseError
from batch_predictions.serving.release.release_contents import ReleaseContents, ReleasePartition
from batch_predictions.serving.store.schema import key_of
from batch_predictions.tables import ITEM_STATE
from batch_predictions.tables.ids import MAX_ID_BYTES, visible_text
from batch_predictions.warehouse import Warehouse

MAX_KEY_BYTES = 2_600
"""Longest key in UTF-8: an entry of PostgreSQL's index has at most 2,704 bytes."""


def validate_store_limits(warehouse: Warehouse, contents: ReleaseContents) -> None:
    """Checks the texts of a release.

    Raises:
        ReleaseError: a text has a zero byte, or a key is too long for an index; the message names
            the table, the column and a value.
    """
    for partition in contents.partitions:
        _refuse_zero_bytes(warehouse, partition)
        _refuse_long_keys(warehouse, partition)


def _refuse_zero_bytes(warehouse: Warehouse, partition: ReleasePartition) -> None:
    table = partition.table
    texts = [column.name for column in table.columns if column.type == "VARCHAR"]
    if table is ITEM_STATE:
        texts = ["item_id"]  # Zero bytes in titles are removed when they are copied.
    if not texts:
        return
    columns = ", ".join(
        f"""any_value("{name}") filter (contains("{name}", chr(0))) as "{name}\""""
        for name in texts
    )
    [found] = warehouse.query(
        f'select {columns} from {table.qualified} where "{table.partition}" = $day::DATE',
        {"day": partition.key},
    ).to_pylist()
    for name, value in found.items():
        if value is not None:
            raise ReleaseError(
                f"no release of {table.qualified} {partition.key}: {name} "
                f"{visible_text(value)!r} has a zero byte (shown as ?), which PostgreSQL cannot "
                "hold: remove it in the source or the scorer, then ingest and predict again"
            )


def _refuse_long_keys(warehouse: Warehouse, partition: ReleasePartition) -> None:
    table = partition.table
    names = [name for name in key_of(table) if table.type_of(name) == "VARCHAR"]
    if not names:
        return
    length = " + ".join(f'coalesce(strlen("{name}"), 0)' for name in names)
    keys = ", ".join(f'"{name}"' for name in names)
    rows = warehouse.query(
        f'select {keys} from {table.qualified} where "{table.partition}" = $day::DATE '
        f"and {length} > {MAX_KEY_BYTES} limit 1",
        {"day": partition.key},
    ).to_pylist()
    if rows:
        key = ", ".join(f"{name} {visible_text(str(value))!r}" for name, value in rows[0].items())
        raise ReleaseError(
            f"no release of {table.qualified} {partition.key}: the key {key} is longer than "
            f"{MAX_KEY_BYTES:,} bytes, which PostgreSQL cannot index: shorten the ids to at most "
            f"{MAX_ID_BYTES} bytes, then ingest and predict again"
        )

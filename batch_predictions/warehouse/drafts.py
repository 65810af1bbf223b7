"""Drafts of partitions: Parquet files that are written and checked before they replace others."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from duckdb import ConversionException, DuckDBPyConnection, OutOfRangeException

from batch_predictions.core.file_hashes import hash_file
from batch_predictions.core.redaction import mask
from batch_predictions.tables import Table
from batch_predictions.warehouse.delta_tables import local_file
from batch_predictions.warehouse.partition_files import files_equal
from batch_predictions.warehouse.path_sql import quote_literal
from batch_predictions.warehouse.pointers import read_pointer
from batch_predictions.warehouse.schema_sql import WarehouseError, check_rows


def write_draft(
    db: DuckDBPyConnection,
    table: Table,
    draft: Path,
    select: str,
    parameters: dict[str, Any],
    fixed: Mapping[str, str | None],
    metadata: Mapping[str, str] | None,
) -> int:
    """Writes, checks and fsyncs the rows of a partition.

    Args:
        db: a connection on which the query runs.
        table: the table.
        draft: the file to write.
        select: the query, made by `typed_rows`.
        parameters: of the query.
        fixed: values of the partition columns, which all rows must have.
        metadata: is written to the file's footer.

    Returns:
        The number of rows.

    Raises:
        WarehouseError: a value does not fit its type, the key is not unique, or a row is of another
            partition.
    """
    footer = ""
    if metadata:
        pairs = ", ".join(f"{k}: {quote_literal(v)}" for k, v in sorted(metadata.items()))
        footer = f", kv_metadata {{{pairs}}}"
    try:
        copied = db.execute(
            f"copy ({select}) to {quote_literal(draft)} (format parquet, compression zstd{footer})",
            parameters,
        ).fetchone()
    except (ConversionException, OutOfRangeException) as error:
        raise WarehouseError(f"{table.qualified}: {_first_line(error)}") from error
    if copied and copied[0]:
        check_rows(db, table, draft, fixed)
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    return copied[0] if copied else 0


def has_rows_of(draft: Path, target: Path) -> bool:
    """Returns whether a partition has the rows and the metadata of a draft already.

    Args:
        draft: the file.
        target: of the partition, as `Warehouse.path` gives it; it need not exist.
    """
    if not target.exists():
        return False
    pointer = read_pointer(target)
    if pointer is not None and pointer.sha256 == hash_file(draft):
        return True
    return files_equal(draft, local_file(target))


_VALUES = re.compile(r"""(?<=with value )(?P<v>.+)(?= can't)|(?P<q>["'])(?P<w>.*)(?P=q)""")


def _first_line(error: Exception) -> str:
    """The first line of an error of a cast, with its value masked."""
    return _VALUES.sub(lambda m: mask(m["v"] or m["w"]), str(error).splitlines()[0])

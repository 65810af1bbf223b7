"""Arguments that the assets of feature tables and of tiles share."""

from __future__ import annotations

import hashlib
from typing import Any

import dagster as dg

from batch_predictions.tables import Table
from batch_predictions.tables.partitions import Partitions
from batch_predictions.warehouse.reporting import OWNERS, table_metadata


def asset_arguments(table: Table, query: str, partitions: Partitions) -> dict[str, Any]:
    """Builds the arguments of `dg.asset`, except `deps`, for a daily table that a query computes.

    The code version is a hash of the query, so that the UI shows which partitions an older query
    wrote.

    Args:
        table: that the asset writes.
        query: the SQL that computes a day's rows.
        partitions: of the home.
    """
    return {
        "name": table.name,
        "key_prefix": table.schema,
        "description": table.description,
        "group_name": "features",
        "kinds": {"duckdb", "parquet"},
        "owners": OWNERS,
        "partitions_def": partitions.daily,
        "backfill_policy": dg.BackfillPolicy.single_run(),
        "metadata": table_metadata(table),
        "code_version": hashlib.sha256(query.encode()).hexdigest()[:12],
    }

"""Replaces one partition of a prediction's tables by its validated results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batch_predictions.inference.child_tables import rows_query
from batch_predictions.inference.results import StagingManifest, result_files
from batch_predictions.inference.scorer import EXCLUDED
from batch_predictions.inference.validation import exclusions_query, results_query
from batch_predictions.tables import EXCLUSIONS, Table
from batch_predictions.warehouse import Warehouse, WriteResult

UNSTAGED = "unstaged"
"""Name in the footer of exclusions: the number of keys that were not among the rows to score."""


@dataclass(frozen=True)
class LoadResult:
    """The written partitions: of the main table, and of child tables by qualified name."""

    main: WriteResult
    child_tables: dict[str, WriteResult] = field(default_factory=dict)


def load_partition(
    warehouse: Warehouse,
    table: Table,
    manifest_path: Path,
    child_tables: Mapping[str, Table] = {},
) -> LoadResult:
    """Replaces the partition of the child tables, of the main table and of the exclusions.

    Child tables are written first: who reads a partition of the main table finds its child rows.
    After a crash in between, the child tables are new and the main table is old, both complete.

    Args:
        warehouse: where the tables are.
        table: main table of the prediction.
        manifest_path: of the staged partition, whose results are validated.
        child_tables: by the column of the results that holds their rows.
    """
    manifest = StagingManifest.read(manifest_path)
    files = result_files(manifest, manifest_path)
    children = {
        child.qualified: warehouse.replace_partition(
            child, manifest.partition, rows_query(column, child, manifest, files)
        )
        for column, child in child_tables.items()
    }
    results = results_query(table, manifest, manifest_path, child_tables)
    main = warehouse.replace_partition(
        table,
        manifest.partition,
        f"select * exclude ({EXCLUDED}), $model_version::VARCHAR as model_version "
        f"from ({results}) where {EXCLUDED} is null",
        {"model_version": manifest.model_version},
    )
    exclusions = exclusions_query(table, manifest, manifest_path, child_tables)
    warehouse.replace_partition(
        EXCLUSIONS,
        manifest.partition,
        f"select {joined_key(manifest.key)} as key, {EXCLUDED} as reason from ({exclusions})",
        part={"table_name": table.name},
        metadata={UNSTAGED: str(manifest.unstaged)} if manifest.unstaged else None,
    )
    return LoadResult(main, children)


def joined_key(names: Sequence[str]) -> str:
    r"""SQL of a key as one text: its values separated by `|`, unambiguously.

    In a key of several columns, `|` and a backslash within a value have a backslash before them,
    and a null is `\N`.
    """
    if len(names) == 1:
        return f"coalesce(\"{names[0]}\"::VARCHAR, '')"
    escaped = r"""coalesce(replace(replace("{}"::VARCHAR, '\', '\\'), '|', '\|'), '\N')"""
    return " || '|' || ".join(escaped.format(name) for name in names)

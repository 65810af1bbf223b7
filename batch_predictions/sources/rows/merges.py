"""Corrects partitions after users were merged, or a merge was taken back.

The log of a table keeps the aliases by which its partitions were ingested. Where others are in
force, the days with rows of the users concerned are ingested again, and no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from batch_predictions.sources.rows.ingest_log import IngestLog, read_ingest_log, update_ingest_log
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse


def merged_days(
    warehouse: Warehouse, table: Table, log: IngestLog, aliases: Mapping[str, str]
) -> set[str]:
    """Finds days of a daily table that must be ingested again because of changed aliases.

    Rows of a new alias stand under the alias itself, those of an earlier one under its user.

    Args:
        warehouse: with the partitions.
        table: a daily table of rows of users.
        log: with the aliases by which the partitions were ingested.
        aliases: present id by alias.
    """
    before = log.aliases
    changed = {a for a in before.keys() | aliases.keys() if before.get(a) != aliases.get(a)}
    if not changed:
        return set(log.merged)
    rows = warehouse.query(
        f"select distinct date::VARCHAR as day from {table.qualified} "
        "semi join (select unnest($ids::VARCHAR[]) as user_id) using (user_id)",
        {"ids": sorted({before.get(alias, alias) for alias in changed})},
    )
    return {*log.merged, *rows["day"].to_pylist()}


def record_aliases(
    warehouse: Warehouse, table: Table, log: IngestLog, aliases: Mapping[str, str]
) -> None:
    """Records in a log by which aliases rows are ingested now, and the days that had others."""
    if log.aliases == aliases:
        return
    if table.partition:
        log.merged = sorted(merged_days(warehouse, table, log, aliases))
    log.aliases = dict(sorted(aliases.items()))


def record_merges(warehouse: Warehouse, table: Table, aliases: Mapping[str, str]) -> None:
    """Records aliases in the log of a table, as `record_aliases` does; writes nothing if equal."""
    home = Path(warehouse.home)
    if read_ingest_log(home, table).aliases != aliases:
        with update_ingest_log(home, table) as log:
            record_aliases(warehouse, table, log, aliases)

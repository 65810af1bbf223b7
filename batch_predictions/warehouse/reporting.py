"""Metadata of assets for Dagster's UI: columns, row counts, a preview and a plot."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from batch_predictions.core.home_bucket import location_of_file
from batch_predictions.core.redaction import mask, shows_identifiers
from batch_predictions.tables import Table
from batch_predictions.tables.identifiers import is_identifying
from batch_predictions.warehouse import Warehouse, WriteResult
from batch_predictions.warehouse.delta_tables import local_file
from batch_predictions.warehouse.path_sql import escape_pattern
from batch_predictions.warehouse.plot_style import figure_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREVIEW_ROWS = 8
HINT = "\n\n*ids and texts are hidden: execution.show_identifiers*"
OWNERS = ["team:data"]
CONTENT_HASH = "content_hash"
"""Metadata of a partition: the first 16 digits of its file's SHA-256, or a model's version."""
DATA_VERSION_TAG = "dagster/data_version"
CADENCE = "cadence"
"""Tag of weekly assets: daily and weekly assets cannot share a job."""


def table_metadata(table: Table) -> dict[str, Any]:
    """Metadata of an asset's definition: its columns with types and descriptions."""
    constraints = dg.TableColumnConstraints(nullable=False)
    columns = [
        dg.TableColumn(
            column.name,
            column.type,
            description=column.description,
            constraints=constraints if column.name in table.key else None,
        )
        for column in table.columns
    ]
    return {
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "dagster/table_name": table.qualified,
    }


def record_materializations(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    results: Mapping[str, WriteResult],
    *,
    extra: Mapping[str, Mapping[str, object]] | None = None,
    plot: Callable[[], Figure | None] | None = None,
    lineage: Callable[[], Mapping[str, Sequence[str]] | None] | None = None,
    asset_key: dg.AssetKey | None = None,
) -> None:
    """Reports written partitions: row counts of each; column lineage, preview, plot of the newest.

    A partition whose rows did not change and that Dagster shows as materialized has no new preview
    and plot.

    Args:
        context: of the step.
        warehouse: with the partitions.
        results: write results by partition key.
        extra: further metadata by partition key.
        plot: draws the newest partition; it is called once and may return None.
        lineage: gives `schema.table.column` of what each column is computed from.
        asset_key: the written asset, if the step writes several. An asset that is not selected is
            reported as materialized too, since its rows were replaced.
    """
    if not results:
        return
    newest = max(results)
    digests = warehouse.digests(results[newest].table)
    hashes = {key: digests.get(result.path)[:16] for key, result in results.items()}
    newest_change = max((key for key in results if results[key].changed), default=newest)
    is_selected = asset_key is None or asset_key in context.selected_asset_keys
    recorded: set[str] = set()
    if not all(result.changed for result in results.values()):
        recorded = context.instance.get_materialized_partitions(asset_key or context.asset_key)
    for key, result in results.items():
        is_new = result.changed or key not in recorded
        metadata: dict[str, Any] = {
            "dagster/partition_row_count": result.rows,
            "path": dg.MetadataValue.path(location_of_file(result.path)),
            "changed": result.changed,
            CONTENT_HASH: hashes[key],
            **((extra or {}).get(key) or {}),
        }
        # The event of an unchanged partition may be left out of the log.
        if key in (newest, newest_change) and lineage:
            metadata |= lineage_metadata(result.table, lineage() or {})
        if key == newest and is_new:
            metadata |= _shown(warehouse, result, plot)
        if is_selected:
            context.add_asset_metadata(metadata, asset_key=asset_key, partition_key=key)
        elif is_new and asset_key is not None:
            event = dg.AssetMaterialization(
                asset_key, partition=key, metadata=metadata, tags={DATA_VERSION_TAG: hashes[key]}
            )
            context.log_event(event)
    if is_selected:
        set_data_version(context, hashes[newest_change], asset_key)
    context.log.info(_summary(results))


def _summary(results: Mapping[str, WriteResult]) -> str:
    rows = sum(result.rows for result in results.values())
    changed = sum(result.changed for result in results.values())
    newest = max(results)
    return (
        f"{results[newest].table.qualified}: {rows:,} rows in {len(results)} partitions up to "
        f"{newest}, {changed} changed"
    )


def _shown(
    warehouse: Warehouse, result: WriteResult, plot: Callable[[], Figure | None] | None
) -> dict[str, object]:
    """The preview of a partition, and its plot if there is one."""
    figure = plot() if plot else None
    shown: dict[str, object] = {"preview": preview(warehouse, result)}
    return shown if figure is None else {**shown, "plot": figure_metadata(figure)}


def set_data_version(
    context: dg.AssetExecutionContext, version: str, asset_key: dg.AssetKey | None = None
) -> None:
    """Tells Dagster what a step has written, so that its pages show rightly what is out of date.

    Dagster takes one version for all partitions of a step, and warns if it is not that of the
    newest event. The home's event log gives each partition its own, from the metadata
    `content_hash`.

    Args:
        context: of the step.
        version: hash or version of the newest partition that has changed.
        asset_key: the written asset, if the step writes several.
    """
    context.set_data_version(asset_key or context.asset_key, dg.DataVersion(version))


def lineage_metadata(table: Table, lineage: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What each column of a table is computed from; empty where nothing is known.

    Dagster's open-source pages do not draw `dagster/column_lineage`, which Dagster+ and catalogues
    of data read: `computed_from` says the same as text.

    Args:
        table: the declared table.
        lineage: `schema.table.column` of what each column is computed from. Columns of the table's
            own earlier partitions are left out, as Dagster draws no asset above itself.
    """
    known: dict[str, list[str]] = {}
    for column in table.columns:
        sources = lineage.get(column.name, ())
        others = [source for source in sources if source.rpartition(".")[0] != table.qualified]
        if others:
            known[column.name] = others
    if not known:
        return {}
    return {
        "dagster/column_lineage": dg.TableColumnLineage(
            {
                column: [_column_dep(source) for source in sources]
                for column, sources in known.items()
            }
        ),
        "computed_from": dg.MetadataValue.md(_sources_text(known)),
    }


def _column_dep(source: str) -> dg.TableColumnDep:
    *key, column = source.split(".")
    return dg.TableColumnDep(dg.AssetKey(key), column)


def _sources_text(lineage: Mapping[str, Sequence[str]]) -> str:
    """A Markdown list of columns and what they are computed from, equal ones together."""
    columns: dict[tuple[str, ...], list[str]] = {}
    for column, sources in lineage.items():
        columns.setdefault(tuple(sources), []).append(column)
    lines = []
    for sources, names in columns.items():
        tables: dict[str, list[str]] = {}
        for source in sources:
            name, _, column = source.rpartition(".")
            tables.setdefault(name, []).append(column)
        told = "; ".join(f"{name}: {', '.join(read)}" for name, read in tables.items())
        lines.append(f"- **{', '.join(names)}** from {told}")
    return "\n".join(lines)


def preview(warehouse: Warehouse, result: WriteResult) -> dg.MetadataValue[Any]:
    """The first rows of a partition as a table.

    Identifiers and texts are masked, unless `execution.show_identifiers` is set.
    """
    masked = {column.name for column in result.table.columns if is_identifying(column)}
    with warehouse.duckdb.get_connection() as db:
        cursor = db.execute(
            f"select * from read_parquet(?, hive_partitioning=false) limit {PREVIEW_ROWS}",
            [escape_pattern(local_file(result.path))],
        )
        names = [column[0] for column in cursor.description or []]
        rows = [
            tuple(
                mask(value) if name in masked and value is not None else value
                for name, value in zip(names, row, strict=True)
            )
            for row in cursor.fetchall()
        ]
    hint = "" if shows_identifiers() or not masked else HINT
    return dg.MetadataValue.md(markdown(names, rows) + hint)


def item_labels(items: Sequence[tuple[str | None, str]], width: int = 24) -> list[str]:
    """The labels of a plot's items, all different.

    Args:
        items: title, or None, and id of each. Ids are shown if `execution.show_identifiers` is set;
            else items without a title have their place in the plot, and equal titles are numbered.
        width: characters of a title at most.
    """
    shown = [(title or "")[:width] for title, _ in items]
    if shows_identifiers():
        ids = [item_id for _, item_id in items]
        return [
            f"{title} · {item_id}" if title else item_id
            for title, item_id in zip(shown, ids, strict=True)
        ]
    labels, seen = [], Counter[str]()
    for place, (title, (whole, item_id)) in enumerate(zip(shown, items, strict=True), 1):
        seen[title] += 1
        if not title or whole == item_id:
            labels.append(f"item {place}")
        elif shown.count(title) > 1:
            labels.append(f"{title} ({seen[title]})")
        else:
            labels.append(title)
    return labels


def markdown(names: list[str], rows: list[tuple[Any, ...]]) -> str:
    """Rows as a Markdown table."""
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    return "\n".join(lines) if rows else "\n".join([*lines, "", "*no rows*"])


def figure_metadata(figure: Figure) -> dg.MetadataValue[Any]:
    """A figure as an inline PNG of about 5 KB, cut to what is drawn."""
    encoded = base64.b64encode(figure_png(figure)).decode()
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{encoded})")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:,.0f}"
    text = str(value).replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= 60 else f"{text[:57]}…"

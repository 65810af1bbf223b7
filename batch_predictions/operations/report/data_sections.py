"""The page Data: rows by day, refused rows, unusual days and partitions of tables."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_predictions.operations.report.blocks import FigureBlock, ReportSection, TableBlock
from batch_predictions.operations.report.report_home import ReportHome
from batch_predictions.sources.base import INGESTED_TABLES
from batch_predictions.sources.rows.ingest_log import read_ingest_log
from batch_predictions.sources.validation.left_out_rows import general_reason_sql
from batch_predictions.tables import TABLES
from batch_predictions.warehouse import as_date
from batch_predictions.warehouse.partition_profiles import read_profile
from batch_predictions.warehouse.plot_style import OBSERVED, date_axis, label_axes, new_panes
from batch_predictions.warehouse.usual_days import compare_day

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DAYS = 28
"""Days up to the report's that are shown."""
MOST = 10
"""Rows of tables that are cut."""
COMPARED = 14
"""Newest partitions of each table that are compared with those before."""


def data_sections(home: ReportHome) -> Iterator[ReportSection]:
    """The sections of the page Data."""
    yield rows_section(home)
    yield _ingests(home)
    yield _unusual(home)
    yield _tables(home)


def rows_section(home: ReportHome) -> ReportSection:
    """Rows by day and table, days without any, and why rows were refused."""
    first = home.day - dt.timedelta(days=DAYS - 1)
    if home.first_day is not None:
        first = min(max(first, home.first_day), home.day)
    days = [first + dt.timedelta(days=n) for n in range((home.day - first).days + 1)]
    tables = [t for t in INGESTED_TABLES if t.partition == "date" and home.warehouse.partitions(t)]
    counts: dict[dt.date, dict[str, int]] = defaultdict(dict)
    for table in tables:
        for row in home.rows(
            f"select date, count(*) as n from {table.qualified} "
            "where date >= $first::DATE and date <= $day::DATE group by date",
            first=first,
        ):
            counts[row["date"]][table.name] = row["n"]
    rows = [
        {"date": str(day), **{table.name: counts[day].get(table.name, 0) for table in tables}}
        for day in days
    ]
    refused = home.rows(
        f"""select table_name as "table", {general_reason_sql("reason")} as reason,
            count(*) as rows from raw.quarantine
        where date >= $first::DATE and date <= $day::DATE
        group by all order by rows desc, 1, 2 limit $most""",
        first=first,
        most=MOST,
    )
    empty = [str(day) for day in days if not sum(counts[day].values())]
    lead = f"Days without a row, of {len(days)} days: {', '.join(empty) or 'none'}."
    if home.first_day is not None:
        lead += f" The first day of the source is {home.first_day}."
    caption = f"Rows a day, {first} to {home.day}."
    source = ", ".join(table.qualified for table in tables) or "raw.interactions"
    figure = _plot_rows(days, {t.name: [counts[d].get(t.name, 0) for d in days] for t in tables})
    return ReportSection(
        "Rows by day",
        lead,
        [
            FigureBlock.of(caption, figure, source, rows if figure else ()),
            TableBlock(
                f"Refused rows, the {MOST} most frequent reasons.",
                refused,
                "raw.quarantine",
                "None was refused.",
            ),
        ],
    )


def _plot_rows(days: Sequence[dt.date], counts: dict[str, list[int]]) -> Figure | None:
    """Rows a day, a pane for each table that has some; None without any."""
    drawn = {name: values for name, values in counts.items() if any(values)}
    if not drawn:
        return None
    figure, panes = new_panes("Rows a day", len(drawn), 1, 8, 0.6 + 1.3 * len(drawn))
    for pane, (name, values) in zip(panes, drawn.items(), strict=True):
        pane.bar(days, values, color=OBSERVED)
        label_axes(pane, "", "rows", name)
        date_axis(pane, days)
    return figure


def _ingests(home: ReportHome) -> ReportSection:
    rows = []
    for table in INGESTED_TABLES:
        days = read_ingest_log(Path(home.warehouse.home), table).days
        entries = list(days.values()) if table.partition else list(days.values())[-1:]
        if entries:
            rows.append(
                {
                    "table": table.name,
                    "days": len(entries),
                    "read": sum(entry.read for entry in entries),
                    "accepted": sum(entry.accepted for entry in entries),
                    "refused": sum(entry.quarantined for entry in entries),
                    "filtered": sum(entry.filtered for entry in entries),
                    "repeated": sum(entry.deduplicated for entry in entries),
                    "merged": sum(entry.merged for entry in entries),
                }
            )
    block = TableBlock("Rows of the source by what became of them, of all days.", rows, "ingests/")
    return ReportSection(
        "Read and kept",
        "Accepted, refused, filtered, repeated and merged rows are all rows that were read. "
        "Of users, items and campaigns it is the newest snapshot.",
        [block],
    )


def _unusual(home: ReportHome) -> ReportSection:
    rows = []
    for table in TABLES.values():
        if table.is_periodic and table.schema in ("raw", "predictions"):
            for key in home.partitions(table)[-COMPARED:]:
                comparison = compare_day(home.warehouse, table, as_date(key), home.settings.checks)
                if comparison is not None and not comparison.is_usual:
                    rows.append({"table": table.qualified, "of": key, "what": str(comparison)})
    rows.sort(key=lambda row: (row["of"], row["table"]), reverse=True)
    block = TableBlock(
        f"Unusual days and weeks, of the {COMPARED} newest of each table.",
        rows,
        "raw.*, predictions.*",
        "All are as usual, or too few to compare.",
    )
    return ReportSection("Unusual days", "Compared with the same weekdays before.", [block])


def _tables(home: ReportHome) -> ReportSection:
    rows: list[dict[str, Any]] = []
    for table in TABLES.values():
        keys = home.partitions(table)
        if table.is_periodic and keys:
            profile = read_profile(home.warehouse.path(table, keys[-1]), table)
            rows.append(
                {
                    "table": table.qualified,
                    "first": keys[0],
                    "newest": keys[-1],
                    "partitions": len(keys),
                    "rows of the newest": profile.rows if profile else None,
                }
            )
    block = TableBlock(f"Partitions up to {home.day}.", rows, "the warehouse")
    return ReportSection("Tables", "Every day or week of a table is one partition.", [block])

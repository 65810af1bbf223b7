"""The page Operations: problems, nights, checks, drift, costs and disk."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from batch_predictions.evaluation.drift.drift_plots import plot_drift
from batch_predictions.operations.costs.cost_report import draw_costs, sum_costs
from batch_predictions.operations.records import DEAD, MAX_RUNS, RunState
from batch_predictions.operations.report.blocks import FigureBlock, ReportSection, TableBlock
from batch_predictions.operations.report.report_home import ReportHome
from batch_predictions.operations.status import Status, read_status
from batch_predictions.warehouse.plot_style import BAD, BASELINE, GOOD, legend_outside, new_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DAYS = 28
"""Days up to the report's whose costs are summed."""
NIGHTS = 14
"""Newest days whose runs are shown."""
MOST = 10
"""Rows of tables that are cut."""
_RECORDS = "Dagster's records of the home"


def operations_sections(home: ReportHome) -> Iterator[ReportSection]:
    """The sections of the page Operations, as of now."""
    assert home.records is not None
    status = read_status(home.settings, home.records)
    yield current_state(status)
    yield _runs(home.records.runs_since(_first_night(status)))
    yield _checks(status)
    yield ReportSection("Drift", "How far days are from the training's rows.", [drift_block(home)])
    yield ReportSection("Costs", "What each table and model takes.", cost_blocks(home))
    yield _disk(status)


def _first_night(status: Status) -> dt.datetime:
    today = dt.date.fromisoformat(status.today)
    first = today - dt.timedelta(days=NIGHTS - 1)
    return dt.datetime.combine(first, dt.time(), dt.UTC)


def current_state(status: Status) -> ReportSection:
    """The section about the release that applications see, and about problems."""
    lead = "Applications see no predictions yet."
    if status.release_id:
        rows = sum(status.rows.values())
        lead = (
            f"Applications see release {status.release_id} as of {status.as_of}, {rows:,} rows. "
            f"The source's newest complete day is {status.source_day or 'not known'}."
        )
    problems = [{"problem": problem.message} for problem in status.problems]
    missing = "Nothing does."
    block = TableBlock("What needs attention.", problems, "batch-predictions status", missing)
    return ReportSection("Now", lead, [block])


def _runs(runs: Sequence[RunState]) -> ReportSection:
    rows = [
        {
            "begun (UTC)": (run.started_at or "not yet").replace("T", " "),
            "job": run.job,
            "of": run.partition,
            "status": run.status.lower(),
            "seconds": run.seconds,
            "reason": run.reason,
        }
        for run in sorted(runs, key=lambda run: run.started_at or "", reverse=True)
    ]
    failed = sum(run.status in ("FAILURE", DEAD) for run in runs)
    number = f"The newest {MAX_RUNS}" if len(runs) == MAX_RUNS else f"{len(runs)}"
    lead = f"{number} runs in {NIGHTS} days, {failed} of them failed."
    figure = FigureBlock.of("Runs by day and hour, UTC.", plot_runs(runs), _RECORDS, rows)
    return ReportSection("Nights", lead, [figure])


def plot_runs(runs: Sequence[RunState]) -> Figure | None:
    """Draws runs as bars from their begin to their end, a line per day; None without any.

    Args:
        runs: those that have not begun are left out; those that have not ended are points.
    """
    begun = [(dt.datetime.fromisoformat(run.started_at), run) for run in runs if run.started_at]
    if not begun:
        return None
    days = sorted({begin.date() for begin, _ in begun})
    labels = [f"{day.day} {day:%b}" for day in days]
    figure, ax = new_axes("Runs of the newest days", "hour, UTC", rows=labels)
    styles = {"succeeded": (GOOD, ""), "failed": (BAD, "////"), "other": (BASELINE, "")}
    labelled: set[str] = set()
    for begin, run in begun:
        name = {"SUCCESS": "succeeded", "FAILURE": "failed", DEAD: "failed"}.get(
            run.status, "other"
        )
        colour, hatch = styles[name]
        start = begin.hour + begin.minute / 60 + begin.second / 3600
        # A short run would be thinner than a pixel.
        width = max((run.seconds or 0) / 3600, 0.12)
        label = f"_{name}" if name in labelled else name
        labelled.add(name)
        ax.barh(days.index(begin.date()), width, left=start, color=colour, hatch=hatch, label=label)
    ax.set_xlim(0, 24)
    ax.set_xticks(range(0, 25, 3))
    legend_outside(ax)
    return figure


def _checks(status: Status) -> ReportSection:
    rows = [
        {
            "table": check.table,
            "check": check.name,
            "of": check.partition,
            "severity": check.severity,
            "what was seen": check.description,
        }
        for check in status.checks
    ]
    lead = f"{status.checks_passed:,} checks passed, {len(rows):,} did not."
    block = TableBlock("Checks that did not pass.", rows, _RECORDS, "None.")
    return ReportSection("Checks", lead, [block])


def drift_block(home: ReportHome) -> FigureBlock:
    """The drift of the newest days, and the columns with the most of it."""
    rows = home.rows(
        """select table_name || '.' || column_name as "column", value as psi,
            reference::VARCHAR as "against", n as rows
        from evaluation.drift where statistic = 'psi' and date = (
            select max(date) from evaluation.drift where date <= $day::DATE)
        order by value desc, 1 limit $most""",
        most=MOST,
    )
    figure = plot_drift(home.warehouse, str(home.day))
    missing = "A day is compared with the last day of the newest training, which is not there yet."
    caption = f"Drift as of {home.day}."
    return FigureBlock.of(caption, figure, "evaluation.drift", rows, missing)


def cost_blocks(home: ReportHome) -> list[FigureBlock | TableBlock]:
    """CPU seconds by day, and the tables and models that took most."""
    first = home.day - dt.timedelta(days=DAYS - 1)
    sums = sum_costs(home.warehouse, first, home.day)
    shown = ["seconds", "cpu_seconds", *(["cost"] if any(row["cost"] for row in sums) else [])]
    rows = [
        {"made": row["asset"], **{name.replace("cpu_", "CPU "): row[name] for name in shown}}
        for row in sums[:MOST]
    ]
    by_day = [
        {"date": str(row["date"]), "runs": row["runs"], "CPU seconds": row["cpu_seconds"]}
        for row in sum_costs(home.warehouse, first, home.day, by="date")
    ]
    figure = draw_costs(home.warehouse, first, home.day)
    caption = f"The {MOST} tables and models that took most in {DAYS} days."
    return [
        FigureBlock.of("CPU seconds by the day that was made.", figure, "evaluation.costs", by_day),
        TableBlock(caption, rows, "evaluation.costs"),
    ]


def _disk(status: Status) -> ReportSection:
    sizes = sorted(status.home_bytes.items(), key=lambda item: (-item[1], item[0]))
    rows = [{"of the home": name, "MiB": size / 2**20} for name, size in sizes if size >= 2**20]
    lead = f"{status.free_bytes / 2**30:,.1f} GiB are free on the disk of the home."
    block = TableBlock("Files and folders of a MiB or more.", rows, "the home's disk")
    return ReportSection("Disk", lead, [block])

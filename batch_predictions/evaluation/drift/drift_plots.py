"""The plots of drift: how far columns are from the training, and how they are distributed."""

from __future__ import annotations

import datetime as dt
import math
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from batch_predictions.evaluation.drift.compute import (
    PSI,
    Histogram,
    compare_histogram,
    has_categories,
    read_histograms,
)
from batch_predictions.evaluation.drift.histograms import MISSING
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse import plot_style as style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DAYS, COLUMNS = 28, 20
"""Days and columns of the plot of drift: the newest days, and what has changed most on the last."""
LEVELS = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Ends of the colours of the population stability index; the last colour is of more, too."""
PANES = (3, 2)
"""Rows and columns of the plot of histograms, one for each column that has changed most."""
TAIL = 0.01
"""Share of the rows at both ends of a distribution that is not drawn."""


def plot_drift(warehouse: Warehouse, day: str) -> Figure | None:
    """Draws the PSI of the columns that have changed most on a day, over time; None without any.

    A heat map of columns, most changed first, by days. The labels have the value of the day.
    """
    rows: list[dict[str, Any]] = warehouse.query(
        """with newest as (
            select table_name, column_name from evaluation.drift
            where date = $day::DATE and statistic = $psi order by value desc, 1, 2 limit $columns
        )
        select date, split_part(table_name, '.', 2) || '.' || column_name as name, value
        from evaluation.drift join newest using (table_name, column_name)
        where statistic = $psi and date <= $day::DATE and date > $day::DATE - $days::INTEGER
        order by name, date""",
        {"day": day, "psi": PSI, "columns": COLUMNS, "days": DAYS},
    ).to_pylist()
    if not rows:
        return None
    values = {(row["name"], row["date"]): row["value"] for row in rows}
    newest = {row["name"]: row["value"] for row in rows if row["date"] == as_date(day)}
    names = sorted(newest, key=lambda name: (-newest[name], name))
    first = min(row["date"] for row in rows)
    days = [first + dt.timedelta(days=n) for n in range((as_date(day) - first).days + 1)]
    labels = [f"{name}: {newest[name]:.2f}" for name in names]
    figure, ax = style.new_axes(f"Drift against the training, up to {day}", rows=labels)
    _draw_heat_map(
        figure, ax, [[values.get((name, day), math.nan) for day in days] for name in names], days
    )
    return figure


def _draw_heat_map(figure: Figure, ax: Any, values: list[list[float]], days: list[dt.date]) -> None:
    """Draws the PSI of columns by days, (columns, days), with a colour bar; nan is grey."""
    from matplotlib.colors import BoundaryNorm
    from matplotlib.dates import date2num

    ends = (date2num(days[0]) - 0.5, date2num(days[-1]) + 0.5, len(values) - 0.5, -0.5)
    norm = BoundaryNorm(LEVELS, 256, clip=True)
    image = ax.imshow(
        values, style.HEAT, norm=norm, aspect="auto", extent=ends, interpolation="nearest"
    )
    ax.set_facecolor(style.NO_DATA)
    ax.grid(visible=False)
    ax.hlines([row - 0.5 for row in range(1, len(values))], *ends[:2], color="white")
    style.date_axis(ax, days)
    ax.set_xlim(*ends[:2])
    inch = 1 / figure.get_figheight()
    bar = figure.colorbar(
        image,
        ax=ax,
        location="bottom",
        fraction=0.2 * inch,
        pad=0.35 * inch,
        aspect=40,
        ticks=LEVELS[1:-1],
        format="%g",
    )
    bar.set_label("population stability index: over 0.1 some drift, over 0.25 much", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)


def plot_histograms(warehouse: Warehouse, day: str) -> Figure | None:
    """Draws the columns that have changed most on a day, as they were then and are now.

    None without any.
    """
    histograms = [
        (compare_histogram(histogram).get(PSI, 0.0), name, histogram)
        for name, histogram in read_histograms(warehouse, as_date(day)).items()
    ]
    if not histograms:
        return None
    rows, columns = PANES
    chosen = sorted(histograms, key=lambda item: (-item[0], item[1]))[: rows * columns]
    title = f"Share of rows up to each value, on {day} and at the last training"
    figure, panes = style.new_panes(title, rows, columns, height=2.2 * rows)
    for pane, (psi, (table, column), histogram) in zip(panes, chosen, strict=False):
        style.label_axes(pane, "", "", f"{table.split('.')[1]}.{column}\nPSI {psi:.2f}")
        draw = _draw_categories if has_categories(histogram) else _draw_distributions
        draw(pane, histogram, day)
    for pane in panes[len(chosen) :]:
        pane.remove()
    style.legend_outside(panes[len(chosen) - 1])
    return figure


def _draw_distributions(pane: Any, histogram: Histogram, day: str) -> None:
    """The share of rows up to each number, without the tails."""
    known = [row for row in histogram[1:] if row["upper"] is not None]
    ends = [row["upper"] for row in known]
    drawn: set[float] = set()
    for key, label, colour in _samples(day):
        sums = list(accumulate(row[key] for row in known))
        shares = [value / (sums[-1] or 1) for value in sums]
        drawn |= {end for end, s in zip(ends, shares, strict=True) if TAIL <= s <= 1 - TAIL}
        pane.plot(ends, shares, color=colour, linewidth=1.2, label=label)
    if len(drawn) > 1:
        pane.set_xlim(min(drawn), max(drawn))
    pane.set_ylim(0, 1.02)


def _draw_categories(pane: Any, histogram: Histogram, day: str) -> None:
    """The share of each value of text, as two bars."""
    used = [row for row in histogram if row["reference_rows"] or row["rows"]]
    names = [row["category"] or ("none" if row["bin"] == MISSING else "other") for row in used]
    for offset, (key, label, colour) in zip((-0.2, 0.2), _samples(day), strict=True):
        total = sum(row[key] for row in used) or 1
        places = [place + offset for place in range(len(used))]
        shares = [row[key] / total for row in used]
        pane.barh(places, shares, height=0.4, color=colour, label=label)
    pane.set_yticks(range(len(names)), [name[:18] for name in names])
    pane.invert_yaxis()


def _samples(day: str) -> tuple[tuple[str, str, str], ...]:
    """Column, label and colour of the rows of the training and of the day."""
    return ("reference_rows", "last training", style.BASELINE), ("rows", day, style.SERVED)

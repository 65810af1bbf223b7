"""The style of all plots: colours by role, axes with their units, legends, dates."""

from __future__ import annotations

import datetime as dt
import io
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SERIES = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7"),
    *("#56b4e9", "#d55e00", "#f0e442", "#000000"),
)
"""Colours of Okabe and Ito, which colour-blind people tell apart, in the order of their use."""
SERVED, OBSERVED = SERIES[0], SERIES[5]
"""Colours of what the platform predicts or serves, and of what happened."""
EXPECTED = SERIES[4]
"""Colour of bars of predictions on which marks are drawn."""
GOOD, BAD = SERIES[0], SERIES[5]
BASELINE = "#b0b0b0"
"""Colour of baselines, and of the smaller part of a bar."""
REFERENCE = "#444444"
"""Colour of thresholds, diagonals and intervals over bars, which are no series."""
GRID, NO_DATA = "#e6e6e6", "#f2f2f2"
BAND = 0.18
"""Opacity of an interval around a line."""
HEAT = "YlOrBr"
"""Colour map of amounts: its lightness falls evenly, so that it can be read without colours."""
WIDTH = 6.8
"""Inches of a figure, most of which are drawn: Dagster's pages scale wider pictures down."""
CHARACTERS = 96
"""Longest line of a legend, in characters."""
INCHES_PER_CHARACTER = 0.066
"""Width of a character of a tick's label, in inches."""
INCHES_PER_DATE = 0.65
"""Inches of an axis for each date, so that dates do not overlap."""
DPI = 80
WHITE = 0xFFFFFFFF
COLOURS = 64
"""Colours of a PNG, which is then a third as large as one with all colours."""
MARGIN = 3.0
"""Inches around a figure in which labels and legends may be drawn."""
PADDING = 6
"""Pixels around a plot."""


def new_axes(
    title: str,
    x: str = "",
    y: str = "",
    *,
    rows: Sequence[str] = (),
    width: float = WIDTH,
    height: float = 3,
) -> tuple[Figure, Any]:
    """An empty figure in the style of all plots, drawn without a display.

    Args:
        title: at the left, above the axes.
        x: what the x axis is, with its unit; empty for dates.
        y: what the y axis is, with its unit.
        rows: labels of a plot of rows, which lie at y = 0, 1, … from the top and give its size.
        width: in inches, without `rows`.
        height: in inches, without `rows`.
    """
    labels = INCHES_PER_CHARACTER * max(map(len, rows), default=0)
    if rows:
        width, height = max(4.0, 1.1 * WIDTH - 1.3 * labels), max(1.8, 0.9 + 0.24 * len(rows))
    figure, [ax] = _new_figure(1, 1, width, height)
    label_axes(ax, x, y)
    left = -labels / (ax.get_position().width * width)
    ax.set_title(title, loc="left", x=left, fontsize=10)
    if rows:
        ax.set_yticks(range(len(rows)), rows)
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.grid(visible=False, axis="y")
        ax.grid(visible=True, axis="x")
    return figure, ax


def new_panes(
    title: str, rows: int, columns: int, width: float = 6.2, height: float = 3
) -> tuple[Figure, list[Any]]:
    """A figure in the style of all plots with several axes under one title, row by row.

    Args:
        title: of the whole figure.
        rows: number of rows of axes.
        columns: number of columns of axes.
        width: of the figure, in inches.
        height: of the figure, in inches.
    """
    figure, panes = _new_figure(rows, columns, width, height)
    figure.set_layout_engine("constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure, panes


def _new_figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    import matplotlib as mpl
    from cycler import cycler
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: Any = {
        "axes.axisbelow": True,
        "axes.edgecolor": BASELINE,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.labelsize": 9,
        "axes.prop_cycle": cycler(color=SERIES),
        "axes.spines.left": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "grid.color": GRID,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "ytick.major.size": 0,
        "ytick.minor.size": 0,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        panes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for pane in panes:
        _format_numbers(pane.xaxis, pane.yaxis)
        # Categories and dates still replace the format.
        pane.xaxis.isDefault_majfmt = pane.yaxis.isDefault_majfmt = True
    return figure, panes


def _format_numbers(*axes: Any) -> None:
    """Writes an axis' numbers with commas between thousands."""
    for axis in axes:
        axis.set_major_formatter(lambda value, _: f"{value:,.10g}")


def label_axes(ax: Any, x: str, y: str, title: str = "") -> None:
    """Names the axes of a pane, each with its unit, and the pane."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.set_title(title, loc="left", fontsize=9)


def log_scale(ax: Any, *axes: str) -> None:
    """Makes axes logarithmic, `x` or `y`, with plain numbers at the powers of ten."""
    from matplotlib.ticker import NullFormatter

    for name in axes:
        ax.set(**{f"{name}scale": "log"})
        axis = getattr(ax, f"{name}axis")
        _format_numbers(axis)
        axis.set_minor_formatter(NullFormatter())


def date_axis(ax: Any, dates: Iterable[dt.date]) -> None:
    """Names dates on the x axis, evenly up to the newest: `28 Nov`.

    Args:
        ax: whose x axis has dates.
        dates: all that are drawn: days, or weeks by a day each.
    """
    days = sorted({date.toordinal() for date in dates})
    unit = math.gcd(*(day - days[0] for day in days)) or 1
    ticks = max(1, int(ax.get_position().width * ax.figure.get_figwidth() / INCHES_PER_DATE))
    step = unit * math.ceil((days[-1] - days[0] + unit) / unit / ticks)
    named = [dt.date.fromordinal(day) for day in range(days[-1], days[0] - 1, -step)]
    ax.set_xticks(named, [f"{date.day} {date:%b}" for date in named])
    half = dt.timedelta(days=0.6 * unit)
    first, last = (
        dt.datetime.combine(dt.date.fromordinal(day), dt.time()) for day in (days[0], days[-1])
    )
    ax.set_xlim(first - half, last + half)


def legend_outside(ax: Any) -> None:
    """Draws the legend below the axes, where it hides no data."""
    _, labels = ax.get_legend_handles_labels()
    height = ax.get_position().height * ax.figure.get_figheight()
    below = 0.5 if ax.get_xlabel() else 0.3
    ax.legend(
        fontsize=8,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(0.0, -below / height),
        borderaxespad=0,
        ncols=max(1, min(len(labels), CHARACTERS // (max(map(len, labels)) + 9))),
    )


def figure_png(figure: Figure) -> bytes:
    """A PNG of a figure and of what is drawn around it, such as a legend, without the margin.

    `bbox_inches="tight"` would draw everything twice, the first time to measure it.
    """
    import numpy as np
    from matplotlib.transforms import Bbox
    from PIL import Image

    # The file has the integer part of a number of pixels.
    width, height = ((round(DPI * side) + 0.01) / DPI for side in figure.get_size_inches())
    around = Bbox.from_extents(-MARGIN, -MARGIN, width + MARGIN, height + MARGIN)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="rgba", dpi=DPI, bbox_inches=around)
    pixels = np.frombuffer(buffer.getvalue(), np.uint32)
    pixels = pixels.reshape(round(DPI * (height + 2 * MARGIN)), -1)
    is_drawn = pixels != WHITE
    rows, columns = np.flatnonzero(is_drawn.any(axis=1)), np.flatnonzero(is_drawn.any(axis=0))
    if len(rows):
        top, left = max(rows[0] - PADDING, 0), max(columns[0] - PADDING, 0)
        pixels = pixels[top : rows[-1] + PADDING, left : columns[-1] + PADDING]
    pixels = np.ascontiguousarray(pixels)
    image = Image.fromarray(pixels.view(np.uint8).reshape(*pixels.shape, 4)).convert("RGB")
    image = image.quantize(COLOURS, method=Image.Quantize.FASTOCTREE)
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()

"""Sections of a report: tables and figures, each with the tables of the warehouse behind it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_NOWRAP_CHARACTERS = 12
"""Characters of a text that is never broken, such as a date."""


@dataclass(frozen=True)
class TableBlock:
    """Rows with a caption.

    Attributes:
        caption: what the rows are, a sentence.
        rows: with equal keys, which are the columns' heads; none: `missing` is shown.
        source: tables of the warehouse that the numbers are of.
        missing: what is said where there are no rows.
    """

    caption: str
    rows: Sequence[Mapping[str, Any]]
    source: str
    missing: str = "There is nothing yet."

    @property
    def heads(self) -> list[tuple[str, str]]:
        """The columns' heads, each with the class of its first value."""
        return [(name, _style(value)) for name, value in self.rows[0].items()]

    @property
    def cells(self) -> list[list[tuple[str, str]]]:
        """The rows as texts, each with its class: numbers are at the right, dates in one line."""
        return [[(as_text(value), _style(value)) for value in row.values()] for row in self.rows]


@dataclass(frozen=True)
class FigureBlock:
    """A figure with a caption.

    Attributes:
        caption: what is drawn, a sentence.
        image: address of the image; None: `missing` is shown.
        source: tables of the warehouse that it is of.
        missing: what is said where nothing can be drawn.
    """

    caption: str
    image: str | None
    source: str
    missing: str = "There is not enough data for this figure yet."

    @classmethod
    def of(cls, caption: str, figure: Figure | None, source: str) -> FigureBlock:
        """Builds the block of a figure of matplotlib."""
        return cls(caption, None if figure is None else image_of(figure), source)


@dataclass(frozen=True)
class ReportSection:
    """A section of a report.

    Attributes:
        title: in the words of a shop.
        lead: a paragraph.
        blocks: tables and figures.
    """

    title: str
    lead: str
    blocks: Sequence[TableBlock | FigureBlock]


def image_of(figure: Figure) -> str:
    """The address of a figure as an image within the page, an SVG; equal figures have equal ones.

    An element of the page would bring its ids, of which several figures have the same.
    """
    import matplotlib as mpl

    buffer = io.BytesIO()
    # Ids are hashes with this salt; with a random one or a date, no two reports would be equal.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _style(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "right"
    return "nowrap" if len(str(value)) <= MAX_NOWRAP_CHARACTERS else ""


def as_text(value: Any) -> str:
    """A value as people read it: thousands with commas, shares and scores with few digits."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "–"
    return str(value)

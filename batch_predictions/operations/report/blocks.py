"""What a report consists of: sections of tables and figures, each with the tables that it is of."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHORT = 12
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
        svg: the figure; None: `missing` is shown.
        source: tables of the warehouse that it is of.
        missing: what is said where nothing can be drawn.
    """

    caption: str
    svg: str | None
    source: str
    missing: str = "There is not enough data for this figure yet."

    @classmethod
    def of(cls, caption: str, figure: Figure | None, source: str) -> FigureBlock:
        """A figure of matplotlib, whose texts stay texts."""
        return cls(caption, None if figure is None else svg_of(figure, caption), source)


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Attributes:
        title: in the words of a shop.
        lead: a paragraph.
        blocks: tables and figures.
    """

    title: str
    lead: str
    blocks: Sequence[TableBlock | FigureBlock]


def svg_of(figure: Figure, name: str) -> str:
    """A figure as an SVG element; equal figures of a name give equal texts."""
    import matplotlib as mpl

    buffer = io.StringIO()
    # Ids are hashes with this salt; with a random one or a date, no two reports would be equal.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    # Names of groups, such as axes_1, would be ids of several elements of the page.
    return re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text[text.index("<svg") :])


def _style(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "right"
    return "nowrap" if len(str(value)) <= SHORT else ""


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

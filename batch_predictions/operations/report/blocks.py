"""Sections of a report: tables and figures, each with the tables of the warehouse behind it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOO_FEW = "There are too few rows yet."
"""Why a figure is not drawn, where nothing more is known."""
MAX_NOWRAP_CHARACTERS, MIN_WIDE_CHARACTERS = 28, 60
"""Longest text that is never broken, such as a name; shortest one that gets a wide column."""


@dataclass(frozen=True)
class Link:
    """A cell that leads to another page of the explorer; a plain text everywhere else.

    Attributes:
        text: that is shown.
        page: path of the page below `/explorer/`.
    """

    text: str
    page: str

    def __str__(self) -> str:
        return self.text


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

    def as_dict(self) -> dict[str, Any]:
        """The block as JSON values, which templates show."""
        return {
            "caption": self.caption,
            "source": self.source,
            "missing": self.missing,
            **_cells(self.rows),
        }


@dataclass(frozen=True)
class FigureBlock:
    """A figure with a caption.

    Attributes:
        caption: what is drawn, a sentence.
        image: address of the image; None: `missing` is shown.
        source: tables of the warehouse that it is of.
        missing: why nothing can be drawn, where it cannot.
        rows: what is drawn, as a table; empty: the figure has none.
    """

    caption: str
    image: str | None
    source: str
    missing: str = TOO_FEW
    rows: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def of(
        cls,
        caption: str,
        figure: Figure | None,
        source: str,
        rows: Sequence[Mapping[str, Any]] = (),
        missing: str = TOO_FEW,
    ) -> FigureBlock:
        """Builds the block of a figure of matplotlib."""
        image = None if figure is None else image_of(figure)
        return cls(caption, image, source, missing, rows)

    def as_dict(self) -> dict[str, Any]:
        """The block as JSON values, which templates show."""
        return {
            "caption": self.caption,
            "source": self.source,
            "image": self.image,
            **_cells(self.rows),
        }


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

    def as_dict(self) -> dict[str, Any]:
        """The section as JSON values, which templates show."""
        drawn = [b for b in self.blocks if isinstance(b, TableBlock) or b.image is not None]
        return {
            "title": self.title,
            "lead": self.lead,
            "blocks": [block.as_dict() for block in drawn],
            "undrawn": [
                {"caption": block.caption, "missing": block.missing}
                for block in self.blocks
                if block not in drawn
            ],
        }


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


def _cells(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Heads and rows as texts with their styles: numbers are at the right, dates in one line."""
    first = rows[0] if rows else {}
    return {
        "heads": [{"text": name, "style": _style(value)} for name, value in first.items()],
        "rows": [
            [
                {
                    "text": as_text(value),
                    "style": _style(value),
                    "page": value.page if isinstance(value, Link) else None,
                }
                for value in row.values()
            ]
            for row in rows
        ],
    }


def _style(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "right"
    length = len(as_text(value))
    if length <= MAX_NOWRAP_CHARACTERS:
        return "nowrap"
    return "wide" if length >= MIN_WIDE_CHARACTERS else ""


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

"""Renders the report of a home, and gives the sections of the explorer's pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from batch_predictions.models.training import trainings
from batch_predictions.operations.report.blocks import ReportSection
from batch_predictions.operations.report.data_sections import data_sections
from batch_predictions.operations.report.operations_sections import operations_sections
from batch_predictions.operations.report.quality_sections import card_sections, quality_sections
from batch_predictions.operations.report.report_home import ReportHome
from batch_predictions.operations.report.sections import report_sections
from batch_predictions.serving.explorer.rendering import CARDS, render, stylesheet

REPORT_PAGE = "report"
PAGES: dict[str, Callable[[ReportHome], Iterable[ReportSection]]] = {
    REPORT_PAGE: report_sections,
    "quality": quality_sections,
    "operations": operations_sections,
    "data": data_sections,
}
"""Sections of each page by its name."""
LEAD = (
    "What the platform predicts for the coming days, how well its predictions did, and whom they "
    "leave out. Every table and figure names the tables of the warehouse that it is of."
)


def page_names() -> list[str]:
    """Names of all pages, the cards of models included."""
    return [*PAGES, *(f"{CARDS}{name}" for name in trainings())]


def render_page(home: ReportHome, page: str = REPORT_PAGE) -> str:
    """A page as a file of HTML that loads nothing; without `records`, equal rows give equal pages.

    Args:
        home: what is reported on, and the last day.
        page: one of `page_names`.
    """
    title = "Predictions" if page == REPORT_PAGE else page.removeprefix(CARDS).capitalize()
    return render(
        "report.html",
        title=title,
        day=home.day,
        lead=LEAD if page == REPORT_PAGE else "",
        style=stylesheet(),
        sections=page_sections(home, page),
        foot="" if home.with_ids else "Customers are numbered, not named.",
    )


def page_sections(home: ReportHome, page: str) -> list[dict[str, Any]]:
    """The sections of a page as JSON values.

    Args:
        home: what is reported on, and the last day.
        page: one of `page_names`.
    """
    name = page.removeprefix(CARDS)
    sections = card_sections(home, name) if page.startswith(CARDS) else PAGES[page](home)
    return [section.as_dict() for section in sections]

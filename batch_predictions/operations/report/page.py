"""Renders the report of a home as one page, which loads nothing from elsewhere."""

from __future__ import annotations

from importlib import resources

from batch_predictions.operations.report.report_home import ReportHome
from batch_predictions.operations.report.sections import report_sections

LEAD = (
    "What the platform predicts for the coming days, how well its predictions did, and whom they "
    "leave out. Every table and figure names the tables of the warehouse that it is of."
)


def render_report(home: ReportHome) -> str:
    """The report as HTML: equal rows give an equal page.

    Args:
        home: what is reported on, and the last day.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("batch_predictions.operations.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    folder = resources.files("batch_predictions.serving.explorer")
    style = (folder / "static" / "explorer.css").read_text(encoding="utf-8")
    return environment.get_template("report.html").render(
        day=home.day,
        lead=LEAD,
        style=style,
        sections=list(report_sections(home)),
        foot="Customers are numbered, not named." if not home.with_ids else "",
    )

"""The style of plots: colours are in one place, dates and numbers read well."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest

from batch_predictions.warehouse.plot_style import (
    date_axis,
    figure_png,
    log_scale,
    new_axes,
    new_panes,
)
from batch_predictions_tests.worlds.paths import ROOT

SUNDAY = dt.date(2024, 3, 31)


def labels(axis: Any) -> list[str]:
    axis.figure.canvas.draw()
    return [label.get_text() for label in axis.get_ticklabels()]


def test_no_other_module_has_colours() -> None:
    modules = {*(ROOT / "batch_predictions").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")}
    literal = re.compile(r"""["']#[0-9a-fA-F]{6}["']|color=["'](?!white|none)""")
    found = [path.name for path in modules if literal.search(path.read_text(encoding="utf-8"))]
    assert found == ["plot_style.py"]


@pytest.mark.parametrize(
    ("days", "step", "named"),
    [
        (1, 1, ["31 Mar"]),
        (7, 1, [f"{day} Mar" for day in range(25, 32)]),
        (28, 1, ["7 Mar", "11 Mar", "15 Mar", "19 Mar", "23 Mar", "27 Mar", "31 Mar"]),
        (4, 7, ["10 Mar", "17 Mar", "24 Mar", "31 Mar"]),
    ],
)
def test_dates_are_named_evenly_up_to_the_newest(days: int, step: int, named: list[str]) -> None:
    _, ax = new_axes("title", y="units")
    dates = [SUNDAY - dt.timedelta(days=step * n) for n in reversed(range(days))]
    ax.plot(dates, range(days))
    date_axis(ax, dates)
    assert sorted(labels(ax.xaxis)) == sorted(named)


def test_numbers_have_commas_and_categories_their_names() -> None:
    _, ax = new_axes("title", "days", "users")
    ax.bar(["one", "two"], [1500, 12000])
    assert labels(ax.xaxis) == ["one", "two"] and "12,000" in labels(ax.yaxis)
    log_scale(ax, "y")
    assert "10,000" in labels(ax.yaxis)


def test_pictures_of_any_height_can_be_cut_to_what_is_drawn() -> None:
    for rows in range(1, 40):
        figure, ax = new_axes("title", "users", rows=[f"row {row}" for row in range(rows)])
        ax.barh(range(rows), range(rows))
        assert figure_png(figure).startswith(b"\x89PNG")


def test_panes_have_the_style_of_axes() -> None:
    figure, panes = new_panes("title", 2, 2)
    assert len(panes) == 4 and not panes[0].spines["top"].get_visible()
    assert figure_png(figure).startswith(b"\x89PNG")

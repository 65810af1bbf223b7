"""The report of a home has the numbers of its tables, names nobody, and needs no data."""

from __future__ import annotations

import base64
import datetime as dt
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from batch_predictions.operations.report.blocks import FigureBlock
from batch_predictions.operations.report.report_home import ReportHome
from batch_predictions.operations.report.report_pages import render_page
from batch_predictions.operations.report.sections import report_sections
from batch_predictions.settings import Settings
from batch_predictions.tables import (
    EXCLUSIONS,
    INTERACTIONS,
    ITEMS,
    MODEL_METRICS,
    QUARANTINE,
    RECOMMENDATIONS,
)
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.table_rows import event_rows, write_rows

DAY = dt.date(2024, 5, 6)
BEFORE = DAY - dt.timedelta(days=1)
USERS = [f"zquser{n}" for n in range(14)]


@pytest.fixture
def home(tmp_path: Path) -> ReportHome:
    """Lists of 14 users, of whom user n has n hits, at most 5."""
    warehouse = Warehouse.of(Settings(home=tmp_path / "home"))
    lists = [
        {"date": day, "user_id": user, "rank": rank, "item_id": f"i{rank}", "score": 1.0 / rank}
        | {"reason": "popular", "model_version": "v"}
        for day in (BEFORE, DAY)
        for user in USERS
        for rank in range(1, 11)
    ]
    for day in (BEFORE, DAY):
        write_rows(warehouse, RECOMMENDATIONS, [r for r in lists if r["date"] == day], day)
    bought = [
        (DAY, user, f"i{rank}", 2.0)
        for n, user in enumerate(USERS)
        for rank in range(1, min(n, 5) + 1)
    ]
    bought += [(DAY, user, "other", 1.0) for user in USERS]
    events = event_rows("date user_id item_id amount", bought, quantity=1.0)
    write_rows(warehouse, INTERACTIONS, events, BEFORE, DAY)
    write_rows(warehouse, ITEMS, [{"item_id": f"i{n}", "title": f"Tea {n}"} for n in range(1, 11)])
    warehouse.replace_partition(
        EXCLUSIONS,
        str(DAY),
        "select unnest(['zqleft', 'zqout']) as key, 'no <interaction> so far' as reason",
        part={"table_name": "recommendations"},
    )
    warehouse.replace_partition(
        MODEL_METRICS,
        None,
        "select 'als' as candidate, unnest(['ndcg@10', 'ndcg@10_gain']) as metric, "
        ".25::DOUBLE as value, .2::DOUBLE as lower, .3::DOUBLE as upper, 40::BIGINT as n",
        part={"model": "recommender", "trained_through": str(BEFORE)},
    )
    return ReportHome(Settings(home=tmp_path / "home"), DAY)


class _Cells(HTMLParser):
    """The rows of tables, by their captions."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.rows: list[list[str]] = []
        self.at: str | None = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.at = dict(attrs).get("class") if tag == "p" else tag
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.rows = []

    def handle_data(self, data: str) -> None:
        if self.at == "caption" and data.strip():
            self.rows = self.tables.setdefault(data.strip(), [])
        elif self.at in ("td", "th") and data.strip():
            self.rows[-1].append(data.strip())


def _tables(page: str) -> dict[str, list[list[str]]]:
    parser = _Cells()
    parser.feed(page)
    return parser.tables


def test_coverage_is_that_of_the_tables(home: ReportHome) -> None:
    [_, row] = _tables(render_page(home))["Rows of each table of predictions."]
    assert row == ["recommendations", str(DAY), "14", "140", "2", "no <interaction> so far"]


def test_best_and_worst_lists_stand_beside_what_was_bought(home: ReportHome) -> None:
    caption = f"Lists of the day before beside the baskets of {DAY}: best and worst."
    [_, *rows] = _tables(render_page(home))[caption]
    assert [row[1] for row in rows] == ["5"] * 5 + ["4", "3", "2", "1", "0"]
    assert rows[0][2].startswith("Tea 1 ✓; Tea 2 ✓")
    assert rows[-1][2].startswith("Tea 1; Tea 2;")
    assert rows[-1][3] == "other"


def test_customers_are_numbered_unless_asked_otherwise(home: ReportHome) -> None:
    page = render_page(home)
    assert "zq" not in page
    named = render_page(ReportHome(home.settings, DAY, with_ids=True))
    assert "zquser0" in named
    assert "zqleft" not in named


def test_equal_rows_give_an_equal_page_that_loads_nothing(home: ReportHome) -> None:
    page = render_page(home)
    assert page == render_page(home)
    assert len(page) < 3_000_000
    loaded = re.findall(r"(?:src|href)=.([^#][^:]*:)", page)
    assert {*loaded} == {"data:"}
    assert "<script" not in page
    # Escaped quotes would end the declaration of the fonts.
    assert '"Segoe UI"' in page[: page.index("</style>")]
    [figure] = [b for s in report_sections(home) for b in s.blocks if "ndcg" in b.caption]
    assert isinstance(figure, FigureBlock)
    assert figure.image is not None
    assert "als" in base64.b64decode(figure.image.partition(",")[2]).decode()


def test_days_without_rows_are_named(home: ReportHome) -> None:
    [data] = [section for section in report_sections(home) if section.title == "Rows by day"]
    first = DAY - dt.timedelta(days=27)
    missing = [str(first + dt.timedelta(days=n)) for n in range(27)]
    days = ", ".join(missing)
    assert data.lead == f"Days without a row, of 28 days: {days}."


def test_refused_rows_are_counted(home: ReportHome) -> None:
    assert "None was refused." in render_page(home)
    home.warehouse.replace_partition(
        QUARANTINE,
        str(DAY),
        "select 'f.csv' as source, unnest([1, 2])::BIGINT as row_number, 'no date' as reason, "
        "'{}'::JSON as row",
        part={"table_name": "interactions"},
    )
    [_, row] = _tables(render_page(home))["Refused rows, the 10 most frequent reasons."]
    assert row == ["interactions", "no date", "2"]


def test_a_home_without_predictions_says_so(tmp_path: Path) -> None:
    page = render_page(ReportHome(Settings(home=tmp_path / "home"), DAY))
    assert "Nothing is predicted yet." in page
    assert "None was run: <code>batch-predictions backtest</code>" in page

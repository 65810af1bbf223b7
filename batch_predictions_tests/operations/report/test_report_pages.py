"""The pages Quality, Operations and Data have the numbers of their tables and records."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from batch_predictions.core.erasures import ErasedUsers
from batch_predictions.core.home import State, write_state
from batch_predictions.operations.records import DEAD, CheckState, FailedTick, RunState
from batch_predictions.operations.report.operations_sections import plot_runs
from batch_predictions.operations.report.report_home import ReportHome
from batch_predictions.operations.report.report_pages import page_sections, render_page
from batch_predictions.settings import Settings
from batch_predictions.sources.rows.ingest_log import IngestLogEntry, update_ingest_log
from batch_predictions.tables import (
    BACKTESTS,
    COSTS,
    INTERACTIONS,
    PROMOTIONS_LOG,
    REALIZED_METRICS,
    RECOMMENDATIONS,
    Table,
)
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.serving import open_world
from batch_predictions_tests.worlds.table_rows import event_rows, write_rows

DAY = dt.date(2024, 5, 6)


class Records:
    """Dagster's records, of two runs and a failed check."""

    def last_runs(self) -> list[RunState]:
        return self.runs_since(dt.datetime.min)[:1]

    def runs_since(self, first: dt.datetime) -> list[RunState]:
        failed = RunState(
            "daily", "r2", "FAILURE", str(DAY), "2024-05-07T03:00:00", 60.0, "no disk"
        )
        return [failed, RunState("daily", "r1", "SUCCESS", "", "2024-05-06T03:00:00", 90.0, "")]

    def last_checks(self) -> list[CheckState]:
        return [
            CheckState("raw.reviews", "is_usual", str(DAY), False, "WARN", "few rows"),
            CheckState("raw.reviews", "keys", str(DAY), True, "ERROR", "unique"),
        ]

    def daemon_heartbeat(self) -> float | None:
        return None

    def unfinished_runs(self) -> list[str]:
        return []

    def last_partition(self, run_id: str) -> str | None:
        return None

    def failed_ticks(self) -> list[FailedTick]:
        return []

    def remove_old_runs(self, keep_days: int, now: float) -> int:
        return 0

    def partitions(self, table: Table) -> set[str]:
        return set()

    def remove_partitions(self, table: Table, keys: Any) -> None: ...

    def erase(self, users: ErasedUsers) -> int:
        return 0


@pytest.fixture
def home(tmp_path: Path) -> ReportHome:
    world = open_world(tmp_path / "home")
    world.store.close()
    first = DAY - dt.timedelta(days=6)
    state = State(source_kind="files", timezone="UTC", first_day=first, default_date=DAY)
    write_state(world.settings.home, state)
    return ReportHome(world.settings, DAY, records=Records())


def rows_of(home: ReportHome, page: str, title: str, caption: str = "") -> list[list[str]]:
    """The cells of the first block of a section that has rows, and a caption that begins so."""
    [section] = [section for section in page_sections(home, page) if section["title"] == title]
    blocks = [block for block in section["blocks"] if block["caption"].startswith(caption)]
    rows = next(block["rows"] for block in blocks if block["rows"])
    return [[cell["text"] for cell in row] for row in rows]


def test_operations_shows_runs_and_checks_that_failed(home: ReportHome) -> None:
    runs = rows_of(home, "operations", "Nights")
    assert runs[0] == ["2024-05-07 03:00:00", "daily", str(DAY), "failure", "60", "no disk"]
    assert [row[3] for row in runs] == ["failure", "success"]
    checks = rows_of(home, "operations", "Checks")
    assert checks == [["raw.reviews", "is_usual", str(DAY), "WARN", "few rows"]]
    texts = json.dumps(page_sections(home, "operations"))
    assert "2 runs in 14 days, 1 of them failed." in texts
    assert "1 checks passed, 1 did not." in texts


def test_costs_are_summed_and_prices_of_nothing_are_left_out(home: ReportHome) -> None:
    warehouse = Warehouse.of(home.settings)
    costs = [
        {"asset": "predictions.churn_scores", "partition_key": str(DAY), "run_id": run}
        | {"rows": 10, "seconds": 2.0, "cpu_seconds": 3.0, "cost": 0.0}
        for run in ("r1", "r2")
    ]
    write_rows(warehouse, COSTS, [{"date": DAY, **row} for row in costs], DAY)
    [section] = [s for s in page_sections(home, "operations") if s["title"] == "Costs"]
    figure, table = section["blocks"]
    assert [cell["text"] for cell in figure["rows"][0]] == [str(DAY), "2", "6"]
    assert [head["text"] for head in table["heads"]] == ["made", "seconds", "CPU seconds"]
    assert [cell["text"] for cell in table["rows"][0]] == ["predictions.churn_scores", "4", "6"]


def test_runs_are_drawn_by_day() -> None:
    runs = Records().runs_since(dt.datetime.min)
    figure = plot_runs([*runs, RunState("weekly", "r3", DEAD, "", "2024-05-07T05:00:00", None, "")])
    assert figure is not None
    [ax] = figure.axes
    assert [text.get_text() for text in ax.get_yticklabels()] == ["6 May", "7 May"]
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["failed", "succeeded"]
    assert plot_runs([RunState("daily", "r4", "QUEUED", "", None, None, "")]) is None


def test_data_counts_what_was_read_and_the_rows_of_days(home: ReportHome) -> None:
    warehouse = Warehouse.of(home.settings)
    events = event_rows("date user_id item_id", [(DAY, "u", "a"), (DAY, "u", "b")], quantity=1.0)
    write_rows(warehouse, INTERACTIONS, events, DAY)
    entry = IngestLogEntry(fingerprint="f", read=5, accepted=2, quarantined=2, filtered=1)
    with update_ingest_log(home.settings.home, INTERACTIONS) as log:
        log.days[str(DAY)] = entry
    days = rows_of(home, "data", "Rows by day")
    assert days == [
        *([str(DAY - dt.timedelta(days=n)), "0"] for n in range(6, 0, -1)),
        [str(DAY), "2"],
    ]
    ingested = rows_of(home, "data", "Read and kept")
    assert ingested == [["interactions", "1", "5", "2", "2", "1", "0", "0"]]
    assert ["raw.interactions", str(DAY), str(DAY), "1", "2"] in rows_of(home, "data", "Tables")


def test_quality_has_decisions_experiments_and_the_backtest(home: ReportHome) -> None:
    settings = Settings.model_validate(
        {**home.settings.model_dump(), "serving": {"experiments": {"new_list": {"share": 0.5}}}}
    )
    home = ReportHome(settings, DAY)
    warehouse = Warehouse.of(settings)
    warehouse.replace_partition(
        PROMOTIONS_LOG,
        None,
        "select '2024-05-05'::TIMESTAMP as decided_at, 'churn-1' as model_version, 'good' as why",
        part={"model": "churn", "trained_through": str(DAY), "decision": "promoted"},
    )
    uplift = {"model": "recommender", "metric": "click_uplift:new_list", "value": 0.01, "n": 50}
    rate = {"model": "recommender", "metric": "click_rate:new_list:rest", "value": 0.1, "n": 50}
    write_rows(warehouse, REALIZED_METRICS, [{"date": DAY, **row} for row in (uplift, rate)], DAY)
    week = {"week": DAY, "settings": "own", "period": "after", "candidate": "served", "n": 9}
    write_rows(
        warehouse, BACKTESTS, [{"model": "churn", "metric": "auc", "value": 0.8, **week}], DAY
    )
    changes = rows_of(home, "quality", "Changes of models")
    assert changes == [[str(DAY), "churn", "churn-1", "promoted", "good"]]
    experiments = rows_of(home, "quality", "Experiments")
    assert [row[:4] for row in experiments] == [
        ["new_list", "click_rate", "rest", "0.1"],
        ["new_list", "click_uplift", "–", "0.01"],
    ]
    assert rows_of(home, "quality", "Would it have worked?")[0][:5] == [
        *("churn", "auc", "own", "1", "0.8")
    ]


def test_a_page_is_a_file_of_its_own_too(home: ReportHome) -> None:
    page = render_page(home, "data")
    assert "<h1>Data" in page and "<script" not in page


def test_hit_rates_are_averaged_by_group_of_customers(home: ReportHome) -> None:
    warehouse = Warehouse.of(home.settings)
    listed = {"user_id": "u", "rank": 1, "item_id": "i", "score": 1.0, "reason": "popular"}
    write_rows(warehouse, RECOMMENDATIONS, [{"date": DAY, "model_version": "v", **listed}], DAY)
    groups = ("", ":known=0 to 27 days", ":age=25-34", ":personal", ":fallback")
    for day, value, n in ((DAY - dt.timedelta(days=1), 0.0, 10), (DAY, 0.5, 30)):
        metric = {"date": day, "model": "recommender", "value": value, "n": n}
        rows = [{**metric, "metric": f"next_day_hit_rate@10{group}"} for group in groups]
        write_rows(warehouse, REALIZED_METRICS, rows, day)
    rates = rows_of(home, "report", "Recommendations", "Buyers of a day")
    assert [row[0] for row in rates] == [
        *("all", "age 25-34", "with the list of their segment"),
        *("first seen 0 to 27 days ago", "with a list of their own"),
    ]
    assert {tuple(row[1:4]) for row in rates} == {("0.375", "40", "0.5")}

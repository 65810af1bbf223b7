"""`check-source` reports accepted, refused and missing data, and writes nothing."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from batch_predictions.cli.command_line import make_app
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.checking.check import check_source
from batch_predictions_tests.worlds.source_folders import HEADER, SourceFolder

TODAY = dt.date(2024, 1, 20)


def test_every_table_is_reported(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path, columns={"interactions": {"amount": "eur"}})
    rows = "u,i,2024-01-02,1\nu,i,2024-01-15,x\nu,i,2024-01-09,y\nv,i,never,1\nw,i\n"
    shop.write("interactions.csv", HEADER.replace("amount", "eur") + rows)
    shop.write("users.csv", "name\nu\n")
    report = check_source(shop.settings, today=TODAY)
    interactions, users = report.tables
    assert (interactions.rows_seen, interactions.accepted, interactions.refused) == (5, 1, 4)
    assert interactions.columns["amount"] == "eur"
    assert (interactions.first_day, interactions.newest_day) == (
        dt.date(2024, 1, 2),
        dt.date(2024, 1, 15),
    )
    assert max(interactions.reasons.values()) == 2  # the two unreadable amounts have one reason
    assert users.problem is not None
    assert "source.columns.users.user_id" in users.problem
    assert not report.ok
    assert (report.first_day, report.newest_complete_day) == (
        dt.date(2024, 1, 2),
        dt.date(2024, 1, 15),
    )
    assert set(report.lacking) == {
        "user_aliases",
        "items",
        "reviews",
        "promotions",
        "campaign_events",
        "promotion_calendar",
        "inventory",
    }
    text = str(report)
    for line in ("amount <- eur", "4 refused", "cannot be read", "no reviews", "values: 'x', 'y'"):
        assert line in text
    assert json.loads(json.dumps(report.as_dict()))["tables"][0]["refused"] == 4
    assert not shop.settings.home.exists()


def test_only_a_sample_of_the_rows_is_read(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    shop.write("interactions.csv", HEADER + "u,i,2024-01-02,1\n" * 500)
    report = check_source(shop.settings, sample_rows=20, today=TODAY)
    assert report.tables[0].rows_seen == 20
    assert report.ok


def test_the_error_of_one_table_does_not_hide_the_others(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", "who,item_id\nu,i\n")
    shop.write("users.csv", "user_id\nu\n")
    report = check_source(shop.settings, today=TODAY)
    assert "no column for user_id" in str(report.tables[0].problem)
    assert report.first_day is report.newest_complete_day is None
    assert report.tables[1].accepted == 1
    assert not report.ok


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="neither interactions nor reviews"):
        check_source(SourceFolder(tmp_path).settings, today=TODAY)


def test_unused_columns_and_unread_files_are_named(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write(
        "interactions.csv", "user_id,item_id,event_name\nu,i,view\n"
    )
    shop.write("notes.md", "{}\n").write("old/users.csv", "user_id\nu\n").write(
        "items.csv", "sku,x\n1,2\n"
    )
    report = check_source(shop.settings, today=TODAY)
    interactions, items = report.tables
    assert (interactions.unused_columns, items.unused_columns) == (["event_name"], [])
    assert report.unread_files == ["notes.md", "old/users.csv"]
    text = str(report)
    assert "not used: event_name; map what you need in source.columns.interactions" in text
    assert "not read: notes.md, old/users.csv" in text


@pytest.mark.parametrize(("time", "exit_code"), [("2024-01-02", 0), ("02/01/2024", 1)])
def test_the_command_fails_if_all_rows_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, time: str, exit_code: int
) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", f"{HEADER}u,i,{time},1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BATCH_PREDICTIONS_SOURCE__KIND", "files")
    monkeypatch.setenv("BATCH_PREDICTIONS_SOURCE__PATH", str(shop.folder))
    result = CliRunner().invoke(make_app(), ["--home", str(tmp_path / "home"), "check-source"])
    assert result.exit_code == exit_code
    assert ("values: '02/01/2024'" in result.output) == bool(exit_code)


def test_no_format_is_proposed_for_a_column_whose_format_is_set(tmp_path: Path) -> None:
    rows = "user_id,item_id,occurred_at,amount\n" + 'u,i,2024-01-02,"1.234,50"\n' * 2
    shop = SourceFolder(tmp_path).write("interactions.csv", rows)
    proposed = check_source(shop.settings, today=TODAY).suggested_settings
    assert proposed["formats"] == {"interactions": {"amount": "1.234,56"}}
    shop.settings.source.formats = {"interactions": {"amount": "1,234.56"}}
    report = check_source(shop.settings, today=TODAY)
    assert report.tables[0].refused and "formats" not in report.suggested_settings


def test_types_joins_ranges_and_use_cases_are_reported(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write(
        "interactions.csv",
        "user_id,item_id,occurred_at,event,quantity,amount\n"
        + "".join(f"U{n % 5},i{n % 3},2024-01-{n + 1:02d},purchase,2,10\n" for n in range(12))
        + "U1,i9,2024-01-05,wishlist,,\nU1,i1,2024-01-06,refund,1,5\n",
    )
    shop.write("users.csv", "user_id,age\n" + "".join(f"u{n},{20 + n}\n" for n in range(5)))
    shop.write("items.csv", "item_id,title\ni0,a\ni1,b\ni2,c\n")
    report = check_source(shop.settings, today=TODAY)
    types = {f.name: (f.rows, f.role, f.weight) for f in report.findings.event_types}
    assert types == {
        "purchase": (12, "target", 1.0),
        "return": (1, "return", 0.0),
        "wishlist": (1, "not read", 0.0),
    }
    assert report.findings.event_types[0].by_day["2024-01-03"] == 1
    references = {f.other: f for f in report.findings.references}
    assert (references["users"].known, references["users"].known_ignoring_case) == (0, 5)
    assert (references["items"].known, references["items"].examples) == (3, ["i9"])
    assert report.suggested_settings["ids"] == {"user_id": {"case": "lower"}}
    quantity = next(f for f in report.findings.ranges if f.column == "quantity")
    assert (quantity.minimum, quantity.maximum) == (-1.0, 2.0)
    assert report.findings.returns == pytest.approx(1 / 14)
    assert report.days_since == 7
    statuses = {use_case.name: use_case.status for use_case in report.use_cases}
    assert statuses["recommendations"] == "limited" and statuses["sentiment"] == "no"
    text = str(report)
    for part in ("wishlist (1)", "7 days older than yesterday", "in another case", "case: lower"):
        assert part in text


def test_settings_that_a_run_would_fail_on_are_problems(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path, exclude_items={"Status": ["draft"], "colour": ["red"]})
    shop.write("interactions.csv", "user_id,item_id,event\nu,i,play\n")
    shop.write("items.csv", "item_id,Status\ni,draft\n")
    report = check_source(shop.settings, today=TODAY)
    assert not report.ok
    [excluded, target] = report.problems
    assert "names colour" in excluded and "Status" in excluded
    assert "no interaction is of a target type" in target and "play (1)" in target


def test_a_unit_price_mapped_to_amount_is_asked_about(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write(
        "interactions.csv",
        "user_id,item_id,occurred_at,quantity,amount\n"
        + "".join(f"u{n},i{n % 3},2024-01-05,2,{9.5 + n % 3}\n" for n in range(40)),
    )
    shop.write("items.csv", "item_id,price\ni0,9.5\ni1,10.5\ni2,11.5\n")
    report = check_source(shop.settings, today=TODAY)
    assert any("price of one unit" in question for question in report.questions)

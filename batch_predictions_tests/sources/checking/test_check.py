"""`check-source` reports accepted, refused and missing data, and writes nothing."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from batch_predictions.cli.app import make_app
from batch_predictions.sources import SourceError
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

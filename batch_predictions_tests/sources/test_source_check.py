"""`check-source` tells what would be read, refused and skipped, and writes nothing."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from batch_predictions.sources import SourceError
from batch_predictions.sources.source_check import check_source
from batch_predictions_tests.worlds.source_folders import HEADER, World

TODAY = dt.date(2024, 1, 20)


def test_a_source_is_described_table_by_table(tmp_path: Path) -> None:
    world = World(tmp_path, columns={"interactions": {"amount": "eur"}})
    rows = "u,i,2024-01-02,1\nu,i,2024-01-15,x\nu,i,2024-01-09,y\nv,i,never,1\nw,i\n"
    world.write("interactions.csv", HEADER.replace("amount", "eur") + rows)
    world.write("users.csv", "name\nu\n")
    report = check_source(world.settings, today_=TODAY)
    interactions, users = report.tables
    assert (interactions.rows_seen, interactions.accepted, interactions.refused) == (5, 1, 4)
    assert interactions.columns["amount"] == "eur"
    assert (interactions.first_day, interactions.newest_day) == (
        dt.date(2024, 1, 2),
        dt.date(2024, 1, 15),
    )
    assert max(interactions.reasons.values()) == 2  # x and y are one reason
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
    for part in ("amount <- eur", "4 refused", "cannot be read", "no reviews"):
        assert part in text
    assert json.loads(json.dumps(report.as_dict()))["tables"][0]["refused"] == 4
    assert not world.settings.home.exists()


def test_a_sample_is_a_sample(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.write("interactions.csv", HEADER + "u,i,2024-01-02,1\n" * 500)
    report = check_source(world.settings, sample_rows=20, today_=TODAY)
    assert report.tables[0].rows_seen == 20
    assert report.ok


def test_a_broken_daily_table_is_told_and_the_others_with_it(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.csv", "who,item_id\nu,i\n")
    world.write("users.csv", "user_id\nu\n")
    report = check_source(world.settings, today_=TODAY)
    assert "no column for user_id" in str(report.tables[0].problem)
    assert report.first_day is report.newest_complete_day is None
    assert report.tables[1].accepted == 1
    assert not report.ok


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="neither interactions nor reviews"):
        check_source(World(tmp_path).settings, today_=TODAY)

"""Rows of erased users are refused and counted, and nothing of them is kept."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from batch_predictions.core.erasures import request_erasure
from batch_predictions.sources.new_users import new_sign_ups
from batch_predictions.tables import USERS
from batch_predictions_tests.worlds.bytes_of_home import files_with
from batch_predictions_tests.worlds.source_folders import HEADER, SourceFolder, total_counts

USER = "customer-77fae1"
NOW = dt.datetime(2024, 1, 9, tzinfo=dt.UTC)
ROWS = (
    f"{HEADER}{USER},i1,2024-01-02,1\n"
    "u1,i1,2024-01-02,1\n"
    f" {USER.upper()} ,i2,2024-01-03,not a number\n"
    f"{USER},,2024-01-03,1\n"
    f'u1,,2024-01-03,"{USER}"\n'
    "u1,,2024-01-03,1\n"
)


def shop(tmp_path: Path) -> SourceFolder:
    ids = {"user_id": {"case": "lower"}}
    folder = SourceFolder(tmp_path, ids=ids).write("interactions.csv", ROWS)
    folder.write("users.csv", f"user_id,gender\n{USER},f\nu1,m\n")
    return folder


def test_rows_of_an_erased_user_are_counted_and_not_kept(tmp_path: Path) -> None:
    folder = shop(tmp_path)
    assert total_counts(folder.ingest()) == (6, 2, 4)
    request_erasure(tmp_path / "home", USER, NOW)
    results = folder.ingest()
    assert total_counts(results) == (6, 1, 5)
    assert folder.reasons().count("erased") == 4
    [kept] = folder.rows("from raw.quarantine where reason <> 'erased'")
    assert '"u1"' in kept["row"] and kept["row_number"] == 6
    assert folder.rows("select distinct user_id from raw.interactions") == [{"user_id": "u1"}]
    folder.ingest(USERS)
    assert folder.rows("select user_id from raw.users") == [{"user_id": "u1"}]
    assert not files_with(tmp_path / "home", USER)


def test_an_erased_user_does_not_sign_up_again(tmp_path: Path) -> None:
    folder = shop(tmp_path)
    request_erasure(tmp_path / "home", USER, NOW)
    sign_ups, _ = new_sign_ups(folder.warehouse, folder.source, None)
    assert sign_ups["user_id"].to_pylist() == ["u1"]

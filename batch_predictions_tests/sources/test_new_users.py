"""New users are returned once; an unchanged source is not read."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from batch_predictions.sources import new_users
from batch_predictions.sources.new_users import COLUMNS, new_sign_ups
from batch_predictions.tables import USERS
from batch_predictions_tests.worlds.source_folders import HEADER, SourceFolder, day_keys

USERS_CSV = "user_id,age,gender,location,signed_up_on\n"


def test_users_that_are_not_in_the_snapshot_are_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER)
    shop.write("users.csv", USERS_CSV + "old,30,F,north,2023-12-01\n").ingest(USERS, day_keys(1))
    shop.write(
        "users.csv",
        USERS_CSV + "old,30,F,north,2023-12-01\nnew,70,M,south,2024-01-02\n,33,M,south,\n",
    )
    users, cursor = new_sign_ups(shop.warehouse, shop.source, None)
    assert tuple(users.column_names) == COLUMNS
    assert users.to_pylist() == [
        {
            "user_id": "new",
            "age_bracket": "65+",
            "gender": "M",
            "location": "south",
            "signed_up_on": dt.date(2024, 1, 2),
        }
    ]
    with monkeypatch.context() as patch:
        patch.delattr(new_users, "validate_rows")  # an unchanged source is not read
        no_users, next_cursor = new_sign_ups(shop.warehouse, shop.source, cursor)
    assert (no_users.num_rows, next_cursor) == (0, cursor)
    assert no_users.schema == users.schema
    shop.ingest(USERS, day_keys(2))
    assert new_sign_ups(shop.warehouse, shop.source, None)[0].num_rows == 0


def test_a_source_without_users_has_no_sign_ups(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER)
    users, cursor = new_sign_ups(shop.warehouse, shop.source, None)
    assert (users.num_rows, cursor) == (0, "absent")

"""New users are noticed once, without reading a source that did not change."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from batch_predictions.sources import sign_ups as signups
from batch_predictions.sources.sign_ups import COLUMNS, new_sign_ups
from batch_predictions.tables import USERS
from batch_predictions_tests.worlds.source_folders import HEADER, World, days

USERS_CSV = "user_id,age,gender,location,signed_up_on\n"


def test_users_that_are_not_in_the_snapshot_are_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path).write("interactions.csv", HEADER)
    world.write("users.csv", USERS_CSV + "old,30,F,north,2023-12-01\n").ingest(USERS, days(1))
    world.write(
        "users.csv",
        USERS_CSV + "old,30,F,north,2023-12-01\nnew,70,M,south,2024-01-02\nbad,-3,M,south,\n",
    )
    found, cursor = new_sign_ups(world.warehouse, world.source, None)
    assert tuple(found.column_names) == COLUMNS
    assert found.to_pylist() == [
        {
            "user_id": "new",
            "age_bracket": "65+",
            "gender": "M",
            "location": "south",
            "signed_up_on": dt.date(2024, 1, 2),
        }
    ]
    with monkeypatch.context() as patch:
        patch.delattr(signups, "validate_rows")  # an unchanged source is not read
        again, same = new_sign_ups(world.warehouse, world.source, cursor)
    assert (again.num_rows, same) == (0, cursor)
    assert again.schema == found.schema
    world.ingest(USERS, days(2))
    assert new_sign_ups(world.warehouse, world.source, None)[0].num_rows == 0


def test_a_source_without_users_has_no_sign_ups(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.csv", HEADER)
    found, cursor = new_sign_ups(world.warehouse, world.source, None)
    assert (found.num_rows, cursor) == (0, "absent")

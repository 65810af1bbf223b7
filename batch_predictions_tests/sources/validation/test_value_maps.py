"""Maps of a source's values to those of the raw tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from batch_predictions.settings import SourceSettings
from batch_predictions.sources.base import SourceError
from batch_predictions.tables import ITEMS, REVIEWS, USERS
from batch_predictions_tests.worlds.source_folders import HEADER, SourceFolder, total_counts

VALUES: dict[str, Any] = {
    "items": {"available": {"active": True, "draft": False}, "price": {"free": 0}},
    "users": {"gender": {"Frau": "female", "Herr": "male", "-": None}},
    "reviews": {"label": {1: "negative", "gut": "positive"}, "rating": {"five stars": 5}},
}


@pytest.fixture
def shop(tmp_path: Path) -> SourceFolder:
    folder = SourceFolder(tmp_path, values=VALUES, formats={"items": {"price": "1.234,56"}})
    return folder.write("interactions.csv", HEADER)


def test_unmapped_values_of_columns_with_fixed_values_are_null_and_counted(
    shop: SourceFolder,
) -> None:
    rows = "item_id;available;price\na; Active ;free\nb;DRAFT;1,50\nc;archived;x\nd;yes;\n"
    shop.write("items.csv", rows)
    results = shop.ingest(ITEMS, ["2024-01-10"])
    assert total_counts(results) == (4, 4, 0)
    assert results["2024-01-10"].counts.nulled == {"available": 1, "price": 1}
    rows_read = shop.rows("select available, price from raw.items order by item_id")
    assert [tuple(row.values()) for row in rows_read] == [
        (True, 0.0),
        (False, 1.5),
        (None, None),
        (True, None),
    ]


def test_unmapped_values_of_free_text_stay_as_they_are(shop: SourceFolder) -> None:
    shop.write("users.csv", "user_id,gender\na,frau\nb,Herr\nc,divers\nd,-\ne,\n").ingest(USERS)
    rows = shop.rows("select gender from raw.users order by user_id")
    assert [row["gender"] for row in rows] == ["female", "male", "divers", None, None]


def test_labels_and_ratings_are_mapped(shop: SourceFolder) -> None:
    shop.write("reviews.csv", "item_id,text,label,rating\ni,x,1,five stars\ni,y,GUT,4\n")
    assert total_counts(shop.ingest(REVIEWS)) == (2, 2, 0)
    rows = shop.rows("select label, rating from raw.reviews order by text")
    assert [tuple(row.values()) for row in rows] == [("negative", 5.0), ("positive", 4.0)]


def test_another_map_changes_the_fingerprint(shop: SourceFolder, tmp_path: Path) -> None:
    shop.write("items.csv", "item_id,available\na,active\n")
    without_map = SourceFolder(tmp_path)
    assert shop.source.fingerprint(ITEMS) != without_map.source.fingerprint(ITEMS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"orders": {"x": {"a": "b"}}}, "there is no raw table orders; write one of"),
        ({"users": {"sex": {"a": "b"}}}, "raw.users has no such column; write one of user_id"),
        ({"items": {"available": {"a": "perhaps"}}}, "'perhaps' is not a value of available"),
        ({"reviews": {"label": {"a": "good"}}}, "map to one of negative, neutral, positive"),
        ({"users": {"gender": {"Frau": "f", "frau ": "w"}}}, "are the same value"),
        ({"users": {"gender": {"Frau": "f"}}}, "no column of the source is mapped to it"),
    ],
)
def test_a_wrong_map_is_an_error(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    shop = SourceFolder(tmp_path, values=values).write("interactions.csv", HEADER)
    shop.write("users.csv", "user_id\na\n")
    with pytest.raises(SourceError, match=message):
        shop.ingest(USERS)


def test_truth_values_of_yaml_as_keys_are_an_error() -> None:
    with pytest.raises(ValidationError, match="in quotes"):
        SourceSettings.model_validate({"values": {"items": {"available": {True: "true"}}}})

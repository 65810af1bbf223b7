"""JSON Lines: nested values, damaged lines, and files that are no lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batch_predictions.sources.base import SourceError
from batch_predictions.sources.checking.check import check_source
from batch_predictions.tables import INTERACTIONS, REVIEWS, USERS
from batch_predictions_tests.worlds.source_folders import SourceFolder, total_counts

COLUMNS = {"interactions": {"user_id": "customer.id", "item_id": "line.sku", "occurred_at": "at"}}


def test_nested_values_are_columns_and_damaged_lines_are_quarantined(tmp_path: Path) -> None:
    lines = (
        '\ufeff{"customer": {"id": 7}, "line": {"sku": "a,\\"b\\"", "x": [1]}, "at": 1704186000}',
        "",
        '{"customer": {"id": "x"}, "line": {"sku": "b"}, "at": "2024-01-03", "amount": 1.5}',
        '{"customer": {"id": null}, "line": {"sku": "c"}, "at": "2024-01-03"}',
        "not json",
        '["a"]',
        '{"customer": "text", "line": {}, "at": "2024-01-03"}',
    )
    shop = SourceFolder(tmp_path, columns=COLUMNS)
    text = "\n".join(lines).encode() + b'\n{"customer": {"id": "caf\xe9"}}'
    shop.write("interactions.jsonl", text)
    assert total_counts(shop.ingest()) == (7, 2, 5)
    rows = shop.rows(
        "select user_id, item_id, amount, date::VARCHAR as date from raw.interactions order by 1"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("7", 'a,"b"', None, "2024-01-02"),
        ("x", "b", 1.5, "2024-01-03"),
    ]
    refused = shop.rows("select row_number, reason, row from raw.quarantine order by row_number")
    assert [(row["row_number"], row["reason"].split(":")[0]) for row in refused] == [
        (4, "user_id is empty"),
        (5, "line 5 is not a JSON object"),
        (6, "line 6 is not a JSON object"),
        (7, "user_id is empty"),
        (8, "line 8 is not UTF-8"),
    ]
    assert json.loads(refused[1]["row"]) == {"line": "not json"}
    assert json.loads(refused[0]["row"])["line.sku"] == "c"


def test_a_key_of_the_last_line_is_a_column_of_a_sample(tmp_path: Path) -> None:
    lines = '{"user_id": "u", "item_id": "i"}\n' * 50
    shop = SourceFolder(tmp_path).write(
        "interactions.ndjson", lines + '{"user_id": "u", "item_id": "i", "amount": 2, "odd": 1}'
    )
    report = check_source(shop.settings, sample_rows=5)
    assert report.tables[0].rows_seen == 5
    assert report.tables[0].columns["amount"] == "amount"
    assert report.tables[0].unused_columns == ["odd"]


def test_unmapped_keys_of_users_become_attributes(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.json", '{"user_id": "u", "item_id": "i"}\n')
    shop.write("users.json", '{"user_id": "u", "age": 30, "plan": {"name": "pro", "seats": [1]}}\n')
    shop.ingest(USERS)
    [row] = shop.rows("select age_bracket, attributes from raw.users")
    assert row == {
        "age_bracket": "25-34",
        "attributes": [("plan.name", "pro"), ("plan.seats", "[1]")],
    }


def test_an_object_of_many_keys_is_one_column(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    votes = {f"voter-{number}": 1 for number in range(300)}
    line = {"item_id": "i", "text": "fine", "a/b~c": "x", "votes": votes}
    shop.write("reviews.jsonl", json.dumps(line))
    report = check_source(shop.settings)
    assert report.tables[0].unused_columns == ["a/b~c", "votes"]
    assert total_counts(shop.ingest(REVIEWS)) == (1, 1, 0)


def test_empty_files_have_no_rows(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions/1.jsonl", "")
    shop.write("interactions/2.jsonl", '{"user_id": "u", "item_id": "i"}')
    assert total_counts(shop.ingest()) == (1, 1, 0)
    shop.write("interactions/2.jsonl", "")
    with pytest.raises(SourceError, match="no column for user_id"):
        shop.ingest()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (' [{"user_id": 1}]', r"interactions\.json is a JSON array: write one object a line"),
        ('{"user_id": 1, "item_id": 2, "Item_ID": 3}', "item_id and Item_ID, which differ only"),
        ('{"user_id": 1, "user": {"id": 2}}', "no column for item_id; its columns are user_id, us"),
    ],
)
def test_files_that_are_no_lines_are_refused(tmp_path: Path, text: str, message: str) -> None:
    shop = SourceFolder(tmp_path).write("interactions.json", text)
    with pytest.raises(SourceError, match=message):
        shop.ingest()
    assert shop.warehouse.partitions(INTERACTIONS) == []

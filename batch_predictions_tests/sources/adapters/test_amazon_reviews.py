"""Amazon reviews as JSON lines in the formats of 2014, 2018 and 2023."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from batch_predictions.sources.base import SourceError
from batch_predictions.tables import ITEMS, REVIEWS
from batch_predictions_tests.worlds.source_folders import SourceFolder, total_counts

LINE_2014 = {
    "reviewerID": "A1",
    "asin": "B1",
    "overall": 5.0,
    "summary": "Great",
    "reviewText": "I love it",
    "unixReviewTime": 1704153600,
    "reviewTime": "01 2, 2024",
    "helpful": [0, 0],
}
LINE_2018 = {
    "reviewerID": "A2",
    "asin": "B1",
    "overall": 1.0,
    "summary": "Bad",
    "reviewText": "broken",
    "unixReviewTime": 1704240000,
    "verified": True,
    "style": {"Color": "red"},
}
LINE_2023 = {
    "user_id": "A3",
    "asin": "B2a",
    "parent_asin": "B2",
    "rating": 3.0,
    "title": "Meh",
    "text": "it is ok",
    "timestamp": 1704326400123,
    "verified_purchase": True,
    "images": [],
}


def test_all_formats_are_read_and_a_damaged_line_is_quarantined(tmp_path: Path) -> None:
    folder = SourceFolder(tmp_path, kind="amazon_reviews")
    lines = [json.dumps(LINE_2014), '{"asin": "B', json.dumps(LINE_2018)]
    folder.write("reviews_Books.json", "\n".join(lines) + "\n")
    folder.write("Books.jsonl.gz", gzip.compress(json.dumps(LINE_2023).encode() + b"\n"))
    meta = {"parent_asin": "B2", "title": "A book", "main_category": "Books", "price": "$9.50"}
    folder.write("meta_Books.jsonl", json.dumps(meta) + "\n")
    assert total_counts(folder.ingest(REVIEWS)) == (4, 3, 1)
    assert total_counts(folder.ingest(ITEMS)) == (1, 1, 0)
    rows = folder.rows(
        "select user_id, item_id, rating, text, date::VARCHAR as date, simulated "
        "from raw.reviews order by user_id"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("A1", "B1", 5.0, "Great. I love it", "2024-01-02", False),
        ("A2", "B1", 1.0, "Bad. broken", "2024-01-03", False),
        ("A3", "B2", 3.0, "Meh. it is ok", "2024-01-04", False),
    ]
    [refused] = folder.rows("from raw.quarantine")
    assert refused["source"] == "reviews_Books.json" and refused["row_number"] == 2
    assert "line 2 is not a JSON object" in refused["reason"]
    [item] = folder.rows("from raw.items")
    assert (item["item_id"], item["title"], item["price"]) == ("B2", "A book", 9.5)


def test_a_damaged_gzip_file_stops_the_ingest(tmp_path: Path) -> None:
    content = gzip.compress(json.dumps(LINE_2023).encode() + b"\n")
    folder = SourceFolder(tmp_path, kind="amazon_reviews")
    folder.write("Books.jsonl.gz", content[:-8] + bytes(4) + content[-4:])
    with pytest.raises(SourceError, match=r"Books\.jsonl\.gz is not a complete gzip file"):
        folder.ingest(REVIEWS)

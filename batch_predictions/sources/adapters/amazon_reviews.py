"""Amazon reviews as McAuley's group published them: JSON lines of 2014, 2018 or 2023, also gzipped.

The folder has files of reviews (`Books.jsonl.gz`, `reviews_Books_5.json.gz`, …) and may have files
of products, whose names begin with `meta_`. Titles are put before texts. In the files of 2023 a
review belongs to the parent product, so that sizes and colours count as one product.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import duckdb

from batch_predictions.sources.files.content import verify_gzip
from batch_predictions.sources.files.file_source import FileSource
from batch_predictions.sources.rows.file_rows import (
    FILE_NAME,
    LINE_ERROR,
    LINE_TEXT,
    ROW_NUMBER,
    FileRows,
)
from batch_predictions.tables import ITEMS, REVIEWS, Table
from batch_predictions.warehouse.path_sql import quote_files, quote_literal

_SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


def _json_field(*keys: str) -> str:
    """SQL: the value of the first of these keys that a line has."""
    values = ", ".join(f"nullif(json_extract_string(line, '$.{key}'), '')" for key in keys)
    return f"coalesce({values})" if len(keys) > 1 else values


def _timestamp(key: str, ticks_per_second: int) -> str:
    """SQL: the UTC timestamp of a number of ticks since 1970."""
    ticks = f"try_cast({_json_field(key)} as BIGINT)"
    return f"make_timestamp({ticks} * {1_000_000 // ticks_per_second})"


_COLUMNS: dict[str, dict[str, str]] = {
    REVIEWS.name: {
        "item_id": _json_field("parent_asin", "asin"),
        "user_id": _json_field("user_id", "reviewerID"),
        "rating": _json_field("rating", "overall"),
        "text": f"concat_ws('. ', {_json_field('title', 'summary')}, "
        f"{_json_field('text', 'reviewText')})",
        # The files of 2023 have milliseconds, the older ones seconds.
        "written_at": f"coalesce({_timestamp('timestamp', 1000)}, "
        f"{_timestamp('unixReviewTime', 1)})",
    },
    ITEMS.name: {
        "item_id": _json_field("parent_asin", "asin"),
        "title": _json_field("title"),
        "category": _json_field("main_category", "main_cat", "category[0]", "categories[0][0]"),
        "brand": _json_field("brand", "store"),
        # "$12.99" and "12.99" are prices; "from $3" and ranges are not.
        "price": f"regexp_extract({_json_field('price')}, '^\\$?([0-9]+(?:[.][0-9]+)?)$', 1)",
    },
}
_TYPES = {"written_at": "TIMESTAMP"}


class AmazonReviewsSource(FileSource):
    """Reviews and products from JSON lines; there are no purchases."""

    kind: ClassVar[str] = "amazon_reviews"

    def files(self, table: Table) -> list[Path]:
        """Files of reviews, or of products (`meta_…`), sorted by name."""
        if table.name not in _COLUMNS:
            return []
        return sorted(
            path
            for path in self.folder.iterdir()
            if path.name.endswith(_SUFFIXES)
            and path.is_file()
            and path.name[0] not in "._"
            and path.name.startswith("meta_") == (table == ITEMS)
        )

    def missing_files_message(self) -> str:
        """The error message for a folder without such files."""
        return (
            f"{self.folder} has no Amazon reviews: it must contain files of JSON lines, such as "
            "Books.jsonl.gz (2023) or reviews_Books_5.json.gz (2014, 2018)"
        )

    def read_rows(self, db: duckdb.DuckDBPyConnection, table: Table, limit: int | None) -> FileRows:
        """One row per line; lines that are not JSON objects are marked as damaged.

        Args:
            db: connection in which the relation will be read.
            table: reviews or items.
            limit: number of lines of each file to read; None: all.
        """
        for path in self.files(table):
            verify_gzip(path, path.name)
        limit_clause = "" if limit is None else f" limit {int(limit)}"
        line_queries = [
            f"select line, {quote_literal(path.name)} as {FILE_NAME}, "
            f"row_number() over () as {ROW_NUMBER} from "
            f"read_csv({quote_files([path])}, columns = {{line: 'VARCHAR'}}, auto_detect = false, "
            "delim = chr(1), quote = '', escape = '', header = false, max_line_size = 20000000)"
            f"{limit_clause}"
            for path in self.files(table)
        ]
        column_sql = _COLUMNS[table.name]
        columns = ", ".join(
            f"case when is_json then {sql} end as {name}" for name, sql in column_sql.items()
        )
        lines = " union all ".join(f"({query})" for query in line_queries)
        relation = (
            f"(select {columns}, {FILE_NAME}, {ROW_NUMBER}, "
            f"case when not is_json then 'line ' || {ROW_NUMBER} || "
            f"' is not a JSON object: correct or remove it' end as {LINE_ERROR}, "
            f"case when not is_json then line end as {LINE_TEXT} "
            "from (select *, coalesce(json_type(case when json_valid(line) then line end) = "
            f"'OBJECT', false) as is_json from ({lines})))"
        )
        return FileRows(relation, {name: _TYPES.get(name, "VARCHAR") for name in column_sql})

    def column_sql(self, table: Table, types: dict[str, str]) -> dict[str, str]:
        """Each column unchanged: `read_rows` gives them the names of the raw table."""
        return {name: name for name in types}

    def column_mapping(self, table: Table) -> dict[str, str]:
        """Column of raw.reviews to the JSON keys that it is read from."""
        keys = {
            "item_id": "parent_asin or asin",
            "user_id": "user_id or reviewerID",
            "rating": "rating or overall",
            "text": "title or summary, and text or reviewText",
            "written_at": "timestamp or unixReviewTime",
        }
        return keys if table == REVIEWS and self.files(table) else {}

"""Amazon reviews as published by McAuley's group: JSON lines of 2014, 2018 or 2023, gzipped or not.

The folder holds files of reviews (`Books.jsonl.gz`, `reviews_Books_5.json.gz`, …) and, beside them,
files of products whose names begin with `meta_`. The title is put before the text. A product of
2023 is its parent's: sizes and colours are reviewed together.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import duckdb

from batch_predictions.sources.base import quote_literal
from batch_predictions.sources.delimited import DAMAGE, FILE, LINE, ROW, DelimitedFile
from batch_predictions.sources.file_source import FileSource
from batch_predictions.tables import ITEMS, REVIEWS, Table

_SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


def _field(*names: str) -> str:
    """SQL of the first of these keys that a line has."""
    found = ", ".join(f"nullif(json_extract_string(line, '$.{name}'), '')" for name in names)
    return f"coalesce({found})" if len(names) > 1 else found


def _moment(name: str, per_second: int) -> str:
    number = f"try_cast({_field(name)} as BIGINT)"
    return f"make_timestamp({number} * {1_000_000 // per_second})"


_COLUMNS: dict[str, dict[str, str]] = {
    REVIEWS.name: {
        "item_id": _field("parent_asin", "asin"),
        "user_id": _field("user_id", "reviewerID"),
        "rating": _field("rating", "overall"),
        "text": f"concat_ws('. ', {_field('title', 'summary')}, {_field('text', 'reviewText')})",
        # Milliseconds in 2023, seconds before.
        "written_at": f"coalesce({_moment('timestamp', 1000)}, {_moment('unixReviewTime', 1)})",
    },
    ITEMS.name: {
        "item_id": _field("parent_asin", "asin"),
        "title": _field("title"),
        "category": _field("main_category", "main_cat", "category[0]", "categories[0][0]"),
        "brand": _field("brand", "store"),
        # "$12.99" and "12.99" are prices; "from $3" and ranges are not.
        "price": f"regexp_extract({_field('price')}, '^\\$?([0-9]+(?:[.][0-9]+)?)$', 1)",
    },
}
_TYPES = {"written_at": "TIMESTAMP"}


class AmazonReviewsSource(FileSource):
    """Reviews and products as JSON lines; nothing is known of purchases."""

    kind: ClassVar[str] = "amazon_reviews"
    repeats: ClassVar[bool] = False

    def files(self, table: Table) -> list[Path]:
        """Files of reviews, or of products (`meta_…`), ordered by name."""
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

    def nothing_found(self) -> str:
        """What was looked for."""
        return (
            f"{self.folder} holds no Amazon reviews: it needs files of JSON lines, such as "
            "Books.jsonl.gz (2023) or reviews_Books_5.json.gz (2014, 2018)"
        )

    def read(self, db: duckdb.DuckDBPyConnection, table: Table, limit: int | None) -> DelimitedFile:
        """A row a line; a line that is no JSON is damaged, and kept."""
        some = "" if limit is None else f" limit {int(limit)}"
        parts = [
            f"select line, {quote_literal(path.name)} as {FILE}, "
            f"row_number() over () as {ROW} from "
            f"read_csv({quote_literal(path)}, columns = {{line: 'VARCHAR'}}, auto_detect = false, "
            "delim = chr(1), quote = '', escape = '', header = false, max_line_size = 20000000)"
            f"{some}"
            for path in self.files(table)
        ]
        columns = ", ".join(
            f"case when sound then {sql} end as {name}"
            for name, sql in _COLUMNS[table.name].items()
        )
        lines = " union all ".join(f"({part})" for part in parts)
        relation = (
            f"(select {columns}, {FILE}, {ROW}, case when not sound then 'line ' || {ROW} || "
            f"' is not a JSON object: remove it, or write it whole' end as {DAMAGE}, "
            f"case when not sound then line end as {LINE} "
            "from (select *, coalesce(json_type(case when json_valid(line) then line end) = "
            f"'OBJECT', false) as sound from ({lines})))"
        )
        names = _COLUMNS[table.name]
        return DelimitedFile(relation, {name: _TYPES.get(name, "VARCHAR") for name in names})

    def shape(self, table: Table, types: dict[str, str]) -> dict[str, str]:
        """The columns have the contract's names already."""
        return {name: name for name in types}

    def mapped(self, table: Table) -> dict[str, str]:
        """Contract column to the keys that it is read from."""
        keys = {
            "item_id": "parent_asin or asin",
            "user_id": "user_id or reviewerID",
            "rating": "rating or overall",
            "text": "title or summary, and text or reviewText",
            "written_at": "timestamp or unixReviewTime",
        }
        return keys if table == REVIEWS and self.files(table) else {}

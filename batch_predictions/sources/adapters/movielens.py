"""A MovieLens folder: ratings of films, in the formats that GroupLens and RecBole publish.

- 100K: `u.data`, `u.user`, `u.item`
- 1M: `ratings.dat`, `users.dat`, `movies.dat`, delimited by `::`, Latin-1
- RecBole: `*.inter`, `*.user`, `*.item` with headers of `name:type`

A rating is an interaction of type `rating` whose amount is the stars. A user's location is the
first digit of the United States zip code, one of ten areas of the country (`9xxxx` is the Pacific
coast): with smaller areas, most demographic segments would have only a few users.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import duckdb

from batch_predictions.settings import EventTypeSettings
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.files.delimited import Dialect, read_delimited, sniff_dialect
from batch_predictions.sources.files.file_source import FileSource
from batch_predictions.sources.rows.file_rows import FileRows
from batch_predictions.sources.validation.event_types import RATING
from batch_predictions.tables import Table
from batch_predictions.warehouse.path_sql import quote_identifier, quote_literal

_GENRES = (  # noqa: SIM905
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy "
    "Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller War Western"
).split()
_RATING_COLUMNS = ("user_id", "item_id", "rating", "timestamp")
_INTERACTION_COLUMNS = {
    "event_id": "user_id || '-' || item_id || '-' || timestamp",
    "user_id": "user_id",
    "item_id": "item_id",
    "event_type": "'rating'",
    "amount": "rating",
    "occurred_at": "timestamp",
}
_AREA = (
    "case when regexp_full_match(zip_code, '\\d{5}(-?\\d{4})?') "
    "then left(zip_code, 1) || 'xxxx' end"
)


@dataclass(frozen=True)
class _FileFormat:
    """The file of a table in one of the formats.

    Attributes:
        pattern: pattern of the file's name.
        columns: column of the raw table to SQL over the file's columns.
        dialect: dialect of the file; None if it has a header of `name:type`.
    """

    pattern: str
    columns: dict[str, str]
    dialect: Dialect | None = None


def _map_sql(**columns: str) -> str:
    """SQL of a map of the columns that are not null."""
    entries = ", ".join(f"struct_pack(k := '{name}', v := {sql})" for name, sql in columns.items())
    return f"map_from_entries(list_filter([{entries}], lambda entry: entry.v is not null))"


def _user_columns(age: str = "age") -> dict[str, str]:
    return {
        "user_id": "user_id",
        "age_bracket": age,
        "gender": "gender",
        "location": _AREA,
        "attributes": _map_sql(occupation="occupation", zip_code="zip_code"),
    }


def _item_columns(title: str, year: str, genres: str) -> dict[str, str]:
    return {
        "item_id": "item_id",
        "title": title,
        "category": f"({genres})[1]",
        "attributes": _map_sql(genres=f"nullif(array_to_string({genres}, '|'), '')", year=year),
    }


_FLAGS = ", ".join(
    f"case {quote_identifier(name)} when '1' then {quote_literal(name)} end" for name in _GENRES
)
_FLAGGED_GENRES = f"list_filter([{_FLAGS}], lambda genre: genre is not null)"
_YEAR = "nullif(regexp_extract(title, '\\((\\d{4})\\)\\s*$', 1), '')"
# Ages of the 1M format are the lower ends of ranges: 18 means 18 to 24.
_AGE_1M = "case age when '18' then '19' else age end"

FORMATS: dict[str, dict[str, _FileFormat]] = {
    "100K": {
        "interactions": _FileFormat(
            "u.data", _INTERACTION_COLUMNS, Dialect(_RATING_COLUMNS, "\t", "", header=False)
        ),
        "users": _FileFormat(
            "u.user",
            _user_columns(),
            Dialect(("user_id", "age", "gender", "occupation", "zip_code"), "|", "", header=False),
        ),
        "items": _FileFormat(
            "u.item",
            _item_columns(
                "title",
                _YEAR,
                _FLAGGED_GENRES,
            ),
            Dialect(
                ("item_id", "title", "released", "video_released", "url", *_GENRES),
                "|",
                "",
                "latin-1",
                False,
            ),
        ),
    },
    "1M": {
        "interactions": _FileFormat(
            "ratings.dat",
            _INTERACTION_COLUMNS,
            Dialect(_RATING_COLUMNS, "::", "", "latin-1", False),
        ),
        "users": _FileFormat(
            "users.dat",
            _user_columns(_AGE_1M),
            Dialect(
                ("user_id", "gender", "age", "occupation", "zip_code"), "::", "", "latin-1", False
            ),
        ),
        "items": _FileFormat(
            "movies.dat",
            _item_columns("title", _YEAR, "string_split(genres, '|')"),
            Dialect(("item_id", "title", "genres"), "::", "", "latin-1", False),
        ),
    },
    "RecBole": {
        "interactions": _FileFormat("*.inter", _INTERACTION_COLUMNS),
        "users": _FileFormat("*.user", _user_columns()),
        "items": _FileFormat(
            "*.item", _item_columns("movie_title", "release_year", "string_split(class, ' ')")
        ),
    },
}
_RECBOLE_COLUMNS = {
    "interactions": _RATING_COLUMNS,
    "users": ("user_id", "age", "gender", "occupation", "zip_code"),
    "items": ("item_id", "movie_title", "release_year", "class"),
}


class MovieLensSource(FileSource):
    """Reads ratings of films, and the films, from a MovieLens folder."""

    kind: ClassVar[str] = "movielens"
    events: ClassVar[Mapping[str, EventTypeSettings]] = {RATING: EventTypeSettings(target=True)}
    item_attributes: ClassVar[tuple[str, ...]] = ("genres", "year")

    def files(self, table: Table) -> list[Path]:
        """The file of a table, in the folder's format.

        Raises:
            SourceError: the folder has several formats, or several files for the table.
        """
        file_format = self._file_format(table)
        paths = sorted(self.folder.glob(file_format.pattern)) if file_format else []
        if len(paths) > 1:
            raise SourceError(
                f"{self.folder} has several files for raw.{table.name}, {paths[0].name} and "
                f"{paths[1].name}: keep one data set in a folder"
            )
        return paths

    def missing_files_message(self) -> str:
        """Names the files that are needed."""
        return (
            f"{self.folder} has no MovieLens data: it needs u.data (100K), ratings.dat (1M) or "
            "a *.inter file (RecBole)"
        )

    def read_rows(self, db: duckdb.DuckDBPyConnection, table: Table, limit: int | None) -> FileRows:
        """The rows of the table's file."""
        [path] = self.files(table)
        file_format = self._file_format(table)
        assert file_format is not None
        if path.stat().st_size == 0:
            raise SourceError(f"{path.name} is empty (0 bytes): copy it again")
        dialect = file_format.dialect
        if dialect is None:
            # The header `user_id:token` is that of a column user_id.
            header = sniff_dialect(path, path.name).names
            dialect = Dialect(tuple(name.split(":")[0] for name in header), "\t", "")
        return read_delimited(db, self.folder, [(path, dialect)], limit)

    def column_sql(self, table: Table, types: dict[str, str]) -> dict[str, str]:
        """Column of the raw table to SQL over the file's columns.

        Raises:
            SourceError: a RecBole header lacks a column.
        """
        file_format = self._file_format(table)
        assert file_format is not None
        required = _RECBOLE_COLUMNS[table.name] if file_format.dialect is None else ()
        missing = [name for name in required if name not in types]
        if missing:
            raise SourceError(
                f"{self.file_names(table)[0]} has no column {missing[0]}; its columns are "
                f"{', '.join(types)}. Write a header with {', '.join(required)}"
            )
        return file_format.columns

    def column_mapping(self, table: Table) -> dict[str, str]:
        """Column of the raw table to the file's columns that its SQL names."""
        if not self.files(table):
            return {}
        with duckdb.connect(":memory:") as db:
            types = self.read_rows(db, table, 1).types
        return {
            column: ", ".join(name for name in types if re.search(rf"\b{re.escape(name)}\b", sql))
            or sql.strip("'")
            for column, sql in self.column_sql(table, types).items()
        }

    def _file_format(self, table: Table) -> _FileFormat | None:
        """The format of the table's file; None if the folder does not have the table."""
        names = [
            name
            for name, file_formats in FORMATS.items()
            if any(self.folder.glob(file_formats["interactions"].pattern))
        ]
        if len(names) > 1:
            raise SourceError(
                f"{self.folder} has MovieLens in several formats ({', '.join(names)}): keep one"
            )
        return FORMATS[names[0]].get(table.name) if names else None

"""A MovieLens folder: ratings of films, in any of the forms that GroupLens and RecBole publish.

- 100K: `u.data`, `u.user`, `u.item`
- 1M: `ratings.dat`, `users.dat`, `movies.dat`, divided by `::`, Latin-1
- RecBole: `*.inter`, `*.user`, `*.item` with `name:type` headers

A rating is an interaction of type `rating` whose amount is the stars. Users' location is the first
digit of a United States zip code, one of ten areas of the country (`9xxxx` is the Pacific coast):
finer ones would leave most segments of the fallback with a handful of people.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import duckdb

from batch_predictions.sources.base import SourceError, quote_identifier
from batch_predictions.sources.delimited import DelimitedFile, Dialect, read_delimited, sniff
from batch_predictions.sources.file_source import FileSource
from batch_predictions.tables import Table

_GENRES = (  # noqa: SIM905
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy "
    "Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller War Western"
).split()
_RATING = ("user_id", "item_id", "rating", "timestamp")
_INTERACTIONS = {
    "event_id": "user_id || '-' || item_id || '-' || timestamp",
    "user_id": "user_id",
    "item_id": "item_id",
    "event_type": "'rating'",
    "amount": "rating",
    "occurred_at": "timestamp",
}
_AREA = (
    "case when regexp_full_match({zip}, '\\d{{5}}(-?\\d{{4}})?') then left({zip}, 1) || 'xxxx' end"
)


@dataclass(frozen=True)
class _Form:
    """How a table's file is called and written, and what its columns are in the contract.

    Without a dialect the file has a header of `name:type`.
    """

    pattern: str
    shape: dict[str, str]
    dialect: Dialect | None = None


def _map(**columns: str) -> str:
    pairs = ", ".join(f"struct_pack(k := '{name}', v := {sql})" for name, sql in columns.items())
    return f"map_from_entries(list_filter([{pairs}], lambda pair: pair.v is not null))"


def _users(zip_code: str, age: str = "age") -> dict[str, str]:
    return {
        "user_id": "user_id",
        "age_bracket": age,
        "gender": "gender",
        "location": _AREA.format(zip=zip_code),
        "attributes": _map(occupation="occupation", zip_code=zip_code),
    }


def _items(title: str, year: str, genres: str) -> dict[str, str]:
    return {
        "item_id": "item_id",
        "title": title,
        "category": f"({genres})[1]",
        "attributes": _map(genres=f"nullif(array_to_string({genres}, '|'), '')", year=year),
    }


_FLAGS = ", ".join(
    f"case {quote_identifier(name)} when '1' then '{name.replace(chr(39), chr(39) * 2)}' end"
    for name in _GENRES
)
_YEAR = "nullif(regexp_extract(title, '\\((\\d{4})\\)\\s*$', 1), '')"
# The 1M set gives ages as the lower ends of ranges: 18 stands for 18 to 24.
_AGE_1M = "case age when '18' then '19' else age end"

FORMS: dict[str, dict[str, _Form]] = {
    "100K": {
        "interactions": _Form("u.data", _INTERACTIONS, Dialect(_RATING, "\t", "", header=False)),
        "users": _Form(
            "u.user",
            _users("zip_code"),
            Dialect(("user_id", "age", "gender", "occupation", "zip_code"), "|", "", header=False),
        ),
        "items": _Form(
            "u.item",
            _items("title", _YEAR, f"list_filter([{_FLAGS}], lambda g: g is not null)"),
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
        "interactions": _Form(
            "ratings.dat", _INTERACTIONS, Dialect(_RATING, "::", "", "latin-1", False)
        ),
        "users": _Form(
            "users.dat",
            _users("zip_code", _AGE_1M),
            Dialect(
                ("user_id", "gender", "age", "occupation", "zip_code"), "::", "", "latin-1", False
            ),
        ),
        "items": _Form(
            "movies.dat",
            _items("title", _YEAR, "string_split(genres, '|')"),
            Dialect(("item_id", "title", "genres"), "::", "", "latin-1", False),
        ),
    },
    "RecBole": {
        "interactions": _Form("*.inter", _INTERACTIONS),
        "users": _Form("*.user", _users("zip_code")),
        "items": _Form("*.item", _items("movie_title", "release_year", "string_split(class, ' ')")),
    },
}


class MovieLensSource(FileSource):
    """Ratings of films; nobody wants the same film again."""

    kind: ClassVar[str] = "movielens"
    repeats: ClassVar[bool] = False
    item_attributes: ClassVar[tuple[str, ...]] = ("genres", "year")

    def files(self, table: Table) -> list[Path]:
        """The table's one file, in the form that the folder has.

        Raises:
            SourceError: the folder holds more than one file of ratings.
        """
        form = FORMS[self._form()].get(table.name) if self._forms() else None
        found = sorted(self.folder.glob(form.pattern)) if form else []
        if len(found) > 1:
            raise SourceError(
                f"{self.folder} has several files for raw.{table.name}, "
                f"{found[0].name} and {found[1].name}: keep one set of films in a folder"
            )
        return found

    def nothing_found(self) -> str:
        """What was looked for."""
        return (
            f"{self.folder} holds no MovieLens data: it needs u.data (100K), ratings.dat (1M) or "
            "a *.inter file (RecBole)"
        )

    def _forms(self) -> list[str]:
        return [
            name
            for name, tables in FORMS.items()
            if any(self.folder.glob(tables["interactions"].pattern))
        ]

    def _form(self) -> str:
        forms = self._forms()
        if len(forms) > 1:
            raise SourceError(
                f"{self.folder} holds MovieLens in several forms ({', '.join(forms)}): keep one"
            )
        return forms[0]

    def read(self, db: duckdb.DuckDBPyConnection, table: Table, limit: int | None) -> DelimitedFile:
        """The rows of the table's file."""
        path = self.files(table)[0]
        form = FORMS[self._form()][table.name]
        if path.stat().st_size == 0:
            raise SourceError(f"{path.name} is empty (0 bytes): copy it again")
        dialect = form.dialect
        if dialect is None:
            # `user_id:token` is the column user_id.
            names = tuple(name.split(":")[0] for name in sniff(path, path.name).names)
            dialect = Dialect(names, "\t", "")
        return read_delimited(db, self.folder, [(path, dialect)], limit)

    def shape(self, table: Table, types: dict[str, str]) -> dict[str, str]:
        """Contract column to SQL over the file's columns.

        Raises:
            SourceError: a RecBole header lacks a column.
        """
        form = FORMS[self._form()][table.name]
        wanted = {
            "interactions": _RATING,
            "users": ("user_id", "age", "gender", "occupation", "zip_code"),
            "items": ("item_id", "movie_title", "release_year", "class"),
        }[table.name]
        missing = [name for name in wanted if name not in types] if form.dialect is None else []
        if missing:
            raise SourceError(
                f"{self.files(table)[0].name} has no column {missing[0]}; it has: "
                f"{', '.join(types)}. It needs {', '.join(wanted)}"
            )
        return form.shape

    def mapped(self, table: Table) -> dict[str, str]:
        """Contract column to the file's columns that its SQL names."""
        if not self.files(table):
            return {}
        with duckdb.connect(":memory:") as db:
            types = self.read(db, table, 1).types
        return {
            column: ", ".join(name for name in types if re.search(rf"\b{re.escape(name)}\b", sql))
            or sql.strip("'")
            for column, sql in self.shape(table, types).items()
        }

"""The kinds of bad input that docs/reference/sources.md lists, and what happens to each."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_predictions.sources.base import SourceError
from batch_predictions.tables import (
    CAMPAIGN_EVENTS,
    INTERACTIONS,
    INVENTORY,
    ITEMS,
    PROMOTION_CALENDAR,
    PROMOTIONS,
    REVIEWS,
    USER_ALIASES,
    USERS,
    Table,
)
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.source_folders import HEADER, SourceFolder

REFUSED, EMPTY, ERROR = "row refused", "value empty", "run stops"
VALID = "u1,i1,2024-01-02,1\n"


@dataclass(frozen=True)
class BadInput:
    """A kind of bad input.

    Attributes:
        kind: as docs/reference/sources.md has it.
        outcome: what happens.
        message: part of the reason or of the error; of an empty value, its column.
        content: the file.
        table: its table.
        name: its name; empty: that of the table with .csv.
        options: settings of the source.
        refused: number of rows that are refused.
    """

    kind: str
    outcome: str
    message: str
    content: str | bytes
    table: Table = INTERACTIONS
    name: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    refused: int = 1


def event(kind: str, row: str | bytes, message: str, **options: Any) -> BadInput:
    """A row of interactions that is refused, after a valid one."""
    row = row if isinstance(row, bytes) else row.encode()
    content = (HEADER + VALID).encode() + row + b"\n"
    return BadInput(kind, REFUSED, message, content, options=options)


def row_of(kind: str, table: Table, content: str, message: str) -> BadInput:
    """A file of another table whose last row is refused."""
    return BadInput(kind, REFUSED, message, content, table)


def value_of(kind: str, table: Table, content: str, column: str) -> BadInput:
    """A file of another table with one value that becomes null."""
    return BadInput(kind, EMPTY, column, content, table)


def unreadable(kind: str, content: str | bytes, message: str, **fields: Any) -> BadInput:
    """A file of interactions that cannot be read."""
    return BadInput(kind, ERROR, message, content, **fields)


def damaged_page() -> bytes:
    """A Parquet file whose first page has other bytes than were written."""
    rows = pa.table({"user_id": [f"u{n}" for n in range(4000)], "item_id": ["i"] * 4000})
    buffer = pa.BufferOutputStream()
    pq.write_table(rows, buffer, compression="zstd")
    content = buffer.getvalue().to_pybytes()
    return content[:20] + bytes(200) + content[220:]


def flipped_bit() -> bytes:
    """A gzip file with one bit of its content, stored without compression, changed."""
    content = gzip.compress((HEADER + VALID).encode(), compresslevel=0)
    return content.replace(b"user_id", b"user_iD", 1)


CALENDAR = "item_id,week,starts_on,ends_on\n"
KINDS = [
    event("empty id", ",i,2024-01-03,1", "user_id is empty"),
    event("id `NaN`, `null` or `None`", "u,null,2024-01-03,1", "item_id is empty"),
    event(
        "id with a control character",
        "u\x07,i,2024-01-03,1",
        "user_id 'u?' has a control character",
    ),
    event("id of more than 512 bytes", f"u,{'i' * 513},2024-01-03,1", "is longer than 512 bytes"),
    event("empty time", "u,i,,1", "occurred_at is empty"),
    event("text instead of a time", "u,i,yesterday,1", "'yesterday' is not a time"),
    event("day and month in doubt: `03/01/2024`", "u,i,03/01/2024,1", "set source.formats"),
    event("day that does not exist: `2024-02-30`", "u,i,2024-02-30,1", "is not a time"),
    event("time `infinity`", "u,i,infinity,1", "is not a time"),
    event("offset beyond 14 hours: `+99:00`", "u,i,2024-01-03 10:00+99:00,1", "is not a time"),
    event("time before `source.earliest`", "u,i,1970-01-02,1", "is before 1990-01-01"),
    event("Unix time 0", "u,i,0,1", "is before 1990-01-01"),
    event("time after 2099", "u,i,2999-01-01,1", "is after 2099"),
    event("day before the home's first", "u,i,2023-12-31,1", "first day of this home"),
    event("text instead of an amount", "u,i,2024-01-03,abc", "'abc' is not a number"),
    event("decimal comma", 'u,i,2024-01-03,"1,50"', '{interactions: {amount: "1.234,56"}}'),
    event("thousands mark", 'u,i,2024-01-03,"1.164,60"', "'1.164,60' is not a number"),
    event("currency", "u,i,2024-01-03,€ 12.50", '{interactions: {amount: "1,234.56"}}'),
    event(
        "number of another format than the declared one",
        "u,i,2024-01-03,12.50",
        "is not a number such as 1.234,56",
        formats={"interactions": {"amount": "1.234,56"}},
    ),
    event(
        "other currency than the declared one",
        'u,i,2024-01-03,"5,00 USD"',
        "is not a number such as 1.234,56 EUR",
        formats={"interactions": {"amount": "1.234,56 EUR"}},
    ),
    event("infinite amount", "u,i,2024-01-03,inf", "is not finite"),
    event("too few fields in a line", "u,i", "line 3 has fewer fields"),
    BadInput(
        "last line that is cut off",
        REFUSED,
        "interactions.csv is cut off in its last line, no. 3",
        HEADER + VALID + "u,i,20",
    ),
    event("too many fields in a line", "u,i,2024-01-03,1,9", "line 3 has more fields"),
    event("bytes that are not UTF-8", b"u,caf\xe9,2024-01-03,1", "line 3 is not UTF-8"),
    event("text after a closing quote", 'u,"i"2,2024-01-03,1', "after a closing quote"),
    row_of(
        "quantity that is not a number",
        INTERACTIONS,
        "user_id,item_id,quantity\nu,i,two\n",
        "quantity 'two' is not a number",
    ),
    row_of(
        "repeated event id",
        INTERACTIONS,
        "event_id,user_id,item_id\n1,u,i\n1,u,j\n",
        "event_id '1' is already in row 1",
    ),
    row_of(
        "time far from the date of its row",
        INTERACTIONS,
        "user_id,item_id,date,occurred_at\nu,i,2024-01-02,2024-01-09 10:00\n",
        "more than two days apart",
    ),
    row_of("repeated key of a snapshot", USERS, "user_id\nu\nu\n", "is already in row 1"),
    row_of("review without a text", REVIEWS, "item_id,text\ni,\n", "text is empty"),
    row_of(
        "unknown event of a campaign",
        CAMPAIGN_EVENTS,
        "campaign_id,user_id,event_type\nc,u,seen\n",
        "is not one of targeted",
    ),
    row_of(
        "promotion that ends before it begins",
        PROMOTIONS,
        "campaign_id,item_id,starts_on,ends_on\nc,i,2024-01-03,2024-01-01\n",
        "ends_on is before starts_on",
    ),
    row_of(
        "promotion with an unreadable day",
        PROMOTIONS,
        "campaign_id,item_id,ends_on\nc,i,later\n",
        "'later' is not a day",
    ),
    row_of(
        "promotion outside its week",
        PROMOTION_CALENDAR,
        CALENDAR + "i,2024-01-01,2024-01-20,2024-01-21\n",
        "has no day in week",
    ),
    row_of("stock without a count", INVENTORY, "item_id,on_hand\ni,\n", "on_hand is empty"),
    row_of(
        "stock that is not a number", INVENTORY, "item_id,on_hand\ni,many\n", "'many' is not a num"
    ),
    row_of(
        "negative units on order",
        INVENTORY,
        "item_id,on_hand,on_order\ni,1,-2\n",
        "negative number of units",
    ),
    BadInput(
        "line of JSON Lines that is no object",
        REFUSED,
        "line 2 is not a JSON object",
        '{"user_id": "u", "item_id": "i"}\n[1]\n',
        name="interactions.jsonl",
    ),
    row_of("alias without a user", USER_ALIASES, "old_id,new_id\na,\n", "user_id is empty"),
    row_of("alias of itself", USER_ALIASES, "old_id,new_id\na,a\n", "'a' is the user_id itself"),
    BadInput(
        "alias with two users",
        REFUSED,
        "'a' has several user_ids",
        "old_id,new_id\na,b\na,c\n",
        USER_ALIASES,
        refused=2,
    ),
    BadInput(
        "aliases in a circle",
        REFUSED,
        "'a' leads back to itself",
        "old_id,new_id\na,b\nb,a\n",
        USER_ALIASES,
        refused=2,
    ),
    value_of("price that is not a number", ITEMS, "item_id,price\ni,free\n", "price"),
    value_of("negative price", ITEMS, "item_id,price\ni,-1\n", "price"),
    value_of("truth value that is none", ITEMS, "item_id,available\ni,perhaps\n", "available"),
    value_of("impossible age", USERS, "user_id,age\nu,200\n", "age_bracket"),
    value_of("unreadable birthday", USERS, "user_id,birthday\nu,soon\n", "birthday"),
    value_of("birthday in the future", USERS, "user_id,birthday\nu,2030-01-01\n", "birthday"),
    value_of("unreadable day of sign-up", USERS, "user_id,signed_up_on\nu,x\n", "signed_up_on"),
    value_of("sign-up before 1900", USERS, "user_id,signed_up_on\nu,1800-01-01\n", "signed_up_on"),
    value_of("rating that is not 1 to 5", REVIEWS, "item_id,text,rating\ni,x,0\n", "rating"),
    value_of("unknown label of a review", REVIEWS, "item_id,text,label\ni,x,meh\n", "label"),
    unreadable("file of 0 bytes", "", "is empty .0 bytes"),
    unreadable("required column missing", "who,item_id\n", "no column for user_id"),
    unreadable(
        "mapped column missing",
        HEADER,
        "no column 'kunde'",
        options={"columns": {"interactions": {"user_id": "kunde"}}},
    ),
    unreadable("two columns for one", "user,customer,item_id\n", "could each be user_id"),
    unreadable("repeated column name", "user_id,user_id,item_id\n", "user_id twice"),
    unreadable("column without a name", "user_id,,item_id\n", "without a name"),
    unreadable("UTF-16 without `source.encoding`", HEADER.encode("utf-16"), "UTF-8"),
    unreadable(
        "quote that is not closed", HEADER + 'u,"i,2024-01-03,1\nu,i,,1\n', "line 2: a quote"
    ),
    unreadable(
        "two quotes with lines between that look like rows",
        HEADER + 'u,i,2024-01-02,"1\n' + VALID * 20 + 'u,i,2024-01-02,1"\n',
        "line 2: a quote is opened here and closed 21 lines later",
    ),
    unreadable("mixed line ends", HEADER + "u,i,2024-01-02,1\r\nu,j,2024-01-02,1\n", "CR LF"),
    unreadable("CR alone at the ends of lines", "user_id,item_id\ru,i\rv,i\r", "CR alone"),
    unreadable(
        "line of more than 2 MB",
        f"user_id,item_id\nu,i\nu,{'i' * 3_000_000}\n",
        "line 3: the line is longer than 2 MB",
    ),
    unreadable(
        "columns that differ only in case", "user_id,User_ID,item_id\n", "differ in case only"
    ),
    unreadable(
        "column with a name that is used for reading: `__path`",
        "user_id,item_id,__path\n",
        "has a column __path",
    ),
    unreadable(
        "damaged Parquet file",
        b"PAR1 no",
        "interactions.parquet.*cannot be read",
        name="interactions.parquet",
    ),
    unreadable(
        "Parquet page that does not decompress",
        damaged_page(),
        "ZSTD Decompression failure",
        name="interactions.parquet",
    ),
    unreadable(
        "gzip file with a flipped bit",
        flipped_bit(),
        "not a complete gzip file .CRC check failed",
        name="interactions.csv.gz",
    ),
    unreadable("incomplete gzip file", b"no gzip", "not a complete", name="interactions.csv.gz"),
    unreadable("JSON array", '[{"user_id": 1}]', "is a JSON array", name="interactions.json"),
    unreadable(
        "JSON keys that differ only in case",
        '{"user_id": 1, "item_id": 1, "User_ID": 2}',
        "differ only in case",
        name="interactions.jsonl",
    ),
    unreadable(
        "pattern that fits no file",
        HEADER,
        "fits no file",
        options={"files": {"interactions": "sales*.csv"}},
    ),
    unreadable(
        "condition that cannot be evaluated",
        HEADER + VALID,
        "cannot be evaluated",
        options={"where": {"interactions": "state = 'paid'"}},
    ),
    unreadable(
        "query that cannot be run",
        HEADER,
        "cannot be run",
        options={"queries": {"interactions": "select kunde from 'interactions.csv'"}},
    ),
]


def archive(files: dict[str, bytes]) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, content in files.items():
            target.writestr(name, content)
    return buffer.getvalue()


def parquet_of(**columns: list[object]) -> bytes:
    """A Parquet file of columns."""
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), buffer)
    return bytes(buffer.getvalue().to_pybytes())


TIMES = {
    "hour 25": "2024-01-03 25:00",
    "second 60": "2024-01-03 23:59:60",
    "month 13": "2024-13-01",
    "year of two digits: `03.01.24`": "03.01.24",
    "week of the year: `2024-W01-3`": "2024-W01-3",
    "time of day alone: `10:30`": "10:30",
    "unknown time zone: `10:00 Mars`": "2024-01-03 10:00 Mars",
    "two days in one value": "2024-01-02/2024-01-03",
    "header that is repeated within the file": "occurred_at",
}
AMOUNTS = {
    "percentage": "5%",
    "negative number in brackets: `(5.00)`": "(5.00)",
    "minus behind the number: `5-`": "5-",
    "minus that is no hyphen": "\u22125",
    "fraction: `1/2`": "1/2",
    "hexadecimal number": "0x1F",
    "digits of another script": "\u0663",
    "two decimal points": "1.2.3",
    "formula of a spreadsheet": "=A1+B1",
}
ID = {
    "id `undefined`, `n/a` or `#N/A`": ("undefined", "user_id is empty"),
    "id of blanks": ("\u00a0 ", "user_id is empty"),
    "id with a space without width, or a byte order mark": ("\ufeffu", "control character"),
}
FILES: dict[str, tuple[bytes, str]] = {
    "Excel workbook or zip archive named .csv": (archive({"xl/x.xml": b""}), "an Excel workbook"),
    "Parquet file named .csv": (parquet_of(user_id=["u"]), "a Parquet file: name it .parquet"),
    "gzip file named .csv": (gzip.compress(HEADER.encode()), "name it .gz"),
    "SQLite database named .csv": (b"SQLite format 3\0", "source.kind: sql"),
    "PDF named .csv": (b"%PDF-1.7", "a PDF document"),
    "image named .csv": (b"\x89PNG\r\n", "is an image"),
    "web page named .csv": (b" <!doctype html>", "without signing in"),
    "file of a byte order mark or empty lines alone": (b"\xef\xbb\xbf", "an empty first line"),
    "zero bytes": (bytes(100), "contains zero bytes"),
}
FURTHER = [
    *(event(kind, f"u,i,{time},1", "is not a time") for kind, time in TIMES.items()),
    *(event(kind, f"u,i,2024-01-03,{n}", "is not a number") for kind, n in AMOUNTS.items()),
    *(event(kind, f"{value},i,2024-01-03,1", why) for kind, (value, why) in ID.items()),
    event("serial day of a spreadsheet: `45293`", "u,i,45293,1", "is before 1990-01-01"),
    event("number beyond what a computer holds: `1e400`", "u,i,2024-01-03,1e400", "not finite"),
    event("row of totals", "Total,,,123", "occurred_at is empty"),
    row_of("review of tags alone", REVIEWS, "item_id,text\ni,<br/>\n", "text is empty"),
    value_of("rating as a fraction", REVIEWS, "item_id,text,rating\ni,a,5/5\n", "rating"),
    value_of("birthday of long ago", USERS, "user_id,birthday\nu,1800-01-01\n", "birthday"),
    value_of("price with a currency", ITEMS, "item_id,price\ni,$5\n", "price"),
    *(unreadable(kind, content, message) for kind, (content, message) in FILES.items()),
    unreadable("CSV named .parquet", HEADER, "cannot be read", name="interactions.parquet"),
    unreadable("incomplete zstd file", b"no", "not a complete", name="interactions.csv.zst"),
    unreadable(
        "JSON objects over several lines",
        '{\n"user_id": "u"\n}\n',
        "write one object a line",
        name="interactions.jsonl",
    ),
    unreadable(
        "id that is a structure, a list or bytes",
        parquet_of(user_id=[{"a": 1}], item_id=["i"]),
        "is a STRUCT",
        name="interactions.parquet",
    ),
    unreadable(
        "Parquet file without columns", parquet_of(), "cannot be read", name="interactions.parquet"
    ),
    unreadable(
        "text that is not of its `source.encoding`",
        "K\u00f6ln",
        "is not ascii",
        options={"encoding": "ascii"},
    ),
    unreadable("unknown `source.encoding`", HEADER, "no encoding", options={"encoding": "klingon"}),
    unreadable("damaged zip archive", b"PK", "cannot be unpacked", name="x.zip"),
    unreadable(
        "archive whose files lead out of it: `../x`",
        archive({"../x": b""}),
        "leads out of it",
        name="x.zip",
    ),
    unreadable(
        "condition with a subquery or the current day",
        HEADER,
        "has a subquery",
        options={"where": {"interactions": "user_id in (select 1)"}},
    ),
    unreadable(
        "format without day, month and year",
        HEADER,
        "has no day, month and year",
        options={"formats": {"interactions": {"occurred_at": "%H:%M"}}},
    ),
    unreadable(
        "pattern that leaves the folder",
        HEADER,
        "relative to source.path",
        options={"files": {"interactions": "../x.csv"}},
    ),
    unreadable(
        "column of repeats that there is not",
        HEADER + VALID,
        "there is no column 'nope'",
        options={"deduplicate": {"interactions": {"by": ["nope"]}}},
    ),
    unreadable(
        "map of values of a column that there is not",
        HEADER,
        "is mapped to it",
        options={"values": {"interactions": {"location": {"a": "b"}}}},
    ),
]
KINDS += FURTHER


def documented_kinds() -> dict[str, str]:
    """The table of docs/reference/sources.md: kind of bad input to what happens."""
    text = (ROOT / "docs" / "reference" / "sources.md").read_text(encoding="utf-8")
    section = text.split("## Kinds of bad input")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", section, flags=re.MULTILINE)
    return dict(rows[2:])


@pytest.mark.parametrize("bad", KINDS, ids=lambda bad: bad.kind)
def test_bad_input(tmp_path: Path, bad: BadInput) -> None:
    shop = SourceFolder(tmp_path, **bad.options)
    if bad.table != INTERACTIONS:
        shop.write("interactions.csv", HEADER)
    shop.write(bad.name or f"{bad.table.name}.csv", bad.content)
    days = ["2024-01-01"] if bad.table == PROMOTION_CALENDAR else None
    if bad.outcome == ERROR:
        with pytest.raises(SourceError, match=bad.message):
            shop.ingest(bad.table, days)
        assert not shop.warehouse.path(bad.table, "2024-01-02").exists()
        return
    counts = [result.counts for result in shop.ingest(bad.table, days).values()]
    accepted, refused = sum(c.accepted for c in counts), sum(c.quarantined for c in counts)
    if bad.outcome == REFUSED:
        assert refused == bad.refused
        assert bad.message in shop.reasons()[0]
        assert all(not day.nulled for day in counts)
    else:
        assert (accepted, refused) == (1, 0)
        assert [day.nulled for day in counts if day.nulled] == [{bad.message: 1}]


def test_the_documentation_lists_these_kinds() -> None:
    assert documented_kinds() == {bad.kind: bad.outcome for bad in KINDS}
    assert len(KINDS) >= 100

"""Every line of a damaged file is in a row, in the quarantine, or the ingest stops in one line."""

from __future__ import annotations

import csv
import gzip
import io
import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_predictions.sources.base import SourceError
from batch_predictions.sources.files.content import LineCount, count_lines
from batch_predictions.sources.files.parquet_files import verify_row_count
from batch_predictions_tests.worlds.source_folders import HEADER, SourceFolder, total_counts

COLUMNS = ("user_id", "item_id", "occurred_at", "amount", "note")
NOTES = ("", "plain", 'two "quoted" words', "a, b", "two\nlines", "an empty\n\nline", 'five"inch')

HARMLESS = ("none", "empty lines", "fields")
"""Damages, if any, that no ingest stops for."""


def write_csv(rng: random.Random, rows: int) -> bytes:
    """A file whose notes have quotes, delimiters and line breaks."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=rng.choice(["\n", "\r\n"]))
    writer.writerow(COLUMNS)
    for number in range(rows):
        day = 1 + number % 9
        time = f"2024-01-{day:02d}T10:00:00Z"
        writer.writerow([f"u{number % 7}", f"i{number}", time, number % 5, rng.choice(NOTES)])
    return text.getvalue().encode()


def damage(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """The name of a damage, and a file that has it."""
    at = rng.randrange(len(",".join(COLUMNS)) + 2, len(content))
    kind = rng.choice([*HARMLESS, "quote", "cut", "encoding", "long line", "bytes"])
    if kind == "quote":
        return kind, content[:at] + b'"' + content[at:]
    if kind == "cut":
        return kind, content[:at]
    if kind == "encoding":
        return kind, content[:at] + b"\xe9\xff" + content[at:]
    if kind == "long line":
        return kind, content[:at] + b"x" * 3_000_000 + content[at:]
    if kind == "bytes":
        return kind, content[:at] + content[at + rng.randrange(1, 40) :]
    if kind == "fields":
        # A line of too few fields, and a text after a closing quote.
        end = b"\r\n" if b"\r" in content else b"\n"
        content += b'u,"i"x,2024-01-03,1,' + end
        return kind, content + b"a,line,of four,fields"
    if kind == "empty lines":
        return kind, content + rng.randrange(1, 9) * (b"\r\n" if b"\r" in content else b"\n")
    return kind, content


def parse(content: bytes) -> list[list[str]]:
    """The records of a file by Python's own parser, without the header and empty lines."""
    csv.field_size_limit(1 << 24)
    text = io.StringIO(content.decode(errors="replace"), newline="")
    return [record for record in csv.reader(text) if record][1:]


# With these seeds every damage occurs, with and without gzip.
@pytest.mark.parametrize("seed", range(282, 312))
def test_rows_equal_those_of_another_parser_or_the_ingest_stops(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    kind, content = damage(write_csv(rng, rng.randrange(20, 60)), rng)
    name, written = "interactions.csv", content
    if rng.random() < 0.3:
        name, written = "interactions.csv.gz", gzip.compress(content)
        if rng.random() < 0.5:
            at = rng.randrange(10, len(written))
            written = written[:at] + bytes([written[at] ^ 0x10]) + written[at + 1 :]
            kind = "flipped bit"
    shop = SourceFolder(tmp_path, columns={"interactions": {}}).write(name, written)
    try:
        results = shop.ingest()
    except SourceError as error:
        assert name in str(error) and "\n" not in str(error)
        assert kind not in HARMLESS
        return
    assert kind not in ("flipped bit", "long line")
    records = parse(content)
    read, accepted, _ = total_counts(results)
    assert read == len(records)
    rows = Counter((row["user_id"], row["item_id"]) for row in shop.rows("from raw.interactions"))
    assert sum(rows.values()) == accepted
    assert rows <= Counter((record[0], record[1]) for record in records if len(record) > 1)


def test_an_unclosed_quote_in_a_large_file_stops_the_ingest(tmp_path: Path) -> None:
    lines = [f"u{n % 97},i{n % 31},2024-01-0{1 + n % 9},1\n" for n in range(400_000)]
    lines[100] = f'"{lines[100]}'
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER + "".join(lines))
    with pytest.raises(SourceError, match=r"interactions\.csv, line 102: a quote is opened"):
        shop.ingest()


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("megabytes", [3, 34])
def test_a_line_longer_than_any_buffer_stops_the_ingest(
    tmp_path: Path, megabytes: int, suffix: str
) -> None:
    note = "x" * (megabytes << 20)
    if suffix == "csv":
        content = f"{HEADER}u,i,2024-01-03,1\n{note},i,2024-01-03,1\nu,j,2024-01-03,1\n"
        line = 3
    else:
        row = '{"user_id": "u", "item_id": "i", "occurred_at": "2024-01-03", "note": "%s"}\n'
        content, line = row % "" + row % note + row % "", 2
    shop = SourceFolder(tmp_path).write(f"interactions.{suffix}", content)
    with pytest.raises(SourceError, match=f"line {line}: the line is longer than 2 MB"):
        shop.ingest()


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (b"", LineCount(0, 0)),
        (b"a", LineCount(1, 0)),
        (b"a\n", LineCount(1, 0)),
        (b"\na\n\n\n", LineCount(4, 3)),
        (b"a\r\n\r\n\r\nb", LineCount(4, 2)),
        (b"\r\na\n", LineCount(2, 1)),
    ],
)
def test_lines_are_counted(tmp_path: Path, content: bytes, count: LineCount) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    assert count_lines(path, path.name) == count


@pytest.mark.parametrize("before_end", range(5))
def test_lines_are_counted_across_the_blocks_of_a_read(tmp_path: Path, before_end: int) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a" * ((4 << 20) - before_end) + b"\r\n\r\n\nb\n")
    assert count_lines(path, path.name) == LineCount(4, 2)


def test_rows_of_parquet_are_compared_with_the_footer(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"user_id": ["u", "v"]}), path)
    verify_row_count(path, path.name, 2)
    with pytest.raises(SourceError, match=r"a\.parquet has 2 rows, but 1 were read"):
        verify_row_count(path, path.name, 1)


def lines_of_days(lines: int, *, ending: str = "\n") -> str:
    return "".join(
        f"u{n % 97},i{n % 31},2024-01-0{1 + n % 9}T10:00:00Z,12.50{ending}" for n in range(lines)
    )


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("column", ["user_id", "note"])
def test_two_stray_quotes_that_swallow_rows_stop_the_ingest(
    tmp_path: Path, column: str, ending: str
) -> None:
    rows = lines_of_days(4000, ending=",plain\n").splitlines()
    rows[4] = '"a note of ""two""\nlines",i,2024-01-03T10:00:00Z,1,x'
    for number in (100, 3100):
        user, rest = rows[number].split(",", 1)
        quoted = {
            # Opened at the start of a value, and closed at the end of one.
            "user_id": (f'"{user},{rest}', f'{user}",{rest}'),
            "note": (f'{user},{rest.removesuffix("plain")}"plain', f'{user},{rest}"'),
        }
        rows[number] = quoted[column][number > 100]
    text = ending.join([HEADER.strip() + ",note", *rows, ""])
    shop = SourceFolder(tmp_path).write("interactions.csv", text)
    # The header, and a value of two lines, are before it.
    with pytest.raises(
        SourceError,
        match=r"interactions\.csv, line 103: a quote is opened here and "
        f"closed 3,000 lines later, .* value of '{column}'",
    ):
        shop.ingest()


def test_texts_of_many_lines_are_values(tmp_path: Path) -> None:
    note = "\n".join(["first, second", "a line", "", "one, two, three, four, five"] * 50)
    row = f'u,i,2024-01-03,1,"{note}"\n'
    shop = SourceFolder(tmp_path)
    shop.write("interactions.csv", HEADER.strip() + ",note\n" + row * 3)
    assert total_counts(shop.ingest()) == (3, 3, 0)


@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
@pytest.mark.parametrize(
    "cut",
    [
        "u,i",
        "u",
        "u,i,2024-01-09",
        'u,i,"2024-',
        "u,i,2024-01-09T10:00:00Z,1",
        "u,i,2024-01-09T10:00:00Z,12.5",
        "u,i,2024-01-09T10:00:00Z,",
    ],
)
def test_a_line_that_is_cut_off_is_named_and_quarantined(
    tmp_path: Path, cut: str, suffix: str
) -> None:
    content = (HEADER + lines_of_days(90) + cut).encode()
    name = f"interactions.{suffix}"
    shop = SourceFolder(tmp_path)
    shop.write(name, gzip.compress(content) if suffix.endswith("gz") else content)
    assert total_counts(shop.ingest()) == (91, 90, 1)
    reason = f"{name} is cut off in its last line, no. 92: deliver the complete file again"
    [row] = shop.rows("select source, row_number, reason from raw.quarantine")
    assert row == {"source": name, "row_number": 91, "reason": reason}


def test_a_cut_off_line_of_json_is_named(tmp_path: Path) -> None:
    row = '{"user_id": "u", "item_id": "i", "occurred_at": "2024-01-03"}\n'
    shop = SourceFolder(tmp_path).write("interactions.jsonl", row * 3 + row[:-9])
    assert total_counts(shop.ingest()) == (4, 3, 1)
    assert shop.reasons() == [
        "interactions.jsonl is cut off in its last line, no. 4: deliver the complete file again"
    ]


@pytest.mark.parametrize(
    "last",
    ["u,i,2024-01-09T10:00:00Z,12.50", "u,i,2024-01-09T10:00:00Z,112.55", "u,i,x,1.50", "\n"],
)
def test_a_last_line_without_a_break_may_be_complete(tmp_path: Path, last: str) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER + lines_of_days(90) + last)
    shop.ingest()
    assert not any("cut off" in reason for reason in shop.reasons())


@pytest.mark.parametrize("decimals", [1, 0])
def test_a_short_last_number_is_complete_where_the_others_differ(
    tmp_path: Path, decimals: int
) -> None:
    rows = "".join(
        f"u,i,2024-01-03,{10 + n}{'.5' * decimals}{'5' * (decimals * n % 3)}\n" for n in range(60)
    )
    shop = SourceFolder(tmp_path).write("interactions.csv", f"{HEADER}{rows}u,i,2024-01-03,7")
    assert total_counts(shop.ingest()) == (61, 61, 0)


def test_a_time_that_is_cut_off_is_no_earlier_day(tmp_path: Path) -> None:
    header = "user_id,item_id,amount,occurred_at\n"
    rows = "".join(f"u,i,1,2024-01-{1 + n % 9:02d}\n" for n in range(60))
    shop = SourceFolder(tmp_path).write("interactions.csv", f"{header}{rows}u,i,1,2024-01-0")
    assert total_counts(shop.ingest()) == (61, 60, 1) and "cut off" in shop.reasons()[0]

"""Paths as SQL: a path fits the file that it names, whatever characters it has."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_predictions.warehouse.path_sql import (
    escape_pattern,
    join_pattern,
    quote_files,
    quote_pattern,
)
from batch_predictions_tests.worlds.properties import ONE_FIXTURE_FOR_ALL

NAMES = ["plain", "we[i]rd *home?", "q'uo\"te %20 x", "a]b", "[", "[!a]", "**", "{a,b}", "~", "ü#"]
READERS = {"read_parquet": "data.parquet", "read_csv": "rows.csv", "read_json": "rows.json"}


def write_files(folder: Path) -> None:
    """The same row in each format below `date=2026-11-24`."""
    day = folder / "date=2026-11-24"
    day.mkdir(parents=True)
    duckdb.connect().sql("select 1 as a").write_parquet(str(day / "data.parquet"))
    (day / "rows.csv").write_text("a\n1\n", encoding="utf-8")
    (day / "rows.json").write_text('{"a": 1}\n', encoding="utf-8")


@pytest.mark.parametrize("reader", READERS)
def test_each_path_reads_its_own_file(tmp_path: Path, reader: str) -> None:
    for name in NAMES:
        write_files(tmp_path / name)
    for name in NAMES:
        path = tmp_path / name / "date=2026-11-24" / READERS[reader]
        pattern = quote_pattern(tmp_path / name, f"date=*/{READERS[reader]}")
        for literal in (quote_files([path]), pattern):
            rows = duckdb.execute(f"select p from {reader}({literal}, filename = 'p')").fetchall()
            assert rows == [(str(path),)], name
        bound = [escape_pattern(path)]
        assert duckdb.execute(f"select a from {reader}(?)", bound).fetchall() == [(1,)], name
        found = [join_pattern(tmp_path / name, f"date=*/{READERS[reader]}")]
        assert duckdb.execute("from glob(?)", found).fetchall() == [(str(path),)], name


@settings(max_examples=100, suppress_health_check=ONE_FIXTURE_FOR_ALL)
@given(st.text("ab*?[]!-^'\" %{},", min_size=1, max_size=8))
def test_a_name_of_wildcards_fits_itself_alone(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "names"
    folder.mkdir(exist_ok=True)
    for other in ("a", "b", "ab", name):
        (folder / other).write_text("a\n1\n", encoding="utf-8")
    found = duckdb.execute("from glob(?)", [escape_pattern(folder / name)]).fetchall()
    assert found == [(str(folder / name),)]


def test_a_backslash_in_a_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match="backslash"):
        join_pattern(Path("/a\\b"), "*.csv")
    with pytest.raises(ValueError, match="backslash"):
        escape_pattern(Path("/a\\b/[1].csv"))
    assert escape_pattern(Path("/a\\b/1.csv")) == "/a\\b/1.csv"

"""Rows on the standard output."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from batch_predictions.cli.console.printing import print_rows

ROWS = [{"name": "a", "share": 0.5, "day": dt.date(2024, 3, 1)}, {"name": "bc", "share": 12.25}]


def test_rows_are_json_or_aligned_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, as_json=True)
    assert json.loads(capsys.readouterr().out) == [{**ROWS[0], "day": "2024-03-01"}, ROWS[1]]
    print_rows([{**row, "day": None} for row in ROWS], as_json=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip(" ─")]
    assert lines == [["name", "share", "day"], ["a", "0.5000"], ["bc", "12.2500"]]


def test_no_rows_are_an_empty_list_or_said_on_the_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_rows([], as_json=True)
    print_rows([], as_json=False)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("[]\n", "none\n")

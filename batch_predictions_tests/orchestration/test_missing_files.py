"""A file that is missing is asked about until it is back."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from batch_predictions_tests.worlds.tiny_home import TinyHome
from batch_predictions_tests.worlds.tiny_platform import tiny_platform as tiny_platform
from batch_predictions_tests.worlds.tiny_platform import write_day

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny_platform")]
MONDAY = dt.date(2024, 3, 4)


def test_once_a_missing_file_is_back_the_run_stops_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    for number in range(7):
        write_day(source, MONDAY + dt.timedelta(days=number))
    home = TinyHome(tmp_path / "home", source, monkeypatch)
    home.run()
    released, path = home.released(), source / "interactions" / "2024-03-06.csv"
    path.rename(tmp_path / path.name)
    assert home.command(capsys)[0] == home.command(capsys)[0] == 1
    assert "lost_rows:interactions" in home.problems()
    (tmp_path / path.name).rename(path)
    assert home.command(capsys)[0] == home.command(capsys)[0] == 0
    assert "lost_rows:interactions" not in home.problems() and home.released() == released

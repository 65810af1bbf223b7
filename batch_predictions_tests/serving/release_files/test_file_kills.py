"""An exporter and a serving process are killed before each of their file operations."""

from __future__ import annotations

import datetime as dt
import itertools
import shutil
from pathlib import Path

import pytest

from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.release_files.export import export_release
from batch_predictions.serving.release_files.folder import LOCK_NAME
from batch_predictions.serving.release_files.release_source import ReleaseFiles
from batch_predictions.serving.store.snapshot import ReadStore
from batch_predictions.serving.store.store import store_url
from batch_predictions_tests.worlds.kills import kill_at
from batch_predictions_tests.worlds.serving import DAY, open_world

pytestmark = pytest.mark.slow

DAYS = 3


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """A store, a folder without the export of its newest day, and one with all exports."""
    home = tmp_path_factory.mktemp("kills")
    world = open_world(home / "home")
    url = store_url(world.settings)
    for number in range(DAYS):
        world.release(DAY + dt.timedelta(days=number), f"v{number}x")
        if number == DAYS - 1:
            shutil.copytree(home / "after", home / "before")
        export(url, home / "after")
    world.store.close()
    return url, home / "before", home / "after"


def export(url: str, folder: Path) -> None:
    """Exports the current release; two stay, so that the third export removes one."""
    with ReadStore(url) as store:
        export_release(store, folder, "UTC", {}, keep=2)


def serve(folder: Path, copies: Path) -> None:
    """Serves the newest file from a copy, with a lookup."""
    with ReleaseFiles(folder, copy_to=copies, poll_seconds=None) as files:
        Lookup(files).recommendations("u1")


def served_day(files: ReleaseFiles) -> int:
    """The day that is served, from answers of one whole release."""
    answer = Lookup(files).recommendations("u1")
    day = (dt.date.fromisoformat(answer["as_of"]) - DAY).days
    assert answer["model_version"] == f"als-v{day}x" and len(answer["items"]) == 4
    assert len(Lookup(files).rows("recommendations")) == 12
    return day


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != LOCK_NAME}


def test_an_exporter_that_is_killed_anywhere_leaves_a_whole_release(
    shop: tuple[str, Path, Path], tmp_path: Path
) -> None:
    url, before, after = shop
    days = []
    for number in itertools.count(1):
        folder = tmp_path / f"files-{number}"
        shutil.copytree(before, folder)
        with ReleaseFiles(folder, poll_seconds=None) as files:
            was_killed = kill_at(number, export, url, folder)
            files.look()
            assert files.status.refused == 0
            days.append(served_day(files))
            with ReleaseFiles(folder, poll_seconds=None) as started_now:
                assert served_day(started_now) == days[-1]
        export(url, folder)
        assert contents(folder) == contents(after)
        if not was_killed:
            break
    assert days == sorted(days) and set(days) == {DAYS - 2, DAYS - 1}
    assert len(days) > 10


def test_a_service_that_is_killed_anywhere_starts_again(
    shop: tuple[str, Path, Path], tmp_path: Path
) -> None:
    _, before, after = shop
    for number in itertools.count(1):
        copies = tmp_path / f"copies-{number}"
        with ReleaseFiles(before, copy_to=copies, poll_seconds=None):
            pass
        was_killed = kill_at(number, serve, after, copies)
        with ReleaseFiles(after, copy_to=copies, poll_seconds=None) as files:
            assert served_day(files) == DAYS - 1
            assert files.status.refused == 0
        with ReleaseFiles(tmp_path / "none", copy_to=copies, poll_seconds=None) as files:
            assert served_day(files) == DAYS - 1
        assert not list(copies.glob(".draft-*"))
        if not was_killed:
            break
    assert number > 5

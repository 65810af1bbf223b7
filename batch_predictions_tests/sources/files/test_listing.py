"""A folder's files are listed again when they may have changed, and only then."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from batch_predictions.sources.base import SourceError
from batch_predictions.sources.files import listing
from batch_predictions.sources.files.listing import MAX_AGE_NS, RACY_NS, list_files

LONG_AGO = time.time_ns() - 10 * RACY_NS


class Reads:
    """Counts the folders that are read."""

    def __init__(self) -> None:
        self.number = 0

    def scandir(self, folder: str) -> object:
        self.number += 1
        return os.scandir(folder)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    reads = Reads()
    monkeypatch.setattr(listing, "os", reads)
    return reads


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, one of them in a folder, which were written long ago."""
    for name in ("b.csv", "a/c.csv"):
        path = tmp_path / "orders" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    make_old(tmp_path / "orders")
    return tmp_path / "orders"


def make_old(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.utime(path, ns=(LONG_AGO, LONG_AGO))


def names(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in list_files(folder)]


def test_visible_files_are_listed_by_name(folder: Path, tmp_path: Path) -> None:
    for name in (".hidden.csv", "_SUCCESS", "_temporary/x.csv", "a-b.csv", "a/d/e.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "z.csv").touch()
    (folder / "linked.csv").symlink_to(tmp_path / "elsewhere" / "z.csv")
    (folder / "broken.csv").symlink_to(tmp_path / "nowhere")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    assert names(folder) == ["a/c.csv", "a/d/e.csv", "a-b.csv", "b.csv", "linked.csv"]
    assert list_files(folder) == tuple(sorted(list_files(folder)))


def test_a_folder_is_read_once_while_nothing_changes(folder: Path, reads: Reads) -> None:
    for _ in range(3):
        assert names(folder) == ["a/c.csv", "b.csv"]
    assert reads.number == 2, "the folder and the one in it"


def test_new_and_removed_files_are_seen_at_once(folder: Path) -> None:
    assert names(folder) == ["a/c.csv", "b.csv"]
    (folder / "a" / "d.csv").touch()
    assert names(folder) == ["a/c.csv", "a/d.csv", "b.csv"]
    make_old(folder)
    assert len(names(folder)) == 3
    (folder / "b.csv").unlink()
    assert names(folder) == ["a/c.csv", "a/d.csv"]


def test_a_folder_that_has_just_changed_is_read_again(folder: Path, reads: Reads) -> None:
    """A further file may get the same time of change as the one before it."""
    (folder / "d.csv").touch()
    for _ in range(3):
        assert names(folder) == ["a/c.csv", "b.csv", "d.csv"]
    assert reads.number == 6


def test_what_a_link_leads_to_may_vanish(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "target.csv").touch()
    (folder / "linked.csv").symlink_to(tmp_path / "target.csv")
    os.utime(folder, ns=(LONG_AGO, LONG_AGO))
    assert "linked.csv" in names(folder)
    (tmp_path / "target.csv").unlink()
    assert "linked.csv" not in names(folder)


def test_folders_that_keep_their_time_are_read_again_soon(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some network folders do when a file is added."""
    assert names(folder) == ["a/c.csv", "b.csv"]
    (folder / "d.csv").touch()
    os.utime(folder, ns=(LONG_AGO, LONG_AGO))
    assert names(folder) == ["a/c.csv", "b.csv"]
    later = time.time_ns() + MAX_AGE_NS
    monkeypatch.setattr(time, "time_ns", lambda: later)
    assert names(folder) == ["a/c.csv", "b.csv", "d.csv"]


def test_a_clock_that_is_set_back_keeps_no_list(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert names(folder) == ["a/c.csv", "b.csv"]
    (folder / "d.csv").touch()
    os.utime(folder, ns=(LONG_AGO, LONG_AGO))
    monkeypatch.setattr(time, "time_ns", lambda: LONG_AGO)
    assert names(folder) == ["a/c.csv", "b.csv", "d.csv"]


def test_a_folder_that_cannot_be_read_is_an_error(
    folder: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> object:
        if name.endswith("/a"):
            raise PermissionError(13, "Permission denied")
        return os.scandir(name)

    monkeypatch.setattr(reads, "scandir", refuse)
    with pytest.raises(SourceError, match="orders/a cannot be read: Permission denied"):
        list_files(folder)


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert list_files(tmp_path / "nowhere") == ()

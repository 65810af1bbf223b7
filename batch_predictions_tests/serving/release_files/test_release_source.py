"""Lookups from files: swaps, damage, removal, copies; a reader sees one complete release."""

from __future__ import annotations

import datetime as dt
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from batch_predictions.serving.lookup import Lookup, NoReleaseError
from batch_predictions.serving.release_files.export import export_release
from batch_predictions.serving.release_files.folder import (
    FORMAT_VERSION,
    list_manifests,
    read_manifest,
    remove_export,
)
from batch_predictions.serving.release_files.release_source import ReleaseFiles
from batch_predictions.serving.store.pointer import ReleaseRemovedError
from batch_predictions.serving.store.snapshot import ReadStore
from batch_predictions.serving.store.store import store_url
from batch_predictions_tests.worlds.serving import DAY, open_world

EXPORTS = 6


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the exports of some days."""
    home = tmp_path_factory.mktemp("exports")
    world = open_world(home / "home")
    for number in range(EXPORTS):
        world.release(DAY + dt.timedelta(days=number), f"v{number}x")
        with ReadStore(store_url(world.settings)) as store:
            export_release(store, home / "files", "UTC", {}, keep=EXPORTS)
    world.store.close()
    return home / "files"


@pytest.fixture
def place(exports: Path, tmp_path: Path) -> Callable[[int], Path]:
    """Copies the export of a day to the folder `files`, as an exporter does; the manifest."""
    folder = tmp_path / "files"

    def place_day(number: int) -> Path:
        folder.mkdir(exist_ok=True)
        manifest = list_manifests(exports)[EXPORTS - 1 - number]
        for path in (manifest.with_suffix(".sqlite"), manifest):
            shutil.copyfile(path, folder / "draft")
            (folder / "draft").rename(folder / path.name)
        return folder / manifest.name

    return place_day


def served_day(files: ReleaseFiles) -> int:
    """The number of the day that is served, from an answer of one release."""
    answer = Lookup(files).recommendations("u1")
    day = (dt.date.fromisoformat(answer["as_of"]) - DAY).days
    assert answer["model_version"] == f"als-v{day}x"
    assert all(item["item_id"].startswith(f"v{day}x") for item in answer["items"])
    return day


def truncate(manifest: Path) -> None:
    file = manifest.with_suffix(".sqlite")
    file.write_bytes(file.read_bytes()[:-4096])


def flip_a_bit(manifest: Path) -> None:
    file = manifest.with_suffix(".sqlite")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def remove_the_file(manifest: Path) -> None:
    manifest.with_suffix(".sqlite").unlink()


def cut_the_manifest(manifest: Path) -> None:
    manifest.write_bytes(manifest.read_bytes()[:100])


def empty_the_manifest(manifest: Path) -> None:
    manifest.write_bytes(b"")


def set_a_newer_format(manifest: Path) -> None:
    changed = read_manifest(manifest).model_copy(update={"format_version": FORMAT_VERSION + 1})
    manifest.write_text(changed.model_dump_json())


def name_another_release(manifest: Path) -> None:
    content = read_manifest(manifest)
    tables = {"recommendations": content.tables["recommendations"]}
    manifest.write_text(content.model_copy(update={"tables": tables}).model_dump_json())


DAMAGES: list[Callable[[Path], None]] = [
    truncate,
    flip_a_bit,
    remove_the_file,
    cut_the_manifest,
    empty_the_manifest,
    set_a_newer_format,
    name_another_release,
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("with_copies", [False, True])
def test_a_damaged_file_is_refused_and_the_older_one_serves(
    place: Callable[[int], Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    with_copies: bool,
) -> None:
    folder = tmp_path / "files"
    copies = tmp_path / "copies" if with_copies else None
    place(0)
    with ReleaseFiles(folder, copy_to=copies, poll_seconds=None) as files:
        damage(place(1))
        for _ in range(3):
            files.look()
            assert served_day(files) == 0
        assert (files.status.refused, files.status.is_readable) == (1, True)
        assert files.status.problem and str(tmp_path) not in files.status.problem
        assert len([r for r in caplog.records if "refused" in r.getMessage()]) == 1
        with ReleaseFiles(folder, copy_to=copies, poll_seconds=None) as restarted:
            assert served_day(restarted) == 0
        place(2)
        files.look()
        assert served_day(files) == 2 and files.status.refused == 0


def test_two_files_stay_open_and_a_page_of_the_one_before_is_read(
    place: Callable[[int], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    with ReleaseFiles(folder, poll_seconds=None) as files:
        with pytest.raises(NoReleaseError):
            Lookup(files).recommendations("u1")
        assert files.releases() == []
        ids = []
        for number in range(3):
            ids.append(read_manifest(place(number)).release_id)
            files.look()
            assert served_day(files) == number
        assert files.read(lambda _, served: served.release_id, ids[1]) == ids[1]
        with pytest.raises(ReleaseRemovedError):
            files.read(lambda _, served: served, ids[0])
        versions = [files.read(lambda _, served: served.version, i) for i in ids[1:]]
        assert versions[0] < versions[1]


def test_a_read_goes_on_while_its_file_is_removed_and_replaced(
    place: Callable[[int], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    first = place(0)
    with ReleaseFiles(folder, poll_seconds=None) as files:

        def swap_twice_meanwhile(lookup: Lookup) -> tuple[str, int]:
            before = lookup.recommendations("u1")["as_of"]
            for number in (1, 2):
                place(number)
                files.look()
            remove_export(first)
            files.look()
            assert len(lookup.rows("recommendations")) == 12
            assert lookup.recommendations("ann")["as_of"] == before
            return before, served_day(files)

        assert Lookup(files).in_one_snapshot(swap_twice_meanwhile) == (DAY.isoformat(), 2)


def test_a_file_that_the_exporter_removed_is_closed_but_an_absent_folder_closes_nothing(
    place: Callable[[int], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    manifests = [place(number) for number in range(2)]
    before = read_manifest(manifests[0]).release_id
    with ReleaseFiles(folder, poll_seconds=None) as files:
        files.look()
        folder.rename(tmp_path / "unmounted")
        folder.mkdir()
        files.look()
        assert served_day(files) == 1
        folder.rmdir()
        (tmp_path / "unmounted").rename(folder)
        place(2)
        files.look()
        assert files.read(lambda _, served: served.as_of, read_manifest(manifests[1]).release_id)
        remove_export(manifests[1])
        files.look()
        with pytest.raises(ReleaseRemovedError):
            files.read(lambda _, served: served, before)
        with pytest.raises(ReleaseRemovedError):
            files.read(lambda _, served: served, f"{DAY + dt.timedelta(days=1)}-00000000")
        assert served_day(files) == 2


def test_copies_serve_while_the_folder_is_away_and_old_ones_are_removed(
    place: Callable[[int], Path], tmp_path: Path
) -> None:
    folder, copies = tmp_path / "files", tmp_path / "copies"
    with ReleaseFiles(folder, copy_to=copies, poll_seconds=None) as files:
        for number in range(4):
            place(number)
            files.look()
            assert len(list_manifests(copies)) == min(number + 1, 2)
        # As a process leaves it that was killed while it copied.
        (copies / ".draft-dead.sqlite").write_bytes(b"half")
        place(4)
        files.look()
        assert len(list(copies.iterdir())) == 4
    shutil.rmtree(folder)
    with ReleaseFiles(folder, copy_to=copies, poll_seconds=None) as files:
        assert served_day(files) == 4


def test_a_thread_follows_the_folder(place: Callable[[int], Path], tmp_path: Path) -> None:
    folder = tmp_path / "files"
    place(0)
    with ReleaseFiles(folder, poll_seconds=0.01) as files:
        place(1)
        for _ in range(6_000):
            if served_day(files) == 1:
                break
            threading.Event().wait(0.01)
        assert served_day(files) == 1


def test_eight_readers_see_no_mixed_answer_and_no_error(
    place: Callable[[int], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    place(0)
    problems: list[BaseException] = []
    seen: set[int] = set()
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                seen.add(served_day(files))
                stop.wait(0.001)
        except BaseException as error:  # Every error is a problem.
            problems.append(error)

    with ReleaseFiles(folder, poll_seconds=None) as files:
        readers = [threading.Thread(target=read) for _ in range(8)]
        for reader in readers:
            reader.start()
        for number in range(1, EXPORTS):
            place(number)
            files.look()
            while number not in seen and not problems:
                stop.wait(0.001)
        stop.set()
        for reader in readers:
            reader.join()
    assert not problems, problems[0]
    assert seen == set(range(EXPORTS))

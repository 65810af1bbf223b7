"""Release files in an object store: uploads that stop anywhere, downloads, erasures."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batch_predictions.core import object_store
from batch_predictions.core.erasures import ErasedKeys
from batch_predictions.serving.erasure.release_file_erasure import erase_from_location
from batch_predictions.serving.http.service import _open_source
from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.release_files.destinations import (
    export_current,
    export_current_as_parquet,
)
from batch_predictions.serving.release_files.folder import ReleaseFileError, list_manifests
from batch_predictions.serving.release_files.release_source import ReleaseFiles
from batch_predictions.serving.release_files.remote import (
    RemoteFolder,
    RemoteFolderError,
    local_folder,
)
from batch_predictions.settings import HttpSettings, ServingSettings
from batch_predictions_tests.worlds.serving import DAY, ServingWorld, open_world

obstore = pytest.importorskip("obstore", reason="the extra objectstore is not installed")
URL = "s3://bucket/releases"
SECRET = "secret-key-of-the-test"


@pytest.fixture
def world(tmp_path: Path) -> Any:
    opened = open_world(tmp_path / "home")
    kept = {"serving": ServingSettings(keep_releases=2)}
    yield dataclasses.replace(opened, settings=opened.settings.model_copy(update=kept))
    opened.store.close()


@pytest.fixture
def objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the objects below `URL`."""
    folder = tmp_path / "objects"
    use_folder(monkeypatch, folder)
    return folder


def use_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    from obstore.store import LocalStore

    monkeypatch.setattr(
        object_store, "open_object_store", lambda url: LocalStore(prefix=folder, mkdir=True)
    )


def release(world: ServingWorld, number: int) -> None:
    world.release(DAY + dt.timedelta(days=number), f"v{number}x")


def served_day(files: ReleaseFiles) -> int:
    answer = Lookup(files).recommendations("u1")
    day = (dt.date.fromisoformat(answer["as_of"]) - DAY).days
    assert answer["model_version"] == f"als-v{day}x" and len(answer["items"]) == 4
    return day


def serving(copies: Path) -> ReleaseFiles:
    return ReleaseFiles(copies, remote=RemoteFolder(URL), poll_seconds=None)


def test_the_newest_release_is_downloaded_and_two_stay(
    world: ServingWorld, objects: Path, tmp_path: Path
) -> None:
    release(world, 0)
    assert export_current(world.settings, URL).is_new
    assert not export_current(world.settings, URL).is_new
    copies = tmp_path / "copies"
    with serving(copies) as files:
        assert served_day(files) == 0 and files.status.is_readable
        for number in (1, 2, 3):
            release(world, number)
            assert export_current(world.settings, URL).is_new
            files.look()
            assert served_day(files) == number
            for folder in (objects, copies):
                exported = list_manifests(folder)
                assert len(exported) == 2
                assert {path.stem for path in folder.glob("*.sqlite")} == {
                    path.stem for path in exported
                }
    assert not list(world.settings.home.glob(".release-export-*"))


def test_an_exporter_that_stops_anywhere_leaves_a_whole_release(
    world: ServingWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, days = tmp_path / "before", []
    use_folder(monkeypatch, before)
    for number in range(3):
        release(world, number)
        if number < 2:
            export_current(world.settings, URL)
    for stop in itertools.count():
        folder = tmp_path / f"objects-{stop}"
        shutil.copytree(before, folder)
        # What a killed exporter of before has left.
        (folder / "000000000500-2024-01-01-0a0a0a0a.sqlite").write_bytes(b"half")
        with monkeypatch.context() as patch:
            use_folder(patch, folder)
            operations = itertools.count()
            for name in ("put", "delete"):
                patch.setattr(obstore, name, stopping(getattr(obstore, name), operations, stop))
            try:
                export_current(world.settings, URL)
                is_done = True
            except InterruptedError:
                is_done = False
        use_folder(monkeypatch, folder)
        with serving(tmp_path / f"copies-{stop}") as files:
            days.append(served_day(files))
            assert files.status.refused == 0
        export_current(world.settings, URL)
        assert {path.stem for path in folder.iterdir()} == {p.stem for p in list_manifests(folder)}
        with serving(tmp_path / f"copies-{stop}") as files:
            assert served_day(files) == 2
        if is_done:
            break
    assert days == sorted(days) and set(days) == {1, 2} and len(days) > 4


def stopping(function: Callable[..., Any], operations: Any, stop: int) -> Callable[..., Any]:
    """The function, which fails from the n-th operation on."""

    def call(*arguments: Any, **options: Any) -> Any:
        if next(operations) >= stop:
            raise InterruptedError
        return function(*arguments, **options)

    return call


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing", "manifest"])
def test_a_damaged_export_is_refused_and_the_older_one_served(
    world: ServingWorld, objects: Path, tmp_path: Path, damage: str
) -> None:
    for number in range(2):
        release(world, number)
        export_current(world.settings, URL)
    newest = list_manifests(objects)[0]
    file = newest.with_suffix(".sqlite")
    content = file.read_bytes()
    if damage == "truncated":
        file.write_bytes(content[:-4096])
    elif damage == "changed":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "missing":
        file.unlink()
    else:
        newest.write_text("{")
    with serving(tmp_path / "copies") as files:
        assert served_day(files) == 0
        assert files.status.refused == 1 and files.status.problem
        assert SECRET not in files.status.problem
        assert not list((tmp_path / "copies").glob(".draft-*"))
        export_current(world.settings, URL)
        files.look()
        if damage != "changed":  # An exporter does not read what it has written.
            assert served_day(files) == 1 and files.status.refused == 0


def test_a_store_that_cannot_be_reached_changes_nothing(
    world: ServingWorld, objects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(world, 0)
    export_current(world.settings, URL)
    copies = tmp_path / "copies"

    def fail(*_: Any) -> Any:
        raise OSError(f"no route to https://me:{SECRET}@host")

    with serving(copies) as files:
        monkeypatch.setattr(RemoteFolder, "names", lambda _: fail())
        files.look()
        assert served_day(files) == 0 and not files.status.is_readable
        with serving(copies) as started_now:
            assert served_day(started_now) == 0 and not started_now.status.is_readable
        monkeypatch.setattr(RemoteFolder, "names", lambda _: {})
        files.look()
        assert served_day(files) == 0 and len(list_manifests(copies)) == 1


def test_users_are_erased_from_objects_and_copies(
    world: ServingWorld, objects: Path, tmp_path: Path
) -> None:
    release(world, 0)
    export_current(world.settings, URL)
    export_current_as_parquet(world.settings, URL)
    release(world, 1)
    export_current(world.settings, URL)
    copies = tmp_path / "copies"
    with serving(copies) as files:
        assert Lookup(files).recommendations("u1")["source"] == "personal"
        keys = ErasedKeys(lambda user: user == "u1", frozenset({"u1"}))
        assert erase_from_location(world.settings, URL, keys) == 3
        files.look()
        assert Lookup(files).recommendations("u1")["source"] != "personal"
        assert Lookup(files).recommendations("u2")["source"] == "personal"
        assert len(list_manifests(objects)) == 2 and len(list_manifests(copies)) == 1
        assert not list(objects.rglob("*.parquet")) + list(objects.rglob("manifest.json"))
    assert erase_from_location(world.settings, URL, keys) == 0


def test_locations(tmp_path: Path) -> None:
    assert local_folder("/mnt/x") == local_folder("file:///mnt/x") == Path("/mnt/x")
    assert local_folder("releases") == Path("releases")
    assert local_folder(URL) is None
    for location, problem in (
        ("ftp://host/x", "cannot be at a URL ftp"),
        ("file://host/x", "cannot be at a URL file"),
        ("s3://", "cannot be at a URL s3"),
        (f"s3://me:{SECRET}@bucket/x", "user name"),
        (f"az://container/x?sig={SECRET}", "query"),
    ):
        with pytest.raises(ReleaseFileError, match=problem) as caught:
            local_folder(location)
        assert SECRET not in str(caught.value)


def test_a_service_follows_a_bucket(
    world: ServingWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto_server = pytest.importorskip("moto.server", reason="moto is not installed")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    created = urllib.request.Request(f"http://{host}:{port}/bucket", method="PUT")
    urllib.request.urlopen(created).close()
    http = HttpSettings(release_dir=URL, release_poll_seconds=3600)
    machine = world.settings.model_copy(update={"home": tmp_path / "machine", "http": http})
    try:
        release(world, 0)
        exported = export_current(world.settings, URL)
        assert str(exported.path) == f"{URL}/{exported.manifest.file}"
        parquet = export_current_as_parquet(world.settings, URL)
        assert str(parquet.path) == f"{URL}/{parquet.manifest.release_id}"
        source = _open_source(machine)
        assert isinstance(source, ReleaseFiles)
        with source:
            assert served_day(source) == 0
            release(world, 1)
            export_current(world.settings, URL)
            source.look()
            assert served_day(source) == 1
        assert len(list_manifests(tmp_path / "machine" / "release_copies")) == 2
        with pytest.raises(RemoteFolderError, match="cannot be listed") as caught:
            export_current(world.settings, "s3://no-such-bucket/x")
        assert SECRET not in str(caught.value)
    finally:
        server.stop()

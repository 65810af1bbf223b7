"""A release as a file: its rows, its manifest, equal bytes for equal rows, bounded number."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from batch_predictions.cli.command_line import make_app
from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.release.release_records import rollback
from batch_predictions.serving.release.sign_ups import add_sign_ups
from batch_predictions.serving.release_files.destinations import export_current
from batch_predictions.serving.release_files.folder import (
    ReleaseFileError,
    exclusive_folder,
    list_manifests,
    read_manifest,
    verify_bytes,
)
from batch_predictions.serving.release_files.release_source import ReleaseFiles
from batch_predictions.serving.store.pointer import NoReleaseError
from batch_predictions_tests.worlds.http_service import publish_all
from batch_predictions_tests.worlds.serving import DAY, ServingWorld, open_world


def test_a_file_has_the_rows_of_the_release_and_its_manifest_says_so(
    world: ServingWorld, tmp_path: Path
) -> None:
    publish_all(world)
    add_sign_ups(world.store, [{"user_id": "new", "gender": "F", "signed_up_on": "2024-03-04"}])
    export = export_current(world.settings, tmp_path / "files")
    manifest = read_manifest(tmp_path / "files" / export.manifest.name)
    assert isinstance(export.path, Path)
    verify_bytes(export.path, manifest)
    assert manifest.tables["recommendations"].rows == 12
    assert manifest.tables["item_sentiments"].as_of == dt.date(2024, 2, 26)
    assert manifest.users == 6
    with (
        Lookup(world.settings) as store,
        ReleaseFiles(tmp_path / "files", poll_seconds=None) as files,
        Lookup(files) as lookup,
    ):
        assert lookup.tables() == store.tables()
        for table in store.tables():
            assert lookup.rows(table["table"]) == store.rows(table["table"])
        for user in ("u1", "ann", "bob", "new", "nobody"):
            assert lookup.recommendations(user) == store.recommendations(user)


def test_sqlite_and_postgres_give_equal_bytes(tmp_path: Path, world: ServingWorld) -> None:
    reference = open_world(tmp_path / "reference")
    publish_all(reference)
    publish_all(world)
    expected = export_current(reference.settings, tmp_path / "a").manifest
    assert export_current(world.settings, tmp_path / "b").manifest == expected
    reference.store.close()


def test_rows_are_in_key_order_and_only_of_the_release(world: ServingWorld, tmp_path: Path) -> None:
    world.release(DAY, "a")
    world.release(DAY + dt.timedelta(days=1), "b")
    path = export_current(world.settings, tmp_path / "files").path
    assert isinstance(path, Path)
    file = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    rows = file.execute("select release_id, user_id, rank from recommendations").fetchall()
    file.close()
    assert rows == sorted(rows) and {row[0][:10] for row in rows} == {"2024-03-04"}


def test_an_export_of_equal_rows_changes_nothing_and_old_ones_are_removed(tmp_path: Path) -> None:
    world, folder = open_world(tmp_path / "home"), tmp_path / "files"
    with pytest.raises(NoReleaseError):
        export_current(world.settings, folder)
    for number in range(5):
        world.release(DAY + dt.timedelta(days=number), f"v{number}x")
        assert export_current(world.settings, folder).is_new
        before = sorted(folder.iterdir())
        assert not export_current(world.settings, folder).is_new
        assert sorted(folder.iterdir()) == before
    assert len(list_manifests(folder)) == world.settings.serving.keep_releases
    assert len(list(folder.glob("*.sqlite"))) == world.settings.serving.keep_releases
    rollback(world.store)
    exported = export_current(world.settings, folder).manifest
    assert exported.as_of == DAY + dt.timedelta(days=3)
    assert read_manifest(list_manifests(folder)[0]) == exported
    world.store.close()


def test_two_exports_into_a_folder_do_not_run_at_once(tmp_path: Path) -> None:
    world = open_world(tmp_path / "home")
    world.release()
    with (
        exclusive_folder(tmp_path / "files"),
        pytest.raises(ReleaseFileError, match="another process exports"),
    ):
        export_current(world.settings, tmp_path / "files")
    world.store.close()


def test_the_command_exports_and_a_roll_back_exports_where_a_folder_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = open_world(tmp_path / "home")
    world.release(DAY, "a")
    world.release(DAY + dt.timedelta(days=1), "b")
    world.store.close()
    run = CliRunner().invoke
    home = ["--home", str(tmp_path / "home")]
    result = run(make_app(), ["releases", "export", *home, "--json"], catch_exceptions=False)
    answer = json.loads(result.output)
    assert answer["as_of"] == "2024-03-04" and Path(answer["path"]).parent.name == "releases"
    monkeypatch.setenv("BATCH_PREDICTIONS_SERVING__RELEASE_DIR", str(tmp_path / "files"))
    result = run(make_app(), ["releases", "rollback", *home], catch_exceptions=False)
    assert "2024-03-03" in result.output and result.exit_code == 0
    [manifest] = list_manifests(tmp_path / "files")
    assert read_manifest(manifest).as_of == DAY

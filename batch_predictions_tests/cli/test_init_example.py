"""`init --example` writes an export and settings for it, which a check finds nothing wrong with."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_predictions_tests.worlds.retail_fixtures import environment, run_command, run_json

pytestmark = pytest.mark.slow

FILES = {
    "shop": "orders_export_1.csv",
    "clicks": "events/dt=2026-01-05/part-0.parquet",
    "reviews": "playstore.jsonl",
    "marketplace": "kunden.csv",
}


@pytest.mark.parametrize("name", FILES)
def test_an_example_is_an_export_that_can_be_read(name: str, tmp_path: Path) -> None:
    env = environment(tmp_path / "home", tmp_path / "export")
    env = {key: value for key, value in env.items() if "SOURCE__" not in key}
    printed = run_command("init", "--example", name, env=env, cwd=tmp_path).stdout
    assert "files of a made-up export into export/" in printed
    assert (tmp_path / "export" / FILES[name]).exists()
    report = run_json("check-source", env=env, cwd=tmp_path)
    assert report["ok"] and report["unread_files"] == []


def test_an_example_replaces_no_folder(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    env = environment(tmp_path / "home", tmp_path / "export")
    ended = run_command("init", "--example", "shop", env=env, cwd=tmp_path, check=False)
    assert ended.returncode == 2
    assert "export exists already: --example writes a new folder" in ended.stderr

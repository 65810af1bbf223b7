"""Writes of files: whole or not at all. Power cuts are simulated in `reliability/`."""

from __future__ import annotations

from pathlib import Path

from batch_predictions.core.durability import atomic_write


def test_a_file_is_replaced_whole_and_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_write(path, "old")
    atomic_write(path, "new")
    assert path.read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [path]

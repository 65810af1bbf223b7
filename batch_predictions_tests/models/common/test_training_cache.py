"""Entries are found by all that they are made of, whole or not at all."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from batch_predictions.models.common.training_cache import TrainingCache


def save(text: str, folder: Path) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "part.txt").write_text(text)


def load(folder: Path) -> str:
    return (folder / "inner" / "part.txt").read_text()


def test_another_process_finds_an_entry_by_equal_inputs(tmp_path: Path) -> None:
    first = TrainingCache(tmp_path / "cache")
    key = first.key("text", [1, "a"])
    assert first.get(key, load) is None
    assert first.put(key, "made", save) == "made" and first.get(key, load) == "made"
    second = TrainingCache(tmp_path / "cache")
    assert second.key("text", [1, "a"]) == key and second.get(key, load) == "made"
    assert second.get(second.key("text", [2, "a"]), load) is None
    assert second.get(second.key("other", [1, "a"]), load) is None


def test_without_a_folder_entries_are_in_memory(tmp_path: Path) -> None:
    cache = TrainingCache()
    key = cache.key("text", [])
    cache.put(key, "made", save)
    cache.remove_unused()
    assert cache.get(key, load) == "made" and TrainingCache().get(key, load) is None


@pytest.mark.parametrize("damage", ["bytes", "lost file", "more files", "lost hashes"])
def test_a_damaged_entry_is_computed_again(tmp_path: Path, damage: str) -> None:
    cache = TrainingCache(tmp_path)
    key = cache.key("text", [])
    cache.put(key, "made", save)
    file, hashes = tmp_path / key / "inner" / "part.txt", tmp_path / key / "hashes.json"
    match damage:
        case "bytes":
            file.write_text("mada")
        case "lost file":
            file.unlink()
        case "more files":
            file.with_name("more.txt").write_text("")
        case _:
            hashes.write_text("{")
    again = TrainingCache(tmp_path)
    assert again.get(key, load) is None
    again.put(key, "made", save)
    assert TrainingCache(tmp_path).get(key, load) == "made"


def test_only_what_was_used_last_stays(tmp_path: Path) -> None:
    cache = TrainingCache(tmp_path)
    keys = [cache.key("text", [number]) for number in range(4)]
    for key in keys[:3]:
        cache.put(key, "made", save)
    cache.mark_all_unused()
    cache.get(keys[0], load)
    cache.get(keys[1], load, mark_used=False)
    cache.put(keys[3], "made", save)
    (tmp_path / ".draft-of-a-killed-process").mkdir()
    cache.remove_unused()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([keys[0], keys[3]])


def test_a_folder_that_cannot_be_written_stops_no_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file")
    cache = TrainingCache(tmp_path / "cache")
    with caplog.at_level(logging.WARNING):
        assert cache.put(cache.key("text", []), "made", save) == "made"
    assert "is not kept for the next training" in caplog.text
    cache.remove_unused()


def test_an_entry_that_is_half_written_has_no_name(tmp_path: Path) -> None:
    cache = TrainingCache(tmp_path)

    def fail(text: str, folder: Path) -> None:
        save(text, folder)
        raise ValueError("killed")

    with pytest.raises(ValueError, match="killed"):
        cache.put(cache.key("text", []), "made", fail)
    assert not list(tmp_path.iterdir())

"""Parts are found by all that they are made of, whole or not at all."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType

import pytest

from batch_predictions.models.common import training_cache
from batch_predictions.models.common.training_cache import TrainingCache


def save(text: str, folder: Path) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "part.txt").write_text(text)


def load(folder: Path) -> str:
    return (folder / "inner" / "part.txt").read_text()


def test_another_process_finds_a_part_by_equal_inputs(tmp_path: Path) -> None:
    first = TrainingCache(tmp_path / "cache")
    name = first.name("text", [1, "a"])
    assert first.find(name, load) is None
    assert first.add(name, "made", save) == "made" and first.find(name, load) == "made"
    second = TrainingCache(tmp_path / "cache")
    assert second.name("text", [1, "a"]) == name and second.find(name, load) == "made"
    assert second.find(second.name("text", [2, "a"]), load) is None
    assert second.find(second.name("other", [1, "a"]), load) is None


def test_without_a_folder_parts_are_in_memory(tmp_path: Path) -> None:
    cache = TrainingCache()
    name = cache.name("text", [])
    cache.add(name, "made", save)
    cache.remove_unused()
    assert cache.find(name, load) == "made" and TrainingCache().find(name, load) is None


@pytest.mark.parametrize("damage", ["bytes", "lost file", "more files", "lost hashes"])
def test_a_damaged_part_is_made_again(tmp_path: Path, damage: str) -> None:
    cache = TrainingCache(tmp_path)
    name = cache.name("text", [])
    cache.add(name, "made", save)
    file, hashes = tmp_path / name / "inner" / "part.txt", tmp_path / name / "hashes.json"
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
    assert again.find(name, load) is None
    again.add(name, "made", save)
    assert TrainingCache(tmp_path).find(name, load) == "made"


def test_only_what_was_used_last_stays(tmp_path: Path) -> None:
    cache = TrainingCache(tmp_path)
    names = [cache.name("text", [number]) for number in range(4)]
    for name in names[:3]:
        cache.add(name, "made", save)
    cache.forget_uses()
    cache.find(names[0], load)
    cache.find(names[1], load, is_use=False)
    cache.add(names[3], "made", save)
    (tmp_path / ".draft-of-a-killed-process").mkdir()
    cache.remove_unused()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([names[0], names[3]])


def test_a_folder_that_cannot_be_written_stops_no_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file")
    cache = TrainingCache(tmp_path / "cache")
    with caplog.at_level(logging.WARNING):
        assert cache.add(cache.name("text", []), "made", save) == "made"
    assert "is not kept for the next training" in caplog.text
    cache.remove_unused()


def test_a_part_that_is_half_written_has_no_name(tmp_path: Path) -> None:
    cache = TrainingCache(tmp_path)

    def fail(text: str, folder: Path) -> None:
        save(text, folder)
        raise ValueError("killed")

    with pytest.raises(ValueError, match="killed"):
        cache.add(cache.name("text", []), "made", fail)
    assert not list(tmp_path.iterdir())


def test_other_code_or_libraries_make_other_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name() -> str:
        training_cache._code_hash.cache_clear()
        return TrainingCache().name("text", [])

    names = [name(), name()]
    assert names[0] == names[1]
    module = ModuleType("a_plugin")
    module.__file__ = str(tmp_path / "a_plugin.py")
    (tmp_path / "a_plugin.py").write_text("X = 1")
    monkeypatch.setitem(sys.modules, "a_plugin", module)
    monkeypatch.setattr(training_cache, "plugins", lambda: ["a_plugin"])
    names.append(name())
    (tmp_path / "helper_of_the_plugin.py").write_text("Y = 1")
    names.append(name())
    monkeypatch.setattr(training_cache, "_version", lambda library: "99")
    names.append(name())
    assert len({*names}) == 4
    training_cache._code_hash.cache_clear()

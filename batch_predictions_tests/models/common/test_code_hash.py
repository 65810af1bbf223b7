"""The hash changes with the code of plugins and with the libraries, and with nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from batch_predictions.models.common import training_cache
from batch_predictions.models.common.training_cache import TrainingCache


@pytest.fixture(autouse=True)
def fresh_hashes() -> Iterator[None]:
    training_cache._hash_code.cache_clear()
    yield
    training_cache._hash_code.cache_clear()


def key() -> str:
    """The key of an entry, computed from the files as they are now."""
    training_cache._hash_code.cache_clear()
    return TrainingCache().key("text", [])


def plug_in(monkeypatch: pytest.MonkeyPatch, *names: str, **attributes: object) -> None:
    """Loads a plugin of some modules; the first is the top-level one, with the attributes."""
    module = ModuleType(names[0])
    for name, value in attributes.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, names[0], module)
    monkeypatch.setattr(training_cache, "plugins", lambda: list(names))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_equal_code_and_libraries_have_one_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    assert key() == key()
    before = key()
    monkeypatch.setattr(training_cache, "_version", lambda library: "99")
    assert key() != before


def test_all_of_a_plugins_package_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "my_shop"
    write(package / "__init__.py", "")
    plug_in(monkeypatch, "my_shop", "my_shop.models.generators", __path__=[str(package)])
    keys = [key()]
    for file in ("models/generators.py", "library/core.py", "library/rows.sql"):
        write(package / file, "X = 1")
        keys.append(key())
    write(tmp_path / "elsewhere.py", "Y = 1")
    write(package / "notes.txt", "nothing that runs")
    assert len({*keys}) == len(keys) and key() == keys[-1]


def test_the_neighbours_of_a_single_module_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "my_models.py", "X = 1")
    plug_in(monkeypatch, "my_models", __file__=str(tmp_path / "my_models.py"))
    keys = [key()]
    for file in ("helper.py", "package/__init__.py", "package/inner/core.py"):
        write(tmp_path / file, "X = 1")
        keys.append(key())
    write(tmp_path / "data" / "big.py", "no package")
    assert len({*keys}) == len(keys) and key() == keys[-1]

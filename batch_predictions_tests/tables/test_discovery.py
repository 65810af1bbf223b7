"""Discovery: plugins are imported by name, declarations are found at the top level of modules."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_predictions.settings import SettingsError
from batch_predictions.tables import TABLES, Table, discovery
from batch_predictions.warehouse.schema_sql import WarehouseError

TABLE = """
from batch_predictions.tables import Table, columns

VISITS = Table("raw", "shop_visits", "Visits.", columns("date DATE: day"), key=())
"""
DECLARATIONS = """
from batch_predictions.warehouse.schema_sql import WarehouseError

class Nearest(WarehouseError): ...
class _Hidden(WarehouseError): ...

first = Nearest("a")
more = (Nearest("b"), first)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a package in the working directory, with a table and declarations."""
    folder = tmp_path / "shop_package"
    folder.mkdir()
    for name, text in {"__init__": "", "tables": TABLE, "models": DECLARATIONS}.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    (folder / "_private.py").write_text("raise RuntimeError", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "shop_package"
    TABLES.pop("raw.shop_visits", None)
    for name in [name for name in sys.modules if name.split(".")[0] == "shop_package"]:
        del sys.modules[name]


def test_a_package_is_imported_from_the_working_directory_and_its_tables_are_declared(
    package: str,
) -> None:
    discovery.load_plugins([package])
    assert discovery.plugins() == [package, f"{package}.models", f"{package}.tables"]
    assert isinstance(TABLES["raw.shop_visits"], Table)


def test_instances_and_subclasses_of_plugins_are_found_once(package: str) -> None:
    assert discovery.subclasses(WarehouseError, "none/*.py") == []
    discovery.load_plugins([package])
    (error_class,) = discovery.subclasses(WarehouseError, "none/*.py")
    assert error_class.__name__ == "Nearest"
    texts = [str(error) for error in discovery.instances(WarehouseError, "none/*.py")]
    assert texts == ["a", "b"]


def test_a_plugin_that_cannot_be_imported_is_an_error_that_names_it(package: str) -> None:
    with pytest.raises(SettingsError, match=r"plugins names shop_pack, .* ModuleNotFoundError"):
        discovery.load_plugins(["shop_pack"])
    with pytest.raises(SettingsError, match=r"plugins names shop_package\._private, .* Runtime"):
        discovery.load_plugins([f"{package}._private"])


def test_two_values_with_one_name_are_an_error() -> None:
    tables = [Table("raw", "a", "", ()), Table("raw", "b", "", ())]
    assert list(discovery.index_unique(tables, "tables")) == ["a", "b"]
    with pytest.raises(ValueError, match="two tables have the name 'a': rename one"):
        discovery.index_unique([*tables, Table("features", "a", "", ())], "tables")


def test_an_unknown_kind_of_a_stored_model_is_an_error_that_lists_the_known_ones() -> None:
    classes = {"trees": int, "linear": float}
    assert discovery.class_of_kind(classes, "trees", Path("m"), "model") is int
    with pytest.raises(ValueError, match=r"'net' \(known: trees, linear\)\. If a plugin"):
        discovery.class_of_kind(classes, "net", Path("m"), "model")

"""Adapters are found by kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_predictions.settings import SourceSettings
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.source_registry import build_source, source_kinds
from batch_predictions_tests.worlds.plugin_packages import load_package

ADAPTER = """
from batch_predictions.sources.files.file_source import FileSource
class TinySource(FileSource):
    kind = "tiny"
    def files(self, table):
        return sorted(self.folder.glob("*.parquet")) if table.name == "interactions" else []
    def column_sql(self, table, types):
        return {name: name for name in types}
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Loads a plugin module with the text that the test's parameter has."""
    load_package(tmp_path, monkeypatch, "shop", {"tiny_adapter": request.param})


def test_the_error_of_an_unknown_kind_lists_the_kinds() -> None:
    kinds = ["amazon_reviews", "complete_journey", "files", "movielens", "sql"]
    assert source_kinds() == kinds
    with pytest.raises(SourceError, match=f"choose one of {', '.join(kinds)}.*plugins"):
        build_source(SourceSettings(kind="oracle"), None)


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("plugin", [ADAPTER], indirect=True)
def test_an_adapter_of_a_plugin_is_found_by_its_kind(tmp_path: Path) -> None:
    assert "tiny" in source_kinds()
    source = build_source(SourceSettings(kind="tiny", path=tmp_path), None)
    with pytest.raises(SourceError, match=r"no files of interactions or reviews.*set source\.path"):
        source.tables()


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        pytest.param(
            ADAPTER.replace('kind = "tiny"', ""), "TinySource has no kind: set", id="no kind"
        ),
        pytest.param(
            ADAPTER.replace("tiny", "files"),
            "two source adapters have the kind 'files'",
            id="same kind",
        ),
        pytest.param(
            ADAPTER.replace("def files", "def file_list").replace("tiny", "unfinished"),
            "TinySource does not implement files: see",
            id="missing method",
        ),
    ],
    indirect=["plugin"],
)
def test_an_incomplete_adapter_is_refused_with_what_it_needs(message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_source(SourceSettings(kind="unfinished"), None)

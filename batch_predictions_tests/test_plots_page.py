"""reference/plots.md explains every declared plot, and its pictures are small."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

from batch_predictions.tables import discovery
from batch_predictions_tests.worlds.benchmark_scripts import import_benchmark
from batch_predictions_tests.worlds.paths import ROOT

DOCS = ROOT / "docs"
TEXT = (DOCS / "reference" / "plots.md").read_text(encoding="utf-8")
WITHOUT_PICTURE = {"clicks_over_time", "sentiment_over_time"}
"""The demo's shop reports no events of an application, and the pictures have one Sunday of it."""


@pytest.fixture
def plots(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script of the page, which finds no declarations of other tests."""
    monkeypatch.setattr(discovery, "_plugins", {})
    monkeypatch.setattr(discovery, "_of_settings", ModuleType("none"))
    script: ModuleType = import_benchmark("plots", monkeypatch)
    return script


def test_every_declared_plot_has_its_entry(plots: ModuleType) -> None:
    entries = {name: f"{table.schema}/{table.name}" for name, table, _ in plots.plots_of_tables()}
    entries |= {plots.picture_of_training(*plot): f"models/{plot[0]}" for plot in plots.TRAININGS}
    assert len(entries) > 20
    for name, asset in entries.items():
        assert name in WITHOUT_PICTURE or f"/images/plots/{name}.png)" in TEXT, name
        assert f"**{asset}**" in TEXT or f"`{name}`" in TEXT or "expected_spend" in name, asset


def test_the_pictures_are_small_and_all_are_shown() -> None:
    files = (DOCS / "images" / "plots").glob("*.png")
    pictures = {path.name: path.stat().st_size for path in files}
    assert set(re.findall(r"/images/plots/(\w+\.png)\)", TEXT)) == set(pictures)
    assert max(pictures.values()) <= 25_000 and sum(pictures.values()) <= 500_000

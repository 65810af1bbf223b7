"""A forecaster of a user's own package: the module of docs/how_to/add_forecaster.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batch_predictions.models.demand import demand_registry
from batch_predictions_tests.worlds.demand import daily_panel
from batch_predictions_tests.worlds.plugin_packages import documented_module, load_package


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module of the documentation, loaded."""
    load_package(
        tmp_path, monkeypatch, "my_shop", {"drift": documented_module("how_to/add_forecaster.md")}
    )


def test_the_documented_forecaster_is_found_by_its_kind_and_keeps_its_window(
    plugin: None, tmp_path: Path
) -> None:
    assert "drift" in demand_registry.names()
    panel = daily_panel(np.r_[np.full(60, 50.0), np.arange(20.0)][None])
    model = demand_registry.make("drift", {"drift": {"window": 11}}).fit(panel)
    # 10 units in the last 10 days: one more every day.
    np.testing.assert_allclose(model.forecast(panel, 3), [[20, 21, 22]])
    model.save(tmp_path / "model")
    loaded = demand_registry.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.forecast(panel, 3), [[20, 21, 22]])
    # Demand that falls ends at zero.
    falling = daily_panel(np.arange(30.0, -1, -1)[None])
    assert (demand_registry.make("drift", {}).fit(falling).forecast(falling, 5) == 0).all()

"""A home with a source, whose kind realized metrics ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_predictions.settings import Settings, SourceSettings


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Settings of a home of this test's own with an empty folder as its source."""
    (tmp_path / "source").mkdir()
    source = SourceSettings(kind="files", path=tmp_path / "source")
    return settings.model_copy(update={"source": source})

"""The page walkthrough.md names the functions that a row passes, in the order of a real run."""

from __future__ import annotations

import datetime as dt
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import dagster as dg
import pytest

import batch_predictions
from batch_predictions.serving.lookup import Lookup
from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.retail_fixtures import write_shop

pytestmark = pytest.mark.slow

PACKAGE = Path(batch_predictions.__file__).parent
PAGE = PACKAGE.parent / "docs" / "explanation" / "walkthrough.md"
STEP = re.compile(r"^\| `([\w.]+)` \| `([\w/]+\.py)` \|", re.MULTILINE)
DAYS = 28
LAST = dt.date(2024, 3, 17)
"""A Sunday, so that the week of the training ends with the day."""

TILES = [
    "tiles/user_items",
    "tiles/user_totals",
    "tiles/item_totals",
    "tiles/user_locations",
]
FEATURES = ["user_segments", "item_state", "item_rules", "item_activity"]
PREDICTIONS = ["predictions/recommendations", "features/item_scores"]


class FirstCalls:
    """Functions of the package in the order of their first calls, in all threads."""

    def __init__(self) -> None:
        self.order: dict[tuple[str, str], int] = {}

    @contextmanager
    def recorded(self) -> Iterator[None]:
        threading.setprofile(self._record)
        sys.setprofile(self._record)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def _record(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            file = frame.f_code.co_filename.removeprefix(f"{PACKAGE}/")
            self.order.setdefault((frame.f_code.co_qualname, file), len(self.order))


def read_steps() -> list[list[tuple[str, str]]]:
    """Functions and files of each section of the page."""
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    return [STEP.findall(section) for section in sections]


def materialize(
    definitions: dg.Definitions, instance: dg.DagsterInstance, assets: list[str], key: str | None
) -> None:
    """Materializes assets of the platform for one partition, or a range of days."""
    tags = {
        "dagster/asset_partition_range_start": (LAST - dt.timedelta(days=DAYS - 1)).isoformat(),
        "dagster/asset_partition_range_end": LAST.isoformat(),
    }
    graph = [a for a in definitions.assets or () if isinstance(a, dg.AssetsDefinition)]
    result = dg.materialize(
        graph,
        selection=[dg.AssetKey(name.split("/")) for name in assets],
        partition_key=key,
        tags={} if key else tags,
        instance=instance,
        resources=definitions.resources,
    )
    assert result.success


def test_the_page_names_the_functions_of_a_real_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shop(tmp_path / "source", days=DAYS, last=LAST)
    monkeypatch.setenv("BATCH_PREDICTIONS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BATCH_PREDICTIONS_SOURCE__KIND", "files")
    monkeypatch.setenv("BATCH_PREDICTIONS_SOURCE__PATH", str(tmp_path / "source"))
    # When imported, it builds the definitions of the environment's home.
    from batch_predictions.definitions import platform

    settings = Settings.load()
    definitions = platform(settings)
    week = (LAST - dt.timedelta(days=6)).isoformat()
    sections = read_steps()
    assert len(sections) == 6 and all(sections)
    orders = []
    with dg.DagsterInstance.ephemeral() as instance:

        def trace(assets: list[str], key: str | None) -> None:
            calls = FirstCalls()
            with calls.recorded():
                materialize(definitions, instance, assets, key)
            orders.append(calls.order)

        materialize(definitions, instance, ["raw/users", "raw/items"], LAST.isoformat())
        trace(["raw/interactions"], None)
        trace([*TILES, *(f"features/{name}" for name in FEATURES)], None)
        trace(["models/recommender"], week)
        trace(PREDICTIONS, LAST.isoformat())
        materialize(definitions, instance, ["models/demographic"], week)
        trace(["predictions/demographic_recommendations", "serving/release"], LAST.isoformat())
    user = Warehouse.of(settings).value("select min(user_id) from predictions.recommendations")
    calls = FirstCalls()
    with calls.recorded(), Lookup(settings) as lookup:
        assert lookup.recommendations(user)["source"] == "personal"
    orders.append(calls.order)
    for section, order in zip(sections, orders, strict=True):
        missing = [step for step in section if step not in order]
        assert not missing, f"the run did not call {missing}"
        assert section == sorted(section, key=lambda step: order[step])

"""The declaration of docs/reference/declarations.md is valid, and its scorer fits it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from batch_predictions.inference.partition_staging import stage_partition
from batch_predictions.inference.pools.engine import score
from batch_predictions.inference.validation import validate
from batch_predictions.models.model_store import ModelStore
from batch_predictions.settings import InferenceSettings, Settings
from batch_predictions.tables import TABLES, USER_SEGMENTS
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions_tests.worlds.engine import DAY
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.table_rows import write_events


def test_the_example_of_the_page_scores_a_day(
    settings: Settings,
    warehouse: Warehouse,
    one_worker: InferenceSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = (ROOT / "docs" / "reference" / "declarations.md").read_text(encoding="utf-8")
    module: dict[str, Any] = {"__name__": __name__}
    exec(page.split("```python\n")[1].split("```")[0], module)
    monkeypatch.setitem(globals(), "GiftScorer", module["GiftScorer"])
    prediction = module["birthday_gifts"]
    try:
        segments = [("ann", "25-34"), ("bea", "25-34"), ("cleo", "unknown")]
        rows = [
            {"user_id": user, "age_bracket": age, "gender": "f", "location": "here"}
            for user, age in segments
        ]
        warehouse.replace_partition(USER_SEGMENTS, DAY, pa.Table.from_pylist(rows))
        events = [(user, item) for user in ("ann", "bea") for item in ("soap", "book", "book")]
        write_events(warehouse, "user_id item_id", events, date=as_date(DAY), event_type="view")
        path = stage_partition(prediction, DAY, warehouse, ModelStore.of(settings), settings)
        score(path, one_worker)
        result = validate(warehouse, prediction.table, path, prediction.checks, {})
    finally:
        del TABLES[prediction.table.qualified]
    assert result.passed
    assert (result.staged, result.scored, result.excluded) == (3, 2, 1)

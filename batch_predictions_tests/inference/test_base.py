"""The declaration of docs/predictions.md is valid, and its scorer fits it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from batch_predictions.inference.partition_staging import stage_partition
from batch_predictions.inference.pools.engine import score
from batch_predictions.inference.validation import validate
from batch_predictions.models.model_store import ModelStore
from batch_predictions.settings import InferenceSettings, Settings
from batch_predictions.tables import INTERACTIONS, TABLES, USER_SEGMENTS
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.engine import DAY
from batch_predictions_tests.worlds.paths import ROOT


def test_the_example_of_the_page_scores_a_day(
    settings: Settings,
    warehouse: Warehouse,
    one_worker: InferenceSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = (ROOT / "docs" / "predictions.md").read_text(encoding="utf-8")
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
        warehouse.replace_partition(
            INTERACTIONS,
            DAY,
            """select user_id || n as event_id, user_id, if(n = 0, 'soap', 'book') as item_id,
            'view' as event_type, 1.0 as quantity, 1.0 as amount, 'here' as location,
            null as occurred_at from (values ('ann'), ('bea')) as v(user_id), range(3) as r(n)""",
        )
        path = stage_partition(prediction, DAY, warehouse, ModelStore.of(settings), settings)
        score(path, one_worker)
        result = validate(warehouse, prediction.table, path, prediction.checks, {})
    finally:
        del TABLES[prediction.table.qualified]
    assert result.passed
    assert (result.staged, result.scored, result.excluded) == (3, 2, 1)

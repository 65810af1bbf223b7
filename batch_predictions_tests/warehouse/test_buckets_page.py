"""docs/how_to/bucket.md: its Python runs against a home in a bucket."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest

from batch_predictions.tables import DEMAND_FORECASTS, INTERACTIONS, RECOMMENDATIONS
from batch_predictions_tests.worlds.bucket import bucket_server
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.table_rows import write_events

DAY = "2026-11-01"
URL = "s3://shop-predictions/home"


@pytest.mark.slow
def test_other_engines_and_the_past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("polars")
    text = (ROOT / "docs" / "how_to" / "bucket.md").read_text(encoding="utf-8")
    engines, past = re.findall(r"```python\n(.*?)```", text, re.S)
    with bucket_server() as new_home:
        home = new_home()
        warehouse = home.machine(tmp_path / "cache", monkeypatch)
        write_events(warehouse, "date user_id item_id", [(dt.date(2026, 11, 1), "u1", "i1")])
        for table in (RECOMMENDATIONS, DEMAND_FORECASTS):
            values = ", ".join(f"null::{c.type} as {c.name}" for c in table.columns)
            row = f"select * replace (DATE '{DAY}' as date) from (select {values})"
            warehouse.replace_partition(table, DAY, row)
        monkeypatch.setenv("BATCH_PREDICTIONS_HOME", home.url)
        monkeypatch.setenv("BATCH_PREDICTIONS_SERVING__URL", "postgresql://none/none")
        monkeypatch.setenv(
            "BATCH_PREDICTIONS_EXECUTION__INSTANCE",
            '{"storage": {"postgres": {"postgres_url": {"env": "NONE"}}}}',
        )
        names: dict[str, Any] = {}
        exec(engines.replace(URL, home.url), names)
        assert (len(names["lists"]), len(names["frame"])) == (1, 1)
        assert names["top"].fetchall() == [("i1", 1)]
        versions = warehouse.versions()
        replaced = {f'"{name}": 0': f'"{name}": {version}' for name, version in versions.items()}
        for before, after in replaced.items():
            past = past.replace(before, after)
        past = past.replace("version=0", f"version={versions[RECOMMENDATIONS.qualified]}")
        exec(past, names)
        assert names["rows"]["n"].to_pylist() == [1] and len(names["same"]) == 1
        assert INTERACTIONS.qualified in versions

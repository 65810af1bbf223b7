"""docs/how_to/feedback.md: its settings load, its query runs, and every metric is explained."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from batch_predictions.evaluation.metric_plots import METRIC_PLOTS
from batch_predictions.settings import Settings
from batch_predictions.tables import FEEDBACK
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.paths import ROOT

TEXT = (ROOT / "docs" / "how_to" / "feedback.md").read_text(encoding="utf-8")


def test_the_settings_of_the_page_load(tmp_path: Path) -> None:
    [block] = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "batch_predictions.yaml").write_text(block, encoding="utf-8")
    experiments = Settings.load(tmp_path).serving.experiments
    assert list(experiments) == list(yaml.safe_load(block)["serving"]["experiments"])


def test_the_query_of_the_page_runs(warehouse: Warehouse) -> None:
    [query] = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)
    assert warehouse.query(query).num_rows == 0


def test_every_column_and_metric_is_explained() -> None:
    assert all(f"`{column.name}`" in TEXT for column in FEEDBACK.columns if column.name != "date")
    for metric_plot in METRIC_PLOTS:
        for metric in metric_plot.metrics:
            assert f"`{metric.partition(':')[0]}" in TEXT, metric

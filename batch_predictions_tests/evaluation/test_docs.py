"""Pages of feedback: settings load, the query runs, and every metric is explained."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from batch_predictions.evaluation.metric_plots import METRIC_PLOTS
from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.paths import ROOT

DOCS = ROOT / "docs"


def test_the_settings_of_the_page_load(tmp_path: Path) -> None:
    text = (DOCS / "how_to" / "experiments.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "batch_predictions.yaml").write_text(block, encoding="utf-8")
    experiments = Settings.load(tmp_path).serving.experiments
    assert list(experiments) == list(yaml.safe_load(block)["serving"]["experiments"])


def test_the_query_of_the_page_runs(warehouse: Warehouse) -> None:
    text = (DOCS / "how_to" / "feedback.md").read_text(encoding="utf-8")
    [query] = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert warehouse.query(query).num_rows == 0


def test_every_metric_is_explained() -> None:
    text = (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8")
    for metric_plot in METRIC_PLOTS:
        for metric in metric_plot.metrics:
            assert f"`{metric.partition(':')[0]}" in text, metric

"""http.md explains every variable and metric; its settings load and its calls run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from batch_predictions.serving.http.access import VARIABLES
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.settings import Settings
from batch_predictions_tests.worlds.http_service import publish_all, running_service
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.serving import open_world

TEXT = (ROOT / "docs" / "reference" / "http.md").read_text(encoding="utf-8")
BLOCK = r"```{mark}\n(.*?)```"


def test_every_variable_and_metric_is_explained() -> None:
    """Addresses, settings and kinds of error are in the generated reference."""
    assert all(f"`{variable}`" in TEXT for variable in VARIABLES.values())
    text = PredictionService(Settings()).metrics.text().decode()
    names = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    assert len(names) >= 4 and all(f"`{name}`" in TEXT for name in names)


def test_the_settings_of_the_page_load(tmp_path: Path) -> None:
    [block] = re.findall(BLOCK.format(mark="yaml"), TEXT, re.DOTALL)
    (tmp_path / "batch_predictions.yaml").write_text(block, encoding="utf-8")
    settings = Settings.load(tmp_path)
    assert settings.http.model_dump(exclude_defaults=True) == yaml.safe_load(block)["http"]


def test_the_calls_of_the_page_run(tmp_path: Path) -> None:
    if not shutil.which("curl") or not shutil.which("bash"):
        pytest.skip("curl is not installed")
    world = open_world(tmp_path / "home")
    publish_all(world)
    blocks = re.findall(BLOCK.format(mark="sh"), TEXT, re.DOTALL)
    assert len(blocks) == 5
    with running_service(world.settings) as client:
        for block in blocks:
            program = block.replace("http://127.0.0.1:8080", client.url)
            process = subprocess.run(
                ["bash", "-euc", program.replace("curl", "curl -sS --fail-with-body")],
                capture_output=True,
                text=True,
                env=dict(os.environ),
            )
            assert process.returncode == 0, process.stdout + process.stderr
            if "-X PUT" in block:
                assert json.loads(process.stdout)["age_bracket"] == "35-44"
            elif "/v1/events" in block:
                assert json.loads(process.stdout)["accepted"] == 1
            elif "csv" not in block:
                assert json.loads(process.stdout)["release_id"]
    world.store.close()

"""http.md explains every address, setting, variable, metric and kind of error; it runs."""

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
from batch_predictions.serving.http.problems import PROBLEM_TYPES
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.server.http_app import make_api
from batch_predictions.settings import HttpSettings, Settings
from batch_predictions_tests.worlds.http_service import publish_all, running_service
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.serving import open_world

TEXT = (ROOT / "docs" / "reference" / "http.md").read_text(encoding="utf-8")
BLOCK = r"```{mark}\n(.*?)```"


def test_every_setting_has_a_heading() -> None:
    headings = re.findall(r"^### http\.(\w+)$", TEXT, re.MULTILINE)
    assert sorted(headings) == sorted(HttpSettings.model_fields)


def test_every_address_variable_metric_and_status_is_explained() -> None:
    service = PredictionService(Settings())
    for path, methods in make_api(service).openapi()["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in TEXT
    assert all(f"`{variable}`" in TEXT for variable in VARIABLES.values())
    text = service.metrics.text().decode()
    names = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    assert len(names) >= 4 and all(f"`{name}`" in TEXT for name in names)
    explained = {int(status) for status in re.findall(r"\b4\d\d\b|\b5\d\d\b", TEXT)}
    clients = {kind.status for kind in PROBLEM_TYPES.values()} - {405, 500}
    assert clients <= explained


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

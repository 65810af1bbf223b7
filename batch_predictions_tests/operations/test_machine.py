"""What `doctor` says of the machine: every look has a finding, also where it fails."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from batch_predictions.operations.machine import Finding, examine_machine
from batch_predictions.orchestration import instance as home_instance
from batch_predictions.orchestration.dagster_records import DagsterRecords
from batch_predictions.settings import AlertsSettings, InferenceSettings, Settings, SourceSettings
from batch_predictions_tests.worlds.home_state import STATE


def findings(settings: Settings) -> dict[str, Finding]:
    return {
        finding.name: finding
        for finding in examine_machine(settings, STATE, DagsterRecords(settings))
    }


def test_a_new_home_is_fine(settings: Settings, tmp_path: Path) -> None:
    source = tmp_path / "shop"
    source.mkdir()
    (source / "interactions.csv").write_text("user_id,item_id,date\nu1,i1,2024-03-03\n")
    settings.source = SourceSettings(kind="files", path=source)
    settings.home.chmod(0o700)
    found = findings(settings)
    busy = {"cores"}  # Other programs may use them.
    assert {name for name, f in found.items() if f.state == "look"} <= busy, found
    assert "newest complete day 2024-03-03" in found["source"].text
    assert "nothing is released yet" in found["store"].text


def test_what_is_worth_a_look_says_what_to_do(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = len(os.sched_getaffinity(0))
    settings.inference = InferenceSettings(workers=cores + 1, device="cpu")
    settings.alerts = AlertsSettings(min_free_gb=2**32)
    settings.source = SourceSettings(kind="files", path=Path("/nowhere"))
    settings.home.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    found = findings(settings)
    for name, remedy in {
        "cores": f"set inference.workers to {cores}",
        "disk": "free space",
        "home": "chmod o=",
        "source": "/nowhere",
    }.items():
        assert found[name].state == ("failed" if name == "source" else "look"), found[name]
        assert remedy in found[name].text, found[name]


def test_a_daemon_that_died_is_seen(settings: Settings) -> None:
    home_instance.prepare(settings)
    assert findings(settings)["daemon"].state == "look"
    for age, state in ((3_600, "look"), (0, "fine")):
        with dg.DagsterInstance.get() as instance:
            beat = DaemonHeartbeat(time.time() - age, "SENSOR", "1")
            instance.add_daemon_heartbeat(beat)
        assert findings(settings)["daemon"].state == state
